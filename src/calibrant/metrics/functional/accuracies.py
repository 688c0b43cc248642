"""How often predictions are right: in all, by class, by group of classes, on maps."""

from collections.abc import Iterable
from typing import Unpack

from torch import Tensor

from calibrant.metrics.averages import measured
from calibrant.metrics.definitions import GroupAccuracy, Groups
from calibrant.metrics.functional.arguments import Averaged
from calibrant.metrics.rows import Inputs
from calibrant.metrics.segmentation import Missing, SegmentationScores


def accuracy(
    values: Tensor, target: Tensor, *, inputs: Inputs, k: int = 1, **settings: Unpack[Averaged]
) -> Tensor:
    """Share of the rows whose label is among the k largest; among equals the smaller index comes first.

    Args:
        values: as in `functional`.
        target: as in `functional`.
        inputs: as in `functional`.
        k: how many; from C on the answer is 1.
        **settings: `ignore_index`, `average`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.4, 0.4, 0.2]])
        >>> [float(accuracy(probs, torch.tensor([1]), inputs="probs", k=k)) for k in (1, 2)]
        [0.0, 1.0]
    """
    value: Tensor = measured("accuracy", values, target, inputs=inputs, k=k, **settings)
    return value


def macro_accuracy(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[Averaged]) -> Tensor:
    """Mean over the classes that occur among the labels of the accuracy within each; balanced accuracy.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.7, 0.3]])
        >>> macro_accuracy(probs, torch.tensor([0, 0, 0, 1]), inputs="probs")
        tensor(0.5000, dtype=torch.float64)
    """
    value: Tensor = measured("macro_accuracy", values, target, inputs=inputs, **settings)
    return value


def group_accuracy(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    class_counts: Iterable[int] | None = None,
    groups: Groups = "counts",
    ignore_index: int | Iterable[int] | None = None,
) -> GroupAccuracy:
    """Many-, medium- and few-shot accuracy: the mean of the accuracies within the classes of each group.

    Args:
        values: as in `functional`.
        target: as in `functional`.
        inputs: as in `functional`.
        class_counts: (C,) number of training samples of each class.
        groups: "counts" for more than 100, 20 to 100, and fewer than 20 training samples; "mislas" for the
            fixed ranges of its published code, over the classes sorted by `class_counts` or as they come; or
            three lists of classes.
        ignore_index: as in `functional`.

    Returns:
        `GroupAccuracy(many, medium, few)`; nan for a group without a labelled row.

    Example:
        >>> import torch
        >>> probs = torch.eye(3)
        >>> group_accuracy(probs, torch.tensor([0, 1, 0]), inputs="probs", class_counts=[500, 50, 5])
        GroupAccuracy(many=tensor(0.5000, dtype=torch.float64), medium=tensor(1., dtype=torch.float64), few=tensor(nan, dtype=torch.float64))

    Liu et al.: "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019 (the thresholds).
    """  # noqa: E501
    value: GroupAccuracy = measured(
        "group_accuracy",
        values,
        target,
        inputs=inputs,
        class_counts=class_counts,
        groups=groups,
        ignore_index=ignore_index,
    )
    return value


def segmentation(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    include_background: bool,
    missing: Missing = "skip",
    ignore_index: int | Iterable[int] | None = None,
) -> SegmentationScores:
    """Scores of segmentation maps, pooled over images: mean IoU, Dice and class accuracy, pixel accuracy.

    Args:
        values: as in `functional`.
        target: as in `functional`.
        inputs: as in `functional`.
        include_background: whether class 0 takes part in the means; benchmarks differ, so it must be said.
        missing: "skip" leaves a class that occurs neither in a label nor in a prediction out of the means;
            "zero" counts it as 0.
        ignore_index: as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[[0.9, 0.2], [0.6, 0.3]]]).transpose(1, 2)
        >>> probs = torch.stack([probs, 1 - probs], 1).squeeze(2)
        >>> target = torch.tensor([[[0, 1], [1, 1]]])
        >>> scores = segmentation(probs, target.transpose(1, 2), inputs="probs", include_background=True)
        >>> round(float(scores.miou), 4)
        0.5833

    For label maps instead of probabilities: `segmentation.segmentation_scores`.
    """
    value: SegmentationScores = measured(
        "segmentation",
        values,
        target,
        inputs=inputs,
        include_background=include_background,
        missing=missing,
        ignore_index=ignore_index,
    )
    return value
