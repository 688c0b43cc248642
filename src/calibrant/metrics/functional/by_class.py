"""Calibration errors that look at the probabilities of every class."""

from typing import Unpack

from torch import Tensor

from calibrant.metrics.averages import measured
from calibrant.metrics.definitions import Absent
from calibrant.metrics.functional.arguments import Binned
from calibrant.metrics.rows import Inputs


def classwise_ece(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    absent: Absent = "count",
    **settings: Unpack[Binned],
) -> Tensor:
    r"""Class-wise ECE, or static calibration error (SCE): the ECE of each class's probability, averaged.

    $$\frac1C \sum_k \sum_b \frac{n_{bk}}{N} |p_{bk} - f_{bk}|$$

    with $p_{bk}$ the mean probability of class k in its bin b and $f_{bk}$ the share of label k there.

    Args:
        values: as in `functional`.
        target: as in `functional`.
        inputs: as in `functional`.
        absent: "count" averages over all C classes, "skip" over those that occur among the labels.
        **settings: `n_bins`, `convention`, `ignore_index`, `average`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> classwise_ece(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.3000, dtype=torch.float64)

    Kull et al.: "Beyond temperature scaling: Dirichlet calibration", NeurIPS 2019; Nixon, Dusenberry, Zhang,
    Jerfel, Tran: "Measuring Calibration in Deep Learning", CVPR workshop 2019.
    """
    value: Tensor = measured("classwise_ece", values, target, inputs=inputs, absent=absent, **settings)
    return value


def ace(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    absent: Absent = "count",
    **settings: Unpack[Binned],
) -> Tensor:
    r"""Adaptive calibration error: the mean gap over R equal-mass ranges of each class's probability.

    $$\frac{1}{C R} \sum_k \sum_r |p_{rk} - f_{rk}|$$

    Ranges that ties leave empty are not counted.

    Args:
        values: as in `functional`.
        target: as in `functional`.
        inputs: as in `functional`.
        absent: "count" averages over all C classes, "skip" over those that occur among the labels.
        **settings: `n_bins` (R), `convention`, `ignore_index`, `average`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> ace(probs, torch.tensor([0, 1, 1, 0]), inputs="probs", n_bins=2)
        tensor(0.3000, dtype=torch.float64)

    Nixon, Dusenberry, Zhang, Jerfel, Tran: "Measuring Calibration in Deep Learning", CVPR workshop 2019.
    """
    value: Tensor = measured("ace", values, target, inputs=inputs, absent=absent, **settings)
    return value


def tace(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    threshold: float = 0.01,
    absent: Absent = "count",
    **settings: Unpack[Binned],
) -> Tensor:
    r"""Thresholded adaptive calibration error: `ace` of the probabilities above a threshold alone.

    A class without a probability above it is left out of the mean.

    Args:
        values: as in `functional`.
        target: as in `functional`.
        inputs: as in `functional`.
        threshold: probabilities up to this do not count; published 0.01.
        absent: "count" averages over all C classes, "skip" over those that occur among the labels.
        **settings: `n_bins`, `convention`, `ignore_index`, `average`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> tace(probs, torch.tensor([0, 1, 1, 0]), inputs="probs", threshold=0.5, n_bins=1)
        tensor(0.1333, dtype=torch.float64)

    Nixon, Dusenberry, Zhang, Jerfel, Tran: "Measuring Calibration in Deep Learning", CVPR workshop 2019.
    """
    value: Tensor = measured(
        "tace", values, target, inputs=inputs, threshold=threshold, absent=absent, **settings
    )
    return value
