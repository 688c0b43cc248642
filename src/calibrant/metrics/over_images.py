"""Metrics of maps, with intervals from images that are drawn again.

The pixels of an image depend on one another, so that intervals which count them as independent would be far too
narrow. What is kept of an image is a few sums.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor

from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.evaluation import Estimate, Reliability, evaluate_state
from calibrant.metrics.rows import Rows
from calibrant.metrics.state import State, Sums

#: What the calibration metrics are read from, for each image.
PARTS = frozenset({"top", "class", "labels", "hits", "nll", "brier"})
#: And over all images together, where quantiles of the confidence are wanted too.
_POOLED = frozenset({"class_squares", "samples"})
_BINNED = ("ece", "oe", "ue", "mce", "rmsce", "classwise_ece", "nll", "brier")
RESAMPLES = 400


class OverImages(ABC):
    """The metrics of `evaluate` with all pixels pooled, and those of a subclass; see the module for intervals.

    Metrics that need quantiles or orders of all pixels (aece, ks, smooth_ece, auroc, aurc) have no interval.

    Args:
        num_classes: C.
        n_bins: number of equal-width bins over [0, 1].
        parts: what is kept of each image.
    """

    def __init__(self, num_classes: int, n_bins: int, parts: frozenset[str] = PARTS) -> None:
        self.n_bins = n_bins
        self._pooled = State(parts | _POOLED, num_classes, n_bins)
        self._images: list[Sums] = []

    def __len__(self) -> int:
        return len(self._images)

    def _note(self, rows: Rows, own: Sums) -> None:
        """Add the pixels of an image, and keep its sums with those of the subclass."""
        sums = {name: value for name, value in self._pooled.add(rows).items() if name != "class_residual_sq"}
        self._images.append({name: value.cpu() for name, value in (sums | own).items()})

    @abstractmethod
    def _special(self, images: Sums, weights: Tensor) -> dict[str, float]:
        """Return the metrics of the subclass.

        Args:
            images: what is kept of each image, stacked along the first axis.
            weights: (N,) how many times each image counts.
        """

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
        images = {name: torch.stack([part[name] for part in self._images]).double() for name in self._images[0]}
        found |= self._measured(images, torch.ones(len(self), dtype=torch.float64))
        if not intervals:
            return {name: Estimate(value, math.nan, math.nan) for name, value in found.items()}
        drawn = [self._measured(images, row) for row in self._drawn(seed)]
        return {name: Estimate(value, *_interval(name, drawn, level)) for name, value in found.items()}

    def _drawn(self, seed: int) -> Tensor:
        """Return (RESAMPLES, N) how often each image comes when as many are drawn again."""
        generator = Generator().manual_seed(seed)
        places = torch.randint(len(self), (RESAMPLES, len(self)), generator=generator)
        return torch.stack([row.bincount(minlength=len(self)) for row in places]).double()

    @property
    def pooled(self) -> State:
        """The state of all pixels together."""
        return self._pooled

    def gap(self, *, level: float = 0.95, seed: int = 0) -> Estimate:
        """Return mean confidence less accuracy over all pixels; its interval comes from images drawn again.

        Raises:
            InputError: no image was added.
        """
        value = float(self._pooled.bins().gap.sum())
        weights = self._drawn(seed)
        apart = [(part["top_confidence"] - part["top_correct"]).sum() for part in self._images]
        totals = torch.stack([part["total"] for part in self._images]).double()
        drawn = (weights @ torch.stack(apart).double()) / (weights @ totals)
        low, high = drawn.nanquantile(_ends(level))
        return Estimate(value, float(low), float(high))

    def reliability(self, *, level: float = 0.95, seed: int = 0) -> Reliability:
        """Return confidence and accuracy by equal-width bin, all pixels pooled.

        Args:
            level: probability that the interval of an accuracy covers the truth.
            seed: of the images that are drawn again for it.

        Raises:
            InputError: no image was added.
        """
        bins = self._pooled.bins()
        weights = self._drawn(seed)
        count, correct = (
            weights @ torch.stack([part[f"top_{name}"] for part in self._images]).double()
            for name in ("count", "correct")
        )
        low, high = (correct / count).nanquantile(_ends(level), dim=0)
        edges, counted, confidence, accuracy = (
            x.cpu() for x in (bins.edges, bins.count.double(), bins.mean_confidence, bins.accuracy)
        )
        return Reliability(edges, counted, confidence, accuracy, low, high)

    def _measured(self, images: Sums, weights: Tensor) -> dict[str, float]:
        kept = {name: images[name] for name in self._pooled.sums if name in images}
        state = State.over(self._pooled.spec, weighted(kept, weights), {})
        if not state.sums["total"]:
            # All that was drawn again is ignored.
            return {}
        found = {"accuracy": float(state.sums["top_correct"].sum() / state.sums["total"])}
        found |= {name: float(DEFINITIONS[name].view(state)) for name in _BINNED}  # type: ignore[arg-type]
        return found | self._special(images, weights)


def weighted(sums: Sums, weights: Tensor) -> Sums:
    """Return the sums over images that count several times, or not at all."""
    return {name: torch.tensordot(weights, values, 1) for name, values in sums.items()}


def _interval(name: str, drawn: list[dict[str, float]], level: float) -> tuple[float, float]:
    values = torch.tensor([found.get(name, math.nan) for found in drawn], dtype=torch.float64)
    values = values[~values.isnan()]
    if not len(values):
        return math.nan, math.nan
    low, high = values.quantile(_ends(level))
    return float(low), float(high)


def _ends(level: float) -> Tensor:
    return torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
