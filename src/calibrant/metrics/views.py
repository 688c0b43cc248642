r"""Calibration errors as views of binned sums.

Of bin b: $n_b$ its samples, $c_b$ their mean confidence, $a_b$ the share that is correct, $N$ all samples.
Every function takes `Bins` and returns float64: a scalar, or (C,) for class-wise bins of shape (C, B).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor


@dataclass(frozen=True)
class Bins:
    """Sums by bin, (B,) or (C, B).

    Attributes:
        count: int64 samples.
        confidence: float64 sum of the confidences.
        correct: int64 how many are correct (class-wise: have this label).
        residual_sq: float64 sum of (confidence - correct)^2; None where it was not kept.
        total: samples in all, those that a convention bins nowhere included where it counts them.
        edges: (B + 1,) float64; for equal-mass bins the confidences at which they end.
    """

    count: Tensor
    confidence: Tensor
    correct: Tensor
    residual_sq: Tensor | None
    total: int
    edges: Tensor

    @property
    def gap(self) -> Tensor:
        """Sum of confidence - correct in each bin, divided by N: the weight of the bin times its gap."""
        return (self.confidence - self.correct) / self.total

    @property
    def weight(self) -> Tensor:
        """Share of the samples in each bin."""
        return self.count.double() / self.total

    @property
    def mean_confidence(self) -> Tensor:
        """Mean confidence in each bin; nan where it is empty."""
        return self.confidence / self.count

    @property
    def accuracy(self) -> Tensor:
        """Share of correct samples in each bin; nan where it is empty."""
        return self.correct.double() / self.count


def _full(values: Tensor) -> Tensor:
    """Put 0 in place of the nan of empty bins."""
    return values.nan_to_num(nan=0.0)


def ece(bins: Bins) -> Tensor:
    r"""Return $\sum_b \frac{n_b}{N} |c_b - a_b|$."""
    return bins.gap.abs().sum(-1)


def rmsce(bins: Bins) -> Tensor:
    r"""Return $\sqrt{\sum_b \frac{n_b}{N} (c_b - a_b)^2}$."""
    return (_full(bins.gap.square() / bins.weight)).sum(-1).sqrt()


def mce(bins: Bins) -> Tensor:
    r"""Return $\max_b |c_b - a_b|$ over the bins that hold any."""
    return _full(bins.gap / bins.weight).abs().amax(-1)


def average_ce(bins: Bins) -> Tensor:
    r"""Return the plain mean of $|c_b - a_b|$ over the bins that hold any."""
    return _full(bins.gap / bins.weight).abs().sum(-1) / (bins.count > 0).sum(-1)


def oe(bins: Bins) -> Tensor:
    r"""Return $\sum_b \frac{n_b}{N} c_b \max(c_b - a_b, 0)$."""
    return (_full(bins.mean_confidence) * bins.gap.clamp(min=0)).sum(-1)


def ue(bins: Bins) -> Tensor:
    r"""Return $\sum_b \frac{n_b}{N} c_b \max(a_b - c_b, 0)$."""
    return (_full(bins.mean_confidence) * (-bins.gap).clamp(min=0)).sum(-1)


def overconfidence(bins: Bins) -> Tensor:
    r"""Return $\sum_b \frac{n_b}{N} \max(c_b - a_b, 0)$: the part of ECE above the diagonal."""
    return bins.gap.clamp(min=0).sum(-1)


def underconfidence(bins: Bins) -> Tensor:
    r"""Return $\sum_b \frac{n_b}{N} \max(a_b - c_b, 0)$: the part of ECE below the diagonal."""
    return (-bins.gap).clamp(min=0).sum(-1)


def signed_ce(bins: Bins) -> Tensor:
    r"""Return $\sum_b \frac{n_b}{N} (c_b - a_b)$: mean confidence less accuracy."""
    return bins.gap.sum(-1)


def debiased_ece(
    bins: Bins, correction: Literal["accuracy", "confidence"] = "accuracy", root: bool = True
) -> Tensor:
    r"""Return $\sum_b \frac{n_b}{N} \left[(c_b - a_b)^2 - \frac{a_b (1 - a_b)}{n_b - 1}\right]$, or its root.

    A bin of one sample has no variance to subtract and is left out. The root of a negative value is 0.
    """
    rate = _full(bins.accuracy if correction == "accuracy" else bins.mean_confidence)
    noise = rate * (1 - rate) / (bins.count - 1).clamp(min=1)
    terms = bins.weight * (_full(bins.gap / bins.weight).square() - noise)
    value = torch.where(bins.count > 1, terms, 0.0).sum(-1)
    return value.clamp(min=0).sqrt() if root else value


class BrierDecomposition(NamedTuple):
    """Parts of the Brier score, float64: score = reliability - resolution + uncertainty + within_bins."""

    score: Tensor
    reliability: Tensor
    resolution: Tensor
    uncertainty: Tensor
    within_bins: Tensor


def brier_decomposition(bins: Bins) -> BrierDecomposition:
    r"""Return the parts of the Brier score summed over classes, from class-wise bins.

    With $\bar y$ the frequency of the class:

    $$\text{BS} = \underbrace{\sum_b \tfrac{n_b}{N} (c_b - a_b)^2}_\text{reliability} - \underbrace{\sum_b
    \tfrac{n_b}{N} (a_b - \bar y)^2}_\text{resolution} + \underbrace{\bar y (1 - \bar y)}_\text{uncertainty} +
    \underbrace{\text{rest}}_\text{within bins}$$

    The rest is the variance of the probabilities within the bins less twice their covariance with the outcome.
    """
    assert bins.residual_sq is not None
    score = bins.residual_sq.sum() / bins.total
    frequency = bins.correct.sum(-1, keepdim=True).double() / bins.total
    reliability = _full(bins.gap.square() / bins.weight).sum()
    resolution = (bins.weight * (_full(bins.accuracy) - frequency).square()).sum()
    uncertainty = (frequency * (1 - frequency)).sum()
    return BrierDecomposition(
        score, reliability, resolution, uncertainty, score - reliability + resolution - uncertainty
    )
