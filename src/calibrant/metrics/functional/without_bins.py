"""Calibration errors without bins, and how well confidences tell right from wrong."""

from typing import Unpack

from torch import Tensor

from calibrant.metrics.averages import measured
from calibrant.metrics.functional.arguments import TopLabel
from calibrant.metrics.rows import Inputs


def ks(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopLabel]) -> Tensor:
    r"""Kolmogorov-Smirnov calibration error: the largest cumulative gap, without bins.

    $$\max_c \frac1N \Big| \sum_{i: c_i \le c} (c_i - r_i) \Big|$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> ks(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.1500, dtype=torch.float64)

    Gupta et al.: "Calibration of Neural Networks using Splines", ICLR 2021.
    """
    value: Tensor = measured("ks", values, target, inputs=inputs, **settings)
    return value


def smooth_ece(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopLabel]) -> Tensor:
    r"""Smooth ECE: the gap smoothed by a kernel whose width the error itself chooses; see `smooth.smooth_ece`.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.8, 0.2]]).repeat(10, 1)
        >>> smooth_ece(probs, torch.zeros(10, dtype=torch.long), inputs="probs")
        tensor(0.2000, dtype=torch.float64)

    Błasiok, Nakkiran: "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing", ICLR 2024.
    """
    value: Tensor = measured("smooth_ece", values, target, inputs=inputs, **settings)
    return value


def auroc(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopLabel]) -> Tensor:
    r"""Area under the ROC curve of the confidence as a score of being right; nan when all are right, or wrong.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> auroc(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(1., dtype=torch.float64)
    """
    value: Tensor = measured("auroc", values, target, inputs=inputs, **settings)
    return value


def aurc(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopLabel]) -> Tensor:
    r"""Area under the risk-coverage curve: the error rate among the most confident, averaged over how many.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> aurc(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.0625, dtype=torch.float64)

    Geifman, Uziel, El-Yaniv: "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
    """
    value: Tensor = measured("aurc", values, target, inputs=inputs, **settings)
    return value


def excess_aurc(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopLabel]) -> Tensor:
    r"""AURC above that of a perfect order of the same predictions, in which every error comes last.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> excess_aurc(probs, torch.tensor([0, 1, 1, 0]), inputs="probs").abs() < 1e-9
        tensor(True)

    Geifman, Uziel, El-Yaniv: "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
    """
    value: Tensor = measured("excess_aurc", values, target, inputs=inputs, **settings)
    return value
