"""What the caller gave, checked: predictions and labels cut into pieces that a cache can hold.

A *row* is one prediction: an image in classification, a pixel in segmentation.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.labels import check_labels, counted

Inputs = Literal["logits", "probs"]

#: How far outside [0, 1] a probability may lie before it is a mistake rather than rounding.
TOLERANCE = 1e-5
#: How far from 1 the probabilities of a row may sum; bfloat16 softmax reaches 0.004.
SUM_TOLERANCE = 0.01
#: Elements of a piece: small enough for a processor's cache, large enough for an accelerator.
PIECE = {"cpu": 1 << 21, "other": 1 << 26}


@dataclass(frozen=True)
class Rows:
    """Checked predictions and labels.

    Attributes:
        values: (N, C, S) logits or probabilities, S pixels a map (1 in classification).
        target: (N, S) int64 labels, an ignored one replaced by 0.
        valid: (N, S) bool, False where the label is ignored; None when every row counts.
        inputs: what the values are.
    """

    values: Tensor
    target: Tensor
    valid: Tensor | None
    inputs: Inputs

    def pieces(self) -> "Iterator[Piece]":
        """Cut into pieces: images first, then pixels."""
        n, classes, pixels = self.values.shape
        size = PIECE["cpu" if self.values.device.type == "cpu" else "other"]
        images = max(1, size // max(classes * pixels, 1))
        width = pixels if images > 1 else max(1, size // max(classes, 1))
        for i in range(0, n, images):
            for j in range(0, pixels, width):
                part = (slice(i, i + images), slice(j, j + width))
                yield Piece(
                    self.values[part[0], :, part[1]],
                    self.target[part],
                    None if self.valid is None else self.valid[part],
                    self.inputs,
                    self,
                )

    def images(self) -> "Iterator[Rows]":
        """Yield each image on its own."""
        for i in range(len(self.values)):
            part = slice(i, i + 1)
            valid = None if self.valid is None else self.valid[part]
            yield Rows(self.values[part], self.target[part], valid, self.inputs)


@dataclass(frozen=True)
class Piece:
    """A piece of `Rows`; what is asked of it is computed once. (m,) tensors hold the rows that count."""

    values: Tensor
    target: Tensor
    valid: Tensor | None
    inputs: Inputs
    whole: Rows

    def counted(self, rows: Tensor) -> Tensor:
        """Return the rows that count of (n, S) as (m,)."""
        return rows.reshape(-1) if self.valid is None else rows[self.valid]

    @cached_property
    def probs(self) -> Tensor:
        """(n, C, S) probabilities in float32 or float64; one channel of a binary task made two."""
        values = self._wide
        if self.inputs == "logits":
            return values.softmax(1)
        low = float(values.amin()) if values.numel() else 0.0
        if not low >= -TOLERANCE:
            _refuse_values(self.whole)
        if low < 0:
            values = values.clamp(min=0)
        return values

    @cached_property
    def _wide(self) -> Tensor:
        values = self.values
        if values.dtype in (torch.float16, torch.bfloat16):
            values = values.float()
        if values.shape[1] == 1:
            other = torch.zeros_like(values) if self.inputs == "logits" else 1 - values
            values = torch.cat([other, values], 1)
        return values

    @cached_property
    def labels(self) -> Tensor:
        """(m,) int64 labels."""
        return self.counted(self.target)

    @cached_property
    def confidence(self) -> Tensor:
        """(m,) largest probability of each row."""
        top = self.counted(self._largest)
        highest = float(top.amax()) if top.numel() else 0.0
        if not highest <= 1 + TOLERANCE:  # true of NaN as well
            _refuse_values(self.whole)
        if self.inputs == "logits":
            return top
        if self.values.shape[1] > 1 and top.numel():
            mass = self.counted(self.probs.sum(1))
            if float(mass.amin()) < 1 - SUM_TOLERANCE or float(mass.amax()) > 1 + SUM_TOLERANCE:
                _refuse_sums(self.whole)
        return top.clamp(max=1) if highest > 1 else top

    @cached_property
    def at_label(self) -> Tensor:
        """(m,) probability of the label."""
        _ = self.confidence  # looks for NaN and for values out of range
        own = self.counted(self.probs.gather(1, self.target.unsqueeze(1)).squeeze(1))
        return own.clamp(max=1) if self.inputs == "probs" else own

    @cached_property
    def correct(self) -> Tensor:
        """(m,) bool, whether `argmax` of the row is the label.

        The label's probability equals the largest in a wrong row only under a tie, which two classes can have
        only at one half or below; those rows alone are searched.
        """
        hit = self.at_label == self.confidence
        if self.values.shape[1] == 1:
            return self._second == self.labels.bool()
        doubtful = hit & (self.confidence <= 0.5 * (1 + SUM_TOLERANCE))
        if doubtful.any() and self._ties:
            hit[doubtful] = self.scores_of(doubtful).argmax(1) == self.labels[doubtful]
        return hit

    @cached_property
    def _second(self) -> Tensor:
        """(m,) bool, whether one channel says class 1; one half does. A logit is not rounded first."""
        return self.counted(self.values[:, 0] >= (0.0 if self.inputs == "logits" else 0.5))

    @cached_property
    def _ties(self) -> bool:
        """Whether any row has its largest probability twice."""
        largest = self._largest
        return int(torch.count_nonzero(self.probs == largest.unsqueeze(1))) > largest.numel()

    @cached_property
    def _largest(self) -> Tensor:
        return self.probs.amax(1)

    @cached_property
    def predicted(self) -> Tensor:
        """(m,) `argmax` of each row, of the logits where they were given."""
        _ = self.confidence
        if self.values.shape[1] == 1:
            return self._second.long()
        # The first of several largest, as of argmax, which takes three times as long over channels.
        return self.counted(self._wide.max(1).indices)

    def scores_of(self, chosen: Tensor) -> Tensor:
        """Return (k, C) logits or probabilities of the chosen among the rows that count, (m,) bool."""
        if self._wide.shape[2] == 1:
            rows = self._wide.squeeze(2)
            rows = rows if self.valid is None else rows[self.valid.squeeze(1)]
            return rows[chosen]
        mask = torch.zeros_like(self.target, dtype=torch.bool)
        if self.valid is None:
            mask.view(-1)[:] = chosen
        else:
            mask[self.valid] = chosen
        image, pixel = mask.nonzero(as_tuple=True)
        return self._wide[image, :, pixel]

    @cached_property
    def nll(self) -> Tensor:
        """(m,) float64 negative log-likelihood of the label; inf where a probability is exactly 0."""
        if self.inputs == "probs":
            return -self.at_label.double().log()
        logits, confidence = self._wide, self.confidence.double()
        below = logits.amax(1) - logits.gather(1, self.target.unsqueeze(1)).squeeze(1)
        return self.counted(below).double() - confidence.log()

    @cached_property
    def brier(self) -> Tensor:
        """(m,) float64 squared distance of the row from the one-hot label, summed over classes."""
        squares = self.counted(self.probs.square().sum(1)).double()
        return squares - 2 * self.at_label.double() + 1

    @cached_property
    def rank(self) -> Tensor:
        """(m,) int64, how many classes come before the label; among equals the smaller index comes first."""
        _ = self.confidence
        if self.values.shape[1] == 1:
            return (~self.correct).long()
        scores = self._wide
        own = scores.gather(1, self.target.unsqueeze(1))
        index = torch.arange(scores.shape[1], device=scores.device).view(1, -1, 1)
        before = (scores > own) | ((scores == own) & (index < self.target.unsqueeze(1)))
        return self.counted(before.sum(1))


def checked(
    values: Tensor, target: Tensor, *, inputs: Inputs, ignore_index: int | Iterable[int] | None = None
) -> Rows:
    """Check shapes, types and labels, and bring predictions into the form (N, C, S).

    Args:
        values: (N, C, *) logits or probabilities; (N, 1, *) for a binary task.
        target: (N, *) integer labels; (N, 1, *) is taken too when `values` has one channel.
        inputs: "logits" or "probs".
        ignore_index: label, or labels, whose rows count nowhere.

    Raises:
        InputError: naming what does not fit.
    """
    check_choice("inputs", inputs, ("logits", "probs"))
    if not isinstance(values, Tensor) or not isinstance(target, Tensor):
        raise InputError(
            f"values and target must be tensors, not {type(values).__name__} and {type(target).__name__}."
        )
    if values.dim() < 2 or not values.is_floating_point():
        raise InputError(
            f"values must be real of shape (N, C, *), not {values.dtype} of shape {tuple(values.shape)}."
        )
    if target.is_floating_point() or target.is_complex():
        raise InputError(f"target must hold integer labels, not {target.dtype}.")
    if values.shape[1] == 1 and target.shape == values.shape:
        target = target.squeeze(1)
    rows = values.shape[:1] + values.shape[2:]
    if target.shape != rows:
        raise InputError(
            f"Target of shape {tuple(target.shape)} fits no values of shape {tuple(values.shape)}: labels must "
            f"have shape {tuple(rows)}."
        )
    if values.shape[1] == 0:
        raise InputError("values have no classes: their second axis is empty.")
    values, target = values.detach(), target.detach().to(values.device).long()
    valid = counted(target, ignore_index)
    check_labels(target, valid, max(values.shape[1], 2))
    if valid is not None:
        target = torch.where(valid, target, 0)
        if valid.all():
            valid = None
    n, classes = values.shape[:2]
    pixels = target.numel() // n if n else 1
    shape = (n, pixels)
    return Rows(
        values.reshape(n, classes, pixels),
        target.reshape(shape),
        None if valid is None else valid.reshape(shape),
        inputs,
    )


def _refuse_values(rows: Rows) -> None:
    """Raise for the first NaN, or value out of range, in a row that counts; nothing when there is none."""
    wrong = rows.values.isnan()
    if rows.inputs == "probs":
        wrong |= (rows.values < -TOLERANCE) | (rows.values > 1 + TOLERANCE)
    else:
        wrong |= rows.values == float("inf")
        wrong |= (rows.values == float("-inf")).all(1, keepdim=True)
    if rows.valid is not None:
        wrong &= rows.valid.unsqueeze(1)
    if not wrong.any():
        return
    where = tuple(int(i) for i in wrong.nonzero()[0])
    value = float(rows.values[where])
    place = where if rows.values.shape[2] > 1 else where[:2]
    if rows.inputs == "logits":
        raise InputError(f"The logits hold {value} at position {place}; remove such rows or mend the network.")
    hint = "" if value != value else "; if these are logits, pass inputs='logits'"
    raise InputError(f"The probabilities hold {value:g} at position {place}, outside [0, 1]{hint}.")


def _refuse_sums(rows: Rows) -> None:
    mass = rows.values.float().sum(1)
    wrong = (mass - 1).abs() > SUM_TOLERANCE
    if rows.valid is not None:
        wrong &= rows.valid
    if not wrong.any():
        return
    where = tuple(int(i) for i in wrong.nonzero()[0])
    place = where if rows.values.shape[2] > 1 else where[0]
    raise InputError(
        f"The probabilities of row {place} sum to {float(mass[where]):.4g}, not 1; normalise them, or pass "
        "inputs='logits' if they are logits."
    )
