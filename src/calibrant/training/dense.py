"""Dense binary maps: how they are watched in training, and judged in the sizes of their files."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from calibrant.data import PairSet
from calibrant.data.map_transforms import saliency_map_from_logits
from calibrant.metrics.map_scores import MapScores
from calibrant.metrics.over_images import OverImages
from calibrant.posthoc import Calibrator
from calibrant.training.maps import MapModule, drawn


class DenseModule(MapModule):
    """A network that gives one logit a pixel; half and more of a grey label is object."""

    def labels_of(self, target: Tensor) -> Tensor:
        """Return (N, H, W) labels of (N, 1, H, W) maps."""
        return (target >= 0.5).long().squeeze(1)

    def new_scores(self) -> MapScores:
        """Return scores of binary maps."""
        return MapScores()

    def measure(
        self, scores: OverImages, images: PairSet, position: int, logits: Tensor, calibrator: Calibrator | None
    ) -> Tensor:
        """Add a map, calibrated, then resized to its label and never stretched; return its probabilities."""
        assert isinstance(scores, MapScores)
        label = images.label(position)
        size = (label.shape[0], label.shape[1])
        shown: Tensor = saliency_map_from_logits(mended(logits.cpu()[None], calibrator), size)[0, 0]
        scores.add(shown, label)
        return shown

    def picture(self, said: Tensor) -> Image.Image:
        """Return probabilities in 256 levels."""
        return Image.fromarray(np.asarray((said * 255).round().to(torch.uint8).numpy()))

    def judged(self, said: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probability of the likelier side of each pixel, and whether that is right."""
        return torch.maximum(said, 1 - said), (said > 0.5) == (label >= 128)

    def pixels(self, images: PairSet, position: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and labels in the size of the network's input; that of the background is 0."""
        target = images[position]["target"]
        at = drawn(target.numel(), position)
        chosen = logits.cpu().flatten()[at]
        return torch.stack([torch.zeros_like(chosen), chosen], 1), (target.flatten()[at] >= 0.5).long()


def mended(logits: Tensor, calibrator: Calibrator | None) -> Tensor:
    """Return (N, 1, *) logits of binary maps, calibrated as those of two classes; None changes nothing."""
    if calibrator is None:
        return logits
    with torch.no_grad():
        both: Tensor = calibrator(torch.cat([torch.zeros_like(logits), logits], 1))
    return both[:, 1:] - both[:, :1]
