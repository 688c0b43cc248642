"""Texts cut by a tokenizer of Hugging Face from a folder on this machine; nothing is downloaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from calibrant.errors import InputError

#: Most tokens of a text where neither the user nor the tokenizer says how many.
LENGTH = 512


@dataclass(frozen=True)
class Tokens:
    """Texts as numbers of tokens.

    Attributes:
        rows: (N, T) int32, filled up with `padding` at the end.
        padding: number of the padding token.
        words: what each number stands for; that of padding is empty.
    """

    rows: Tensor
    padding: int
    words: list[str]


def tokenize(texts: Sequence[str], folder: str, length: int | None = None) -> Tokens:
    """Cut texts into tokens.

    Args:
        texts: N texts.
        folder: with the tokenizer, as `save_pretrained` writes it.
        length: most tokens of a text, whose beginning is kept; None for what the tokenizer allows, at most 512.

    Raises:
        InputError: no such folder, or no tokenizer in it.
    """
    place = Path(folder).expanduser()
    if not place.is_dir():
        raise InputError(f"A tokenizer was looked for in {place.resolve()}, which is not there.")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
    except Exception as error:
        # Of a damaged file the libraries say what they stumble over, with errors of any kind.
        reason = " ".join(str(error).split())
        raise InputError(f"{place} holds no tokenizer that can be read: {reason[:300]}") from None
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer.pad_token_id is None:
        raise InputError(f"The tokenizer in {place} has no padding token; save it with one.")
    most = min(length or LENGTH, tokenizer.model_max_length)
    tokenizer.padding_side = "right"
    rows = tokenizer(
        list(texts), truncation=True, max_length=most, padding="longest", return_attention_mask=False
    )["input_ids"]
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    names[tokenizer.pad_token_id] = ""
    return Tokens(torch.tensor(rows, dtype=torch.int32), tokenizer.pad_token_id, names)
