r"""Is the network calibrated? How large a calibration error is by chance alone, and a test against it.

A calibrated network shows an error too, since a share of finitely many samples is never its expectation. Two
ways to draw that error, both in one pass and in memory that does not grow with the data:

- `LabelDraws` replaces each label by one drawn from the probabilities that were predicted for it (consistency
  resampling), which is what the hypothesis says of labels; no approximation, whatever the sample size.
- `sign_flips`, for maps: the pixels of an image depend on one another, so that labels drawn one by one would
  vary far too little. Under the hypothesis the residuals of an image have mean 0 in every bin, whatever their
  dependence, and turning the signs of images at random imitates their noise (wild bootstrap over clusters).

Consistency resampling is preferred to kernel errors (SKCE) since it takes one pass, needs no kernel, and tests
the very numbers that are shown.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.binning import bin_index, convention
from calibrant.metrics.rows import Piece, Rows
from calibrant.metrics.views import Bins

#: Numbers that the draws of all classes hold, at most.
_BUDGET = 4_000_000
_LEAST = 199


class CalibrationTest(NamedTuple):
    """A calibration error beside what it is by chance when the network is calibrated.

    Attributes:
        value: the error.
        expected: its mean when calibrated, on as many samples with the same confidences.
        limit: below which it then stays with probability 0.95.
        p_value: probability that it then is as large as `value`, or larger.
    """

    value: float
    expected: float
    limit: float
    p_value: float


class LabelDraws:
    r"""Bins of labels drawn from the predicted probabilities: what chance does to a calibrated network.

    For each row labels $y^{(1)}, …, y^{(R)} \sim p(x)$ are drawn and binned as the label itself is, by the top
    label and by class. Which numbers are drawn does not depend on the batches, but on the order of the rows.

    Args:
        num_classes: C.
        n_bins: number of equal-width bins.
        draws: R; fewer, down to 199, where there are many classes. The least p-value is 1 / (1 + R).
        seed: of the draws.

    Example:
        >>> from calibrant.metrics import State
        >>> from calibrant.metrics.rows import checked
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8]]).repeat(200, 1)
        >>> target = torch.tensor([0, 0]).repeat(200)
        >>> state, chance = State({"top"}, 2), LabelDraws(2)
        >>> state.update(probs, target, inputs="probs")
        >>> chance.add(checked(probs, target, inputs="probs"))
        >>> found = calibration_test(state.bins(), chance.gaps(state.bins()))
        >>> round(found.value, 2), found.limit < 0.06, found.p_value < 0.01
        (0.45, True, True)

    Bröcker, Smith: "Increasing the reliability of reliability diagrams", Weather and Forecasting 2007;
    Vaicenavicius, Widmann, Andersson, Lindsten, Roll, Schön: "Evaluating model calibration in classification",
    AISTATS 2019.
    """

    def __init__(self, num_classes: int, n_bins: int = 15, draws: int = 999, seed: int = 0) -> None:
        if draws < 1:
            raise InputError(f"draws must be at least 1, not {draws}.")
        self.draws = min(draws, max(_LEAST, _BUDGET // (num_classes * n_bins)))
        self.classes, self.n_bins = num_classes, n_bins
        self._generator = torch.Generator().manual_seed(seed)
        self._rule = convention("calibrant")
        self.top = torch.zeros(self.draws, n_bins, dtype=torch.int32)
        self.by_class = torch.zeros(self.draws, num_classes, n_bins, dtype=torch.int32)

    def add(self, rows: Rows) -> None:
        """Add a batch."""
        for piece in rows.pieces():
            self._add(piece)

    def _add(self, piece: Piece) -> None:
        by_row = piece.probs.movedim(1, 2).reshape(-1, self.classes)
        probs = (by_row if piece.valid is None else by_row[piece.valid.reshape(-1)]).cpu()
        top_bin = bin_index(piece.confidence.cpu(), self.n_bins, self._rule)
        predicted = piece.predicted.cpu()
        # A few rows at a time, so that their draws fit into a cache.
        step = max(1, (1 << 20) // self.draws)
        for start in range(0, len(probs), step):
            part = slice(start, start + step)
            self._draw(probs[part], top_bin[part], predicted[part])

    def _draw(self, probs: Tensor, top_bin: Tensor, predicted: Tensor) -> None:
        sums = probs.double().cumsum(1)
        places = torch.rand((len(probs), self.draws), generator=self._generator, dtype=torch.float64)
        labels = torch.searchsorted(sums, places * sums[:, -1:], right=True).clamp_(max=self.classes - 1)
        draw = torch.arange(self.draws)
        hit = labels == predicted.unsqueeze(1)
        keys = (draw * self.n_bins + top_bin.unsqueeze(1))[hit]
        self.top += torch.bincount(keys, minlength=self.top.numel()).view_as(self.top)
        bins = bin_index(probs.gather(1, labels), self.n_bins, self._rule)
        keys = ((draw * self.classes + labels) * self.n_bins + bins).view(-1)
        self.by_class += torch.bincount(keys, minlength=self.by_class.numel()).view_as(self.by_class)

    def gaps(self, bins: Bins) -> Tensor:
        """Return (R, B) gaps, or (R, C, B) where the bins are by class, of the drawn labels.

        Args:
            bins: those of the same rows, with the labels that they have.
        """
        hits = self.top if bins.confidence.dim() == 1 else self.by_class
        return (bins.confidence.cpu() - hits) / bins.total


def sign_flips(
    residuals: Tensor, total: int, *, rows: Tensor | None = None, draws: int = 999, seed: int = 0
) -> Tensor:
    r"""Gaps of a calibrated network by turning the signs of clusters: $\frac1N \sum_g \pm r_g$.

    Args:
        residuals: (G, ...) sums over each cluster of confidence less correctness, by bin.
        total: number of rows N.
        rows: (G,) rows of each cluster: what the clusters have in common is then taken out of their residuals.
            That leaves the noise, and limits that the error itself does not widen; a p-value is of the
            residuals as they are.
        draws: R; fewer, down to 199, where there are many classes.
        seed: of the signs.

    Returns:
        (R, ...) float64.

    Example:
        >>> sign_flips(torch.tensor([[3.0, 0.0]]), 10, draws=4).abs()
        tensor([[0.3000, 0.0000],
                [0.3000, 0.0000],
                [0.3000, 0.0000],
                [0.3000, 0.0000]], dtype=torch.float64)

    Cameron, Gelbach, Miller: "Bootstrap-based improvements for inference with clustered errors", Review of
    Economics and Statistics 2008.
    """
    flat = residuals.double().reshape(len(residuals), -1)
    if rows is not None:
        flat = flat - (rows.double() / total).unsqueeze(1) * flat.sum(0)
    draws = min(draws, max(_LEAST, _BUDGET // flat.shape[1]))
    generator = torch.Generator().manual_seed(seed)
    signs = torch.randint(0, 2, (draws, len(flat)), generator=generator).double().mul_(2).sub_(1)
    return (signs @ flat / total).reshape(draws, *residuals.shape[1:])


def calibration_test(bins: Bins, by_chance: Tensor, noise: Tensor | None = None) -> CalibrationTest:
    r"""Test the hypothesis that the network is calibrated, by the ECE or, of bins by class, the class-wise ECE.

    $$p = \frac{1 + \#\{T^* \ge T\}}{1 + R}$$

    Of labels drawn from the predictions the p-value is exact: under the hypothesis it is at most 0.05 in at
    most 5 % of all data sets.

    Args:
        bins: with the labels that there are; (B,), or (C, B) by class.
        by_chance: (R, B) or (R, C, B) gaps when calibrated, from `LabelDraws.gaps` or `sign_flips`.
        noise: of the same shape, from which `expected` and `limit` are read instead: `sign_flips` with rows.
    """
    value, drawn = _error(bins.gap.cpu().unsqueeze(0))[0], _error(by_chance)
    chance = drawn if noise is None else _error(noise)
    return CalibrationTest(
        float(value),
        float(chance.mean()),
        float(chance.quantile(0.95)),
        (1 + int((drawn >= value * (1 - 1e-9)).sum())) / (1 + len(drawn)),
    )


def _error(gaps: Tensor) -> Tensor:
    """Return (R,) errors of (R, B) or (R, C, B) gaps."""
    error = gaps.abs().sum(-1)
    return error if error.dim() == 1 else error.mean(-1)
