"""Texts in memory: rows of word numbers, read once, indexed a batch at a time."""

from dataclasses import dataclass
from typing import TypedDict

import torch
from torch import Tensor
from torch.utils.data import Dataset

from calibrant.metrics.definitions import Groups


class TextBatch(TypedDict):
    """A batch: `tokens` (B, T) int32 and, (B,) int64, `target`, `id` and `index`, the position in the set."""

    tokens: Tensor
    target: Tensor
    id: Tensor
    index: Tensor


@dataclass(frozen=True)
class TextSet(Dataset[TextBatch]):
    """Texts with labels and ids, indexed by lists of positions.

    Attributes:
        tokens: (N, T) int32 numbers of words, 0 in front of a short text; or those of a tokenizer.
        targets: (N,) int64 labels.
        ids: (N,) int64, the position of each text in the data set on disk.
    """

    tokens: Tensor
    targets: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: list[int] | Tensor) -> TextBatch:
        at = torch.as_tensor(index)
        return {"tokens": self.tokens[at], "target": self.targets[at], "id": self.ids[at], "index": at}

    def subset(self, positions: Tensor) -> "TextSet":
        """Return the texts at some positions, in that order."""
        return TextSet(self.tokens[positions], self.targets[positions], self.ids[positions])


@dataclass(frozen=True)
class TextTask:
    """A classification task on texts.

    Attributes:
        train: texts that train.
        val: texts that choose and calibrate; there may be none.
        test: texts that judge.
        class_names: C names, in the order of the labels.
        words: V words in the order of their numbers; the first, padding, is empty.
        vectors: (V, D) vectors of the words, for the embedding of a network; None for tokens, whose network
            brings its own.
        groups: how the classes are grouped into many-, medium- and few-shot ones, as `metrics.evaluate` takes
            it; None where the classes are about as large.
        note: one sentence for the reader of a result.
        padding: number that fills a short text up.
    """

    train: TextSet
    val: TextSet
    test: TextSet
    class_names: list[str]
    words: list[str]
    vectors: Tensor | None
    groups: Groups | None = None
    note: str = ""
    padding: int = 0

    @property
    def class_counts(self) -> Tensor:
        """(C,) number of training texts of each class."""
        return self.train.targets.bincount(minlength=len(self.class_names))
