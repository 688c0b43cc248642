"""Scores of segmentation maps: intersection over union, Dice, accuracy by class."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.labels import check_labels, counted


class SegmentationScores(NamedTuple):
    """Scores of label maps, float64.

    Attributes:
        miou: mean over the classes of the intersection over the union.
        dice: mean over the classes of twice the intersection over the sum of both areas.
        accuracy: mean over the classes of the share of labelled pixels that were found.
        pixel_accuracy: share of all pixels that are right, background included.
        class_iou: (C,) intersection over union of each class; nan where it occurs in neither map.
    """

    miou: Tensor
    dice: Tensor
    accuracy: Tensor
    pixel_accuracy: Tensor
    class_iou: Tensor


Missing = Literal["skip", "zero"]


def scores_of_areas(
    intersection: Tensor,
    predicted: Tensor,
    labelled: Tensor,
    include_background: bool,
    missing: Missing = "skip",
) -> SegmentationScores:
    """Return the scores from the pixels of each class, (*, C) each: right, predicted and labelled.

    Args:
        intersection: pixels that are predicted and labelled as the class.
        predicted: pixels predicted as the class.
        labelled: pixels labelled as the class.
        include_background: whether class 0 takes part in the means; benchmarks differ.
        missing: "skip" leaves a class that occurs in neither map out of the means; "zero" counts it as 0.
    """
    check_choice("missing", missing, ("skip", "zero"))
    union = predicted + labelled - intersection

    def mean(numerator: Tensor, denominator: Tensor) -> Tensor:
        ratio = numerator.double() / denominator
        if missing == "zero":
            ratio = ratio.nan_to_num(nan=0.0)
        return (ratio if include_background else ratio[..., 1:]).nanmean(-1)

    return SegmentationScores(
        miou=mean(intersection, union),
        dice=mean(2 * intersection, predicted + labelled),
        accuracy=mean(intersection, labelled),
        pixel_accuracy=intersection.sum(-1).double() / labelled.sum(-1),
        class_iou=intersection.double() / union,
    )


def segmentation_scores(
    predicted: Tensor,
    target: Tensor,
    *,
    num_classes: int,
    include_background: bool,
    ignore_index: int | Iterable[int] | None = None,
    missing: Missing = "skip",
) -> SegmentationScores:
    """Scores of predicted label maps, the pixels of all images pooled.

    Args:
        predicted: integer class of each pixel, any shape.
        target: integer labels, same shape.
        num_classes: C.
        include_background: whether class 0 takes part in the means; benchmarks differ, so it must be said.
        ignore_index: label, or labels, whose pixels count nowhere.
        missing: "skip" leaves a class that occurs in neither map out of the means; "zero" counts it as 0.

    Raises:
        InputError: for maps of different shapes, classes outside [0, C), and when no pixel counts.

    Example:
        >>> predicted, target = torch.tensor([[0, 1], [1, 1]]), torch.tensor([[0, 1], [0, 255]])
        >>> scores = segmentation_scores(
        ...     predicted, target, num_classes=2, include_background=True, ignore_index=255)
        >>> float(scores.miou), round(float(scores.dice), 4)
        (0.5, 0.6667)
    """
    areas = map_areas(predicted, target, num_classes=num_classes, ignore_index=ignore_index)
    return scores_of_areas(*areas, include_background, missing)


def map_areas(
    predicted: Tensor, target: Tensor, *, num_classes: int, ignore_index: int | Iterable[int] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the (C,) int64 pixels of each class: right, predicted, labelled; these add up over batches."""
    if predicted.shape != target.shape or predicted.is_floating_point() or target.is_floating_point():
        raise InputError(
            f"predicted and target must be integer maps of one shape, not {predicted.dtype} of shape "
            f"{tuple(predicted.shape)} and {target.dtype} of shape {tuple(target.shape)}."
        )
    target = target.long()
    valid = counted(target, ignore_index)
    check_labels(target, valid, num_classes)
    check_labels(predicted.long(), valid, num_classes)
    if valid is not None:
        predicted, target = predicted[valid], target[valid]
    predicted, target = predicted.reshape(-1).long(), target.reshape(-1)
    if not len(target):
        raise InputError("There are no samples: nothing was given, or every label is ignored.")
    right, found, labelled = (
        torch.bincount(x, minlength=num_classes) for x in (target[predicted == target], predicted, target)
    )
    return right, found, labelled
