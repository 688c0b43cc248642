"""What every kind of file of predictions offers: facts about it, and batches of checked values and labels."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.rows import SUM_TOLERANCE, TOLERANCE, Inputs
from calibrant.predictions.labels import IGNORED, LabelReader, Place
from calibrant.predictions.naming import SPOKEN

#: Numbers that a batch holds, about.
BATCH = 1 << 22


class Batch(NamedTuple):
    """Some rows of a file.

    Attributes:
        values: (n, C, *) real logits or probabilities; (n, 1, *) where a file holds those of class 1 alone.
        target: (n, *) int64 labels; -1 where they do not count, or the file has none.
    """

    values: Tensor
    target: Tensor


class PredictionFile(ABC):
    """Predictions and labels in a file or folder, of which only its head was read yet.

    Attributes:
        path: the file or folder.
        inputs: "logits" or "probs": what the values are.
        channels: columns of the values: 1 where those of class 1 of two are given alone, else `classes`.
        class_names: a name for each class; its index where the file has none.
        dense: whether a row is a map of many labels.
        labelled: whether the file holds labels.
        ignore_index: -1 where labels were named that do not count, else None; pass it on with the batches.
    """

    def __init__(
        self,
        path: Path,
        inputs: Inputs,
        channels: int,
        class_names: list[str],
        *,
        dense: bool = False,
        labelled: bool = True,
        ignore: Iterable[int] = (),
    ) -> None:
        self.path, self.inputs, self.channels, self.dense = path, inputs, channels, dense
        self.class_names, self.labelled = class_names, labelled
        if len(class_names) != max(channels, 2):
            raise InputError(
                f"{path} names {len(class_names)} classes, but its {SPOKEN[inputs]} are of {max(channels, 2)}."
            )
        # Without labels every row counts: its values are looked at.
        ignored = tuple(ignore) if labelled else ()
        self.ignore_index: int | None = IGNORED if ignored else None
        self._labels = LabelReader(str(path), class_names, ignored)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    @abstractmethod
    def rows(self) -> int:
        """Number of rows, those that do not count included: samples, or maps; a text file is read for it."""

    @abstractmethod
    def _pieces(self) -> Iterator[tuple[Batch, Place]]:
        """Yield values as (n, C, *) and indices of labels, and what says where a row stands."""

    def batches(self) -> Iterator[Batch]:
        """Yield every row once, in order, checked.

        Raises:
            InputError: values that cannot be logits or probabilities, labels that are no class, no rows, and
                files that are damaged; the sentence says where.
        """
        for batch, _ in self.checked_pieces():
            yield batch

    def checked_pieces(self) -> Iterator[tuple[Batch, Place]]:
        """Yield what `batches` yields, each with what says where a row of it stands."""
        seen = 0
        for batch, place in self._pieces():
            self._check(batch, place)
            seen += len(batch.values)
            yield batch, place
        if not seen:
            raise InputError(f"{self.path} holds no predictions: there is no row in it.")

    @staticmethod
    def no_labels(rows: int, shape: Sequence[int] = ()) -> Tensor:
        """Return what stands for the labels of rows that have none."""
        return torch.full((rows, *shape), IGNORED)

    def read(self) -> Batch:
        """Return all rows at once, maps only if they are of one size."""
        values, target = zip(*self.batches(), strict=True)
        if len({tensor.shape[1:] for tensor in values}) > 1:
            raise InputError(f"The maps of {self.path} are of different sizes; read them in batches.")
        return Batch(torch.cat(values), torch.cat(target))

    def _check(self, batch: Batch, place: Place) -> None:
        values, target = batch
        counted = None if self.ignore_index is None else target != IGNORED

        def refuse_first(wrong: Tensor, sentence: str) -> None:
            by_class = wrong.dim() == values.dim()
            if counted is not None:
                wrong = wrong & (counted.unsqueeze(1) if by_class else counted)
            if wrong.any():
                row, *rest = (int(k) for k in wrong.nonzero()[0])
                k, pixel = (rest[0], rest[1:]) if by_class else (None, rest)
                of_pixel = values[row].reshape(values.shape[1], -1)[:, _flat(pixel, values.shape[2:])]
                value = of_pixel.sum() if k is None else of_pixel[k]
                where = self._where(place(row), k, pixel)
                raise InputError(sentence.format(path=self.path, value=float(value), where=where))

        spoken = SPOKEN[self.inputs]
        refuse_first(values.isnan(), f"The {spoken} of {{path}} hold nan, {{where}}; remove or mend such rows.")
        if self.inputs == "logits":
            sentence = "The logits of {path} hold {value}, {where}; remove or mend such rows."
            refuse_first(values == torch.inf, sentence)
            refuse_first((values == -torch.inf).all(1, keepdim=True), sentence)
            return
        refuse_first(
            (values < -TOLERANCE) | (values > 1 + TOLERANCE),
            "A probability of {path} is {value:g}, {where}, outside 0 to 1; if these are logits, say "
            "--inputs logits.",
        )
        if self.channels > 1:
            refuse_first(
                (values.sum(1, dtype=torch.float64) - 1).abs() > SUM_TOLERANCE,
                "The probabilities of {path} sum to {value:.4g}, not to 1, {where}; normalise them, or say "
                "--inputs logits if they are logits.",
            )

    def _where(self, place: str, k: int | None, pixel: list[int]) -> str:
        parts = [place]
        if k is not None and self.channels > 1:
            parts.append(f"class {self.class_names[k]}")
        if pixel:
            parts.append(f"pixel ({', '.join(map(str, pixel))})")
        return ", ".join(parts)


def _flat(pixel: list[int], shape: tuple[int, ...]) -> int:
    """Return the index of a pixel in a flattened map."""
    index = 0
    for place, size in zip(pixel, shape, strict=True):
        index = index * size + place
    return index
