"""Metrics of maps, with intervals from images that are drawn again.

The pixels of an image depend on one another, so that intervals which count them as independent would be far too
narrow. What is kept of an image is a few sums.
"""

import math
from abc import ABC, abstractmethod

import torch
from torch import Generator, Tensor

from calibrant.errors import InputError
from calibrant.metrics import views
from calibrant.metrics.binning import bin_edges
from calibrant.metrics.evaluation import Estimate, Reliability, evaluate_state
from calibrant.metrics.rows import Rows
from calibrant.metrics.state import State, Sums

#: What the calibration metrics are read from, for each image.
PARTS = frozenset({"top", "class", "labels", "hits", "nll", "brier"})
#: And over all images together, where quantiles of the confidence are wanted too.
_POOLED = frozenset({"class_squares", "samples"})
_OF_BINS = ("ece", "oe", "ue", "mce", "rmsce")
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
    def _special(self, images: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Return the metrics of the subclass, (R,) each.

        Args:
            images: what is kept of each of N images, stacked along the first axis.
            weights: (R, N) how many times each image counts.
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
        once = self._measured(images, torch.ones(1, len(self), dtype=torch.float64))
        found |= {name: float(value) for name, value in once.items()}
        if not intervals:
            return {name: Estimate(value, math.nan, math.nan) for name, value in found.items()}
        drawn = self._measured(images, self._drawn(seed))
        unknown = torch.full((RESAMPLES,), math.nan, dtype=torch.float64)
        ends = {name: drawn.get(name, unknown).nanquantile(_ends(level)).tolist() for name in found}
        return {name: Estimate(value, *ends[name]) for name, value in found.items()}

    def sums(self) -> dict[str, Tensor]:
        """Return what each image adds to the metrics, by name, as `paired_test_of_sums` takes it.

        Raises:
            InputError: no image was added.
        """
        if not self._images:
            raise InputError("There is nothing to compare: no image was added.")
        images = {name: torch.stack([part[name] for part in self._images]).double() for name in self._images[0]}
        return {
            "rows": images["total"],
            "accuracy": images["top_correct"].sum(1),
            "nll": images["nll_sum"],
            "brier": images["brier_sum"],
            "top_count": images["top_count"],
            "top_residual": images["top_confidence"] - images["top_correct"],
            "class_residual": images["class_confidence"] - images["class_correct"],
        }

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

    def _measured(self, images: Sums, weights: Tensor) -> dict[str, Tensor]:
        """Return the metrics, (R,) each, for each of R ways (R, N) in which the images count."""
        sums = weighted({name: images[name] for name in self._pooled.sums if name in images}, weights)
        total = sums["total"]
        top = self._bins("top", sums)
        found = {name: getattr(views, name)(top) for name in _OF_BINS}
        found |= {name: sums[f"{name}_sum"] / total for name in ("nll", "brier")}
        found["classwise_ece"] = views.ece(self._bins("class", sums)).mean(-1)
        found["accuracy"] = sums["top_correct"].sum(-1) / total
        found |= self._special(images, weights)
        # Of images that are ignored altogether nothing is known.
        return {name: value.where(total > 0, math.nan) for name, value in found.items()}

    def _bins(self, part: str, sums: Sums) -> views.Bins:
        """Return the bins of R sums, (R, B) or (R, C, B), of shares in place of counts."""
        total = sums["total"].view(-1, *[1] * (sums[f"{part}_count"].dim() - 1))
        names = ("count", "confidence", "correct")
        count, confidence, correct = (sums[f"{part}_{name}"] / total for name in names)
        edges = bin_edges(self.n_bins, self._pooled.spec.rule)
        return views.Bins(count, confidence, correct, None, 1, edges)


def weighted(sums: Sums, weights: Tensor) -> Sums:
    """Return the sums (R, *) over N images that count as weights (R, N) say, several times or not at all."""
    return {name: torch.tensordot(weights, values, 1) for name, values in sums.items()}


def _ends(level: float) -> Tensor:
    return torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
