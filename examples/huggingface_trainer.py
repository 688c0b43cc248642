"""Hugging Face's `Trainer` on text, with a loss of Calibrant as its `compute_loss_func`.

The texts are real and come with what is installed: sentences of the documentation of NumPy, PyTorch and scikit-
learn. The task is to tell whose a sentence is. Network and tokenizer are made here; nothing is downloaded.

    python examples/huggingface_trainer.py
"""

import inspect
import os
import re
import tempfile
import warnings
from collections.abc import Callable

os.environ["HF_HUB_OFFLINE"] = "1"

import numpy as np
import sklearn.cluster
import sklearn.linear_model
import sklearn.metrics
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)
from transformers.modeling_outputs import SequenceClassifierOutput
from transformers.trainer_callback import PrinterCallback
from transformers.utils import logging

from calibrant import losses, posthoc
from calibrant.metrics import functional as metrics

logging.set_verbosity_error()
warnings.filterwarnings("ignore", module="torch")
LIBRARIES = {
    "NumPy": (np, np.linalg, np.random),
    "PyTorch": (torch.nn, torch.nn.functional, torch.Tensor),
    "scikit-learn": (sklearn.metrics, sklearn.linear_model, sklearn.cluster),
}


def sentences(places: tuple[object, ...]) -> list[str]:
    """Return the sentences of the documentation of what a module or class holds, each once."""
    found: dict[str, None] = {}
    for place in places:
        for name in dir(place):
            text = inspect.getdoc(getattr(place, name, None)) or ""
            for paragraph in text.split("\n\n"):
                words = " ".join(paragraph.split())
                for sentence in re.findall(r"[A-Z][^.:`>=]{40,200}\.", words):
                    found[sentence] = None
    return list(found)


def tokenizer_of(texts: list[str]) -> PreTrainedTokenizerFast:
    """Return a tokenizer of the 2,000 commonest words."""
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.normalizer = normalizers.Lowercase()
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    words.train_from_iterator(texts, trainers.WordLevelTrainer(vocab_size=2000, special_tokens=special))
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )


def compute_loss(criterion: nn.Module) -> Callable[..., Tensor]:
    """Return what `Trainer` takes for `compute_loss_func`."""

    def compute(
        outputs: SequenceClassifierOutput, labels: Tensor, num_items_in_batch: int | None = None
    ) -> Tensor:
        return criterion(outputs.logits, labels)

    return compute


def show(name: str, logits: Tensor, target: Tensor) -> None:
    """Print how often the predictions are right, and how far confidence is from that."""
    accuracy = metrics.accuracy(logits, target, inputs="logits")
    ece = metrics.ece(logits, target, inputs="logits")
    print(f"{name:<32} accuracy {accuracy:.3f}  ECE {ece:.4f}")


pairs = [(text, label) for label, places in enumerate(LIBRARIES.values()) for text in sentences(places)]
order = np.random.default_rng(0).permutation(len(pairs))[:2200]
texts, labels = [pairs[i][0] for i in order], torch.tensor([pairs[i][1] for i in order])
tokenizer = tokenizer_of(texts[:800])
rows = [
    {"input_ids": ids, "labels": int(label)}
    for ids, label in zip(tokenizer(texts, truncation=True, max_length=32)["input_ids"], labels, strict=True)
]
train, val, test = rows[:800], rows[800:1300], rows[1300:]
print(f"{len(rows)} sentences of {', '.join(LIBRARIES)}; {len(train)} train")

for name, options in {"ce": {}, "mbls": {"margin": 3.0}}.items():
    set_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=48,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=len(LIBRARIES),
    )
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=BertForSequenceClassification(config),
            args=TrainingArguments(
                output_dir=folder,
                num_train_epochs=5,
                learning_rate=2e-3,
                per_device_train_batch_size=32,
                per_device_eval_batch_size=256,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                use_cpu=True,
                logging_strategy="no",
            ),
            train_dataset=train,
            processing_class=tokenizer,
            compute_loss_func=compute_loss(losses.create(name, **options)),
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
        val_logits, test_logits = (torch.as_tensor(trainer.predict(part).predictions) for part in (val, test))
    show(name, test_logits, labels[1300:])
    scaling = posthoc.TemperatureScaling().fit(val_logits, labels[800:1300])
    show(f"{name} + temperature {float(scaling.temperature_):.2f}", scaling(test_logits), labels[1300:])
