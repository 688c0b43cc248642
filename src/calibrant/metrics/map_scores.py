"""Calibration and saliency of binary maps together, with confidence intervals over the images."""

import math

import torch
from torch import Generator, Tensor

from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.evaluation import Estimate, evaluate_state
from calibrant.metrics.saliency import SaliencyScores, SaliencyState
from calibrant.metrics.state import State, Sums

#: What the calibration metrics are read from, for each image.
_PARTS = frozenset({"top", "class", "labels", "hits", "nll", "brier"})
#: And over all images together, where quantiles of the confidence are wanted too.
_POOLED = _PARTS | {"class_squares", "samples"}
_BINNED = ("ece", "oe", "ue", "mce", "rmsce", "classwise_ece", "nll", "brier")
#: Published for dense binary maps; of the bins over [0, 1] the upper half is ever filled.
BINS = 10
RESAMPLES = 400


class MapScores:
    """The metrics of binary maps: those of `evaluate` with all pixels pooled, and those of saliency.

    The pixels of an image depend on one another, so that intervals which count them as independent would be
    far too narrow: here images are drawn again (a percentile bootstrap). Metrics that need quantiles or orders
    of all pixels (aece, ks, smooth_ece, auroc, aurc) have no interval.

    Args:
        n_bins: number of equal-width bins over [0, 1].

    Example:
        >>> scores = MapScores()
        >>> for shift in (0.0, 0.1, 0.2):
        ...     scores.add(torch.eye(8) * 0.6 + shift, torch.eye(8))
        >>> found = scores.estimates()
        >>> round(found["ece"].value, 3), found["ece"].low <= found["ece"].value <= found["ece"].high
        (0.125, True)
        >>> found["max_f"].value
        1.0
    """

    def __init__(self, n_bins: int = BINS) -> None:
        self.n_bins = n_bins
        self._pooled = State(_POOLED, 2, n_bins)
        self._images: list[Sums] = []
        self._saliency: list[Sums] = []

    def __len__(self) -> int:
        return len(self._images)

    def add(self, probability: Tensor, label: Tensor) -> None:
        """Add an image.

        Args:
            probability: (H, W) of the object, in [0, 1].
            label: (H, W): bool, uint8 with 255 for white, or real in [0, 1]; half and more is object.
        """
        threshold = 128 if label.dtype == torch.uint8 else 0.5
        truth = label if label.dtype == torch.bool else label >= threshold
        # 1 - p is computed in float64, so that p and 1 - p fall in the same bin.
        values, target = probability.double().cpu()[None, None], truth.long().cpu()[None]
        state = State(_PARTS, 2, self.n_bins)
        state.update(values, target, inputs="probs")
        self._pooled.update(values, target, inputs="probs")
        shape = SaliencyState()
        shape.update(probability.cpu(), truth.cpu())
        self._images.append(state.sums)
        self._saliency.append(shape.sums)

    def estimates(self, *, intervals: bool = True, level: float = 0.95, seed: int = 0) -> dict[str, Estimate]:
        """Return every metric by name, with its interval where it has one.

        Args:
            intervals: whether to compute them.
            level: probability that an interval covers the truth.
            seed: of the images that are drawn again.

        Raises:
            InputError: no image was added.
        """
        # Refuses where there is no image.
        found = {name: e.value for name, e in evaluate_state(self._pooled, intervals=False).items()}
        images, saliency = _stacked(self._images), _stacked(self._saliency)
        found |= self._measured(images, saliency, torch.ones(len(self), dtype=torch.float64))
        if not intervals:
            return {name: Estimate(value, math.nan, math.nan) for name, value in found.items()}
        generator = Generator().manual_seed(seed)
        places = torch.randint(len(self), (RESAMPLES, len(self)), generator=generator)
        drawn = [self._measured(images, saliency, row.bincount(minlength=len(self)).double()) for row in places]
        return {name: Estimate(value, *_interval(name, drawn, level)) for name, value in found.items()}

    def _measured(self, images: Sums, saliency: Sums, weights: Tensor) -> dict[str, float]:
        state = State.over(self._pooled.spec, _weighted(images, weights), {})
        found = {"accuracy": float(state.sums["top_correct"].sum() / state.sums["total"])}
        found |= {name: float(DEFINITIONS[name].view(state)) for name in _BINNED}  # type: ignore[arg-type]
        shape = SaliencyState("standard", _weighted(saliency, weights)).scores()
        return found | dict(zip(SaliencyScores._fields, map(float, shape), strict=True))


def _stacked(parts: list[Sums]) -> Sums:
    return {name: torch.stack([part[name] for part in parts]).double() for name in parts[0]}


def _weighted(sums: Sums, weights: Tensor) -> Sums:
    """Return the sums over images that count several times, or not at all."""
    return {name: torch.tensordot(weights, values, 1) for name, values in sums.items()}


def _interval(name: str, drawn: list[dict[str, float]], level: float) -> tuple[float, float]:
    values = torch.tensor([found.get(name, math.nan) for found in drawn], dtype=torch.float64)
    values = values[~values.isnan()]
    if not len(values):
        return math.nan, math.nan
    low, high = values.quantile(torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64))
    return float(low), float(high)
