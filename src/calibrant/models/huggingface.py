"""Text classifiers in the layout of Hugging Face, from a folder on this machine; nothing is downloaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from calibrant.errors import InputError
from calibrant.models.base import Split


class TextClassifier(Split):
    """Any `AutoModelForSequenceClassification` of transformers, seen as features and its last linear layer.

    Args:
        model: the model; its last linear layer makes the logits.
        padding: number of the token that fills texts up, from the end.

    Shape:
        - tokens: (N, T) integers; logits: (N, K).

    Raises:
        InputError: a model without a linear layer.

    Devlin, Chang, Lee, Toutanova: "BERT: Pre-training of Deep Bidirectional Transformers for Language
    Understanding", NAACL 2019.
    """

    inputs = "tokens"

    def __init__(self, model: nn.Module, padding: int = 0) -> None:
        super().__init__(model)
        self.padding = padding

    def features(self, images: Tensor) -> Tensor:
        """Return what the last linear layer sees, (N, D), of (N, T) tokens."""
        said = images != self.padding
        if not torch.compiler.is_compiling():
            # What is padding in every text of the batch costs time and changes nothing.
            longest = max(int(said.any(0).sum()), 1)
            images, said = images[:, :longest], said[:, :longest]
        features: Tensor = self.body(input_ids=images.long(), attention_mask=said.long()).logits
        return features


def from_folder(folder: str, num_classes: int, padding: int | None, options: dict[str, Any]) -> TextClassifier:
    """Build a classifier of texts with the weights of a folder; what they lack, its head, is drawn at random.

    Args:
        folder: with config.json and the weights, as `save_pretrained` writes them.
        num_classes: K.
        padding: number of the padding token; None where the data are no texts cut by a tokenizer.
        options: changes of the model's configuration, such as `hidden_dropout_prob`.

    Raises:
        InputError: no such folder, weights that cannot be read, an option that the model does not have.
    """
    place = Path(folder).expanduser()
    if not (place / "config.json").is_file():
        raise InputError(
            f"A text classifier was looked for in {place.resolve()}, where config.json, weights and tokenizer "
            "were expected, as save_pretrained of transformers writes them; set model.name to hf:FOLDER."
        )
    if padding is None:
        raise InputError(
            f"The network 'hf:{folder}' takes texts that a tokenizer cuts; choose another model.name for other "
            "data."
        )
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoModelForSequenceClassification

    try:
        config = AutoConfig.from_pretrained(place, local_files_only=True, num_labels=num_classes)
    except (OSError, ValueError) as error:
        raise InputError(f"{place / 'config.json'} cannot be read: {_reason(error)}") from None
    for name, value in options.items():
        if not hasattr(config, name):
            raise InputError(f"The network in {place} has no option {name!r}; its config.json names all.")
        setattr(config, name, value)
    config.pad_token_id = padding
    try:
        with _quiet():
            model = AutoModelForSequenceClassification.from_pretrained(
                place, config=config, local_files_only=True, dtype=torch.float32, ignore_mismatched_sizes=True
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"The network in {place} cannot be read: {_reason(error)}") from None
    # Read in evaluation mode; a stage trains it, dropout included.
    return TextClassifier(model.train(), padding)


def _reason(error: Exception) -> str:
    """Return the beginning of what an error says, in one line."""
    return " ".join(str(error).split())[:300]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from telling what is known: that the head is new."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
