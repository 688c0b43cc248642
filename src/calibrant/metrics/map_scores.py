"""Calibration and saliency of binary maps together, with confidence intervals over the images."""

import torch
from torch import Tensor

from calibrant.metrics.over_images import OverImages, weighted
from calibrant.metrics.rows import checked
from calibrant.metrics.saliency import SaliencyState, scores_of_sums
from calibrant.metrics.state import Sums

#: Published for dense binary maps; of the bins over [0, 1] the upper half is ever filled.
BINS = 10
_SHAPE = "saliency/"


class MapScores(OverImages):
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
        super().__init__(2, n_bins)

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
        shape = SaliencyState()
        shape.update(probability.cpu(), truth.cpu())
        own = {_SHAPE + name: value for name, value in shape.sums.items()}
        self._note(checked(values, target, inputs="probs"), own)

    def _special(self, images: Sums, weights: Tensor) -> dict[str, Tensor]:
        shapes = {name.removeprefix(_SHAPE): v for name, v in images.items() if name.startswith(_SHAPE)}
        return scores_of_sums(weighted(shapes, weights), "standard")._asdict()
