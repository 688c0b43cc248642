"""Semantic segmentation: how label maps are watched in training, and judged in the sizes of their files."""

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchmetrics import MetricCollection

from calibrant.data import LabelSet, PairSet
from calibrant.data.label_transforms import IGNORED
from calibrant.errors import InputError
from calibrant.losses import LDAM, Loss
from calibrant.metrics import modules as metrics
from calibrant.metrics.label_scores import LabelScores
from calibrant.metrics.over_images import OverImages
from calibrant.posthoc import Calibrator
from calibrant.training.maps import MapModule, drawn
from calibrant.training.module import WATCHED
from calibrant.training.recipe import Recipe


class SegmentationModule(MapModule):
    """A network that gives C logits a pixel; pixels labelled 255 count nowhere.

    Logged once an epoch, besides what all log: `val_miou`, in the size of the network's input and over the
    classes without the background, where there is one. The best weights are those with the largest.

    Args:
        *args: as of `TrainingModule`.
        background: whether class 0 is the background.
        **settings: as of `TrainingModule`.
    """

    chosen_by = "miou"

    def __init__(self, *args: Any, background: bool = False, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.background = background

    def watched_metrics(self, num_classes: int) -> MetricCollection:
        """Return what is measured once an epoch."""
        common: dict[str, Any] = {"inputs": "logits", "num_classes": num_classes, "ignore_index": IGNORED}
        kinds: dict[str, Any] = {name: metric(**common) for name, metric in WATCHED.items()}
        overlap = metrics.Segmentation(include_background=True, **common)
        return MetricCollection(kinds | {"miou": overlap}, prefix=f"{self.watched}_")

    def watched_values(self) -> dict[str, Tensor]:
        """Return the values of what is measured once an epoch."""
        values = super().watched_values()
        name = f"{self.watched}_miou"
        overlap: Tensor = values[name].class_iou  # type: ignore[attr-defined]
        return values | {name: overlap[int(self.background) :].nanmean()}

    def new_scores(self) -> LabelScores:
        """Return scores of label maps."""
        return LabelScores(len(self._counts), background=self.background, ignore_index=IGNORED)

    def measure(
        self, scores: OverImages, images: PairSet, position: int, logits: Tensor, calibrator: Calibrator | None
    ) -> Tensor:
        """Add a map, resized to its label, then calibrated; return its logits."""
        assert isinstance(scores, LabelScores)
        whole, label = restored(images, position, logits)
        if calibrator is not None:
            with torch.no_grad():
                whole = calibrator.to(whole.device)(whole[None])[0]
        scores.add(whole, label)
        return whole

    def picture(self, said: Tensor) -> Image.Image:
        """Return the classes of logits, with a palette."""
        picture = Image.fromarray(said.max(0).indices.to(torch.uint8).cpu().numpy()).convert("P")
        picture.putpalette(palette())
        return picture

    def judged(self, said: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
        """Return the confidence of each pixel, nan where it is not labelled, and whether it is right."""
        top = said.float().softmax(0).max(0)
        label = label.to(said.device)
        return top.values.masked_fill(label == IGNORED, torch.nan), top.indices == label

    def pixels(self, images: PairSet, position: int, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and labels of pixels that count, in the size of the file."""
        whole, label = restored(images, position, logits)
        counted = (label.flatten() != IGNORED).nonzero().squeeze(1)
        if not len(counted):
            return whole.new_zeros(0, len(whole)).cpu(), label.new_zeros(0, dtype=torch.int64)
        at = counted[drawn(len(counted), position)]
        return whole.cpu().flatten(1)[:, at].T, label.flatten()[at].long()


def restored(images: PairSet, position: int, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logits (C, H, W) of an image in the size of its file, and its labels (H, W)."""
    assert isinstance(images, LabelSet)
    label = images.label(position)
    return images.transforms.restored(logits, (label.shape[0], label.shape[1])), label


def palette() -> list[int]:
    """Return red, green and blue of 256 classes that can be told apart, as PASCAL VOC colours its own.

    The bits of a class's number are dealt to the three colours in turn, the lowest to the strongest bit.

    Example:
        >>> palette()[:12]
        [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    """
    classes = np.arange(256)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        channel, strength = bit % 3, 7 - bit // 3
        colours[:, channel] |= (classes >> bit & 1) << strength
    flat: list[int] = colours.ravel().tolist()
    return flat


def refuse_unfit(recipe: Recipe, loss: Loss) -> None:
    """Raise `InputError` for what is not made for label maps."""
    name = recipe.train.loss.name
    if loss.binary:
        raise InputError(
            f"The loss {name!r} is one for binary maps, and {recipe.data.name!r} holds maps of classes; set "
            "train.loss.name to one for classes, such as 'ce'."
        )
    if loss.needs_index or isinstance(loss, LDAM):
        why = "learns from each image's own class" if loss.needs_index else "scales the cosines of a classifier"
        raise InputError(
            f"The loss {name!r} {why}, and {recipe.data.name!r} holds maps of classes; set train.loss.name to "
            "another, such as 'ce'."
        )
    if recipe.train.mix.name != "none":
        raise InputError(
            f"train.mix.name {recipe.train.mix.name!r} mixes labels of whole images, and {recipe.data.name!r} "
            "holds maps of classes; set it to 'none'."
        )
