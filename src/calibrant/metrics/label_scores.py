"""Calibration and overlap of label maps together, with confidence intervals over the images."""

from torch import Tensor

from calibrant.labels import counted
from calibrant.metrics.over_images import PARTS, OverImages
from calibrant.metrics.rows import checked
from calibrant.metrics.segmentation import scores_of_areas
from calibrant.metrics.state import Spec, Sums

BINS = 15
_FOREGROUND = "foreground/"


class LabelScores(OverImages):
    """The metrics of label maps: those of `evaluate` with all pixels pooled, overlap, and means over images.

    `miou` is the mean over the classes of intersection over union. `ece_image` is the mean of the ECE of each
    image, which published tables give: of images with as many pixels it is never below the pooled `ece`, in
    which the gaps of opposite sign of different images cancel. With a background, `miou_foreground` leaves
    class 0 out of the mean, and `ece_foreground` is the mean over images, weighted by their pixels, of the ECE
    of the pixels that are not labelled 0.

    The intervals come from images that are drawn again (a percentile bootstrap), as the pixels of an image
    depend on one another. Metrics that need quantiles or orders of all pixels (aece, ks, smooth_ece, auroc,
    aurc) have none.

    Args:
        num_classes: C.
        background: whether class 0 is the background.
        ignore_index: the label of pixels that count nowhere.
        n_bins: number of equal-width bins over [0, 1].

    Example:
        >>> import torch
        >>> scores = LabelScores(2, background=True)
        >>> logits = torch.tensor([[[2.0, 0.0, 0.0]], [[0.0, 0.0, 3.0]]])
        >>> scores.add(logits, torch.tensor([[0, 255, 1]]))
        >>> found = scores.estimates(intervals=False)
        >>> found["accuracy"].value, found["miou"].value, round(found["ece_foreground"].value, 4)
        (1.0, 1.0, 0.0474)

    The means over images are those of Liu et al., "Class Adaptive Network Calibration", CVPR 2023
    (`ece_image`), and, with batches of one image, "The Devil is in the Margin", CVPR 2022 (`ece_foreground`).
    """

    def __init__(
        self, num_classes: int, *, background: bool = False, ignore_index: int = 255, n_bins: int = BINS
    ) -> None:
        super().__init__(num_classes, n_bins, PARTS | {"predictions"})
        self.background, self.ignore_index = background, ignore_index
        self._top = Spec(frozenset({"top"}), num_classes, n_bins)

    def add(self, logits: Tensor, label: Tensor) -> None:
        """Add an image.

        Args:
            logits: (C, H, W).
            label: (H, W) integer labels.

        Raises:
            InputError: shapes that do not fit, or a label outside [0, C) that is not ignored.
        """
        label = label.to(logits.device).long()
        rows = checked(logits[None], label[None], inputs="logits", ignore_index=self.ignore_index)
        own: Sums = {}
        if self.background:
            thing = counted(label, (0, self.ignore_index))
            assert thing is not None
            found = self._top.zeros()
            if thing.any():
                things = checked(logits[:, thing][None], label[thing][None], inputs="logits")
                found |= self._top.measure(things)[0]
            own = {_FOREGROUND + name: found[name] for name in ("total", "top_confidence", "top_correct")}
        self._note(rows, own)

    def _special(self, images: Sums, weights: Tensor) -> dict[str, Tensor]:
        areas = (weights @ images[name] for name in ("label_correct", "predicted_count", "label_count"))
        right, predicted, labelled = areas
        found = {"miou": scores_of_areas(right, predicted, labelled, include_background=True).miou}
        total, gap = _gaps(images, "")
        counted = weights * (total > 0)
        found["ece_image"] = counted @ (gap / total.clamp(min=1)) / counted.sum(1)
        if self.background:
            overlap = scores_of_areas(right, predicted, labelled, include_background=False)
            total, gap = _gaps(images, _FOREGROUND)
            found["miou_foreground"] = overlap.miou
            found["ece_foreground"] = weights @ gap / (weights @ total)
        return found


def _gaps(images: Sums, prefix: str) -> tuple[Tensor, Tensor]:
    """Return (N,) the pixels of each image, and its ECE times their number."""
    apart = images[f"{prefix}top_confidence"] - images[f"{prefix}top_correct"]
    return images[f"{prefix}total"], apart.abs().sum(1)
