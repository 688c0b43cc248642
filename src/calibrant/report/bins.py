"""The bins of a reliability diagram, pooled over the seeds of a method."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrant.metrics import Reliability
from calibrant.metrics.intervals import wilson

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bins:
    """What a reliability diagram shows.

    Attributes:
        edges: (B + 1,) edges of the bins.
        share: (B,) share of the samples that fall into each, sums to 1.
        confidence: (B,) mean confidence; nan where a bin is empty.
        accuracy: (B,) share of right predictions; nan where a bin is empty.
        low: (B,) lower end of the 95 % interval of the accuracy.
        high: (B,) upper end.
        samples: number of samples of one seed.
        seeds: number of seeds pooled.
    """

    edges: Array
    share: Array
    confidence: Array
    accuracy: Array
    low: Array
    high: Array
    samples: int
    seeds: int

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which bins hold a sample."""
        return self.share > 0

    @property
    def mean_confidence(self) -> float:
        """Mean confidence of all samples."""
        return float(np.nansum(self.share * self.confidence))

    @property
    def mean_accuracy(self) -> float:
        """Accuracy over all samples."""
        return float(np.nansum(self.share * self.accuracy))


def pool(runs: Sequence[Reliability], *, maps: bool = False) -> Bins:
    """Pool the reliability of several seeds on the same test samples.

    Counts and sums add up. The seeds share their samples and are far from independent, so the interval of a
    bin is Wilson's for the pooled accuracy and the mean number of samples that one seed has there.

    Args:
        runs: one a seed.
        maps: whether the samples are pixels, which are not independent either: the ends of the intervals are
            then the means of those of the seeds.

    Example:
        >>> import torch
        >>> from calibrant.metrics import reliability
        >>> logits, target = torch.tensor([[4.0, 0.0], [0.0, 0.1]]), torch.tensor([0, 0])
        >>> seed = reliability(logits, target, inputs="logits", n_bins=2)
        >>> bins = pool([seed, seed])
        >>> bins.share, bins.accuracy, bins.seeds
        (array([0., 1.]), array([nan, 0.5]), 2)
    """
    counts = torch.stack([run.count.double() for run in runs])
    total = counts.sum(0)
    confidence = _mean([run.confidence for run in runs], counts)
    accuracy = _mean([run.accuracy for run in runs], counts)
    if maps:
        low, high = (torch.stack([getattr(run, end) for run in runs]).nanmean(0) for end in ("low", "high"))
    else:
        low, high = wilson(accuracy * total / len(runs), total / len(runs))
    return Bins(
        edges=runs[0].edges.numpy(),
        share=(total / total.sum()).numpy(),
        confidence=confidence.numpy(),
        accuracy=accuracy.numpy(),
        low=low.numpy(),
        high=high.numpy(),
        samples=round(float(total.sum()) / len(runs)),
        seeds=len(runs),
    )


def _mean(means: Sequence[Tensor], counts: Tensor) -> Tensor:
    """Return the mean over the seeds of the means of each bin, by the counts; nan where all are empty."""
    return (torch.stack(list(means)).nan_to_num() * counts).sum(0) / counts.sum(0)
