"""Calibration errors over bins of the confidence."""

from typing import Literal, Unpack

from torch import Tensor

from calibrant.metrics.averages import measured
from calibrant.metrics.functional.arguments import TopBinned
from calibrant.metrics.rows import Inputs


def ece(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Expected calibration error: the gap between confidence and accuracy, over equal-width bins.

    $$\sum_b \frac{n_b}{N} |c_b - a_b|$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> ece(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.3000, dtype=torch.float64)

    Naeini, Cooper, Hauskrecht: "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015;
    Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", ICML 2017.
    """
    value: Tensor = measured("ece", values, target, inputs=inputs, **settings)
    return value


def rmsce(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Root-mean-square calibration error over equal-width bins; also called L2 error.

    $$\sqrt{\sum_b \frac{n_b}{N} (c_b - a_b)^2}$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> rmsce(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.3536, dtype=torch.float64)

    Hendrycks, Mazeika, Dietterich: "Deep Anomaly Detection with Outlier Exposure", ICLR 2019.
    """
    value: Tensor = measured("rmsce", values, target, inputs=inputs, **settings)
    return value


def mce(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Maximum calibration error: the largest gap of a bin that holds any row.

    $$\max_b |c_b - a_b|$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> mce(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.6000, dtype=torch.float64)

    Naeini, Cooper, Hauskrecht: "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015.
    """
    value: Tensor = measured("mce", values, target, inputs=inputs, **settings)
    return value


def average_ce(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Plain mean of the gaps of the bins that hold any row; "ACE" in netcal and in code derived from it.

    $$\frac{1}{\#\{b: n_b > 0\}} \sum_b |c_b - a_b|$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> average_ce(probs, torch.tensor([0, 1, 1, 0]), inputs="probs", n_bins=5)
        tensor(0.1500, dtype=torch.float64)

    Neumann, Zisserman, Vedaldi: "Relaxed Softmax", NeurIPS workshop 2018.
    """
    value: Tensor = measured("average_ce", values, target, inputs=inputs, **settings)
    return value


def oe(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Overconfidence error: the gap where confidence exceeds accuracy, weighted by the confidence.

    $$\sum_b \frac{n_b}{N} c_b \max(c_b - a_b, 0)$$

    `overconfidence` is the same without the weight.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> oe(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.0900, dtype=torch.float64)

    Thulasidasan et al.: "On Mixup Training: Improved Calibration and Predictive Uncertainty", NeurIPS 2019.
    """
    value: Tensor = measured("oe", values, target, inputs=inputs, **settings)
    return value


def ue(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Underconfidence error: the gap where accuracy exceeds confidence, weighted by the confidence.

    $$\sum_b \frac{n_b}{N} c_b \max(a_b - c_b, 0)$$

    `underconfidence` is the same without the weight.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> ue(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.1150, dtype=torch.float64)
    """
    value: Tensor = measured("ue", values, target, inputs=inputs, **settings)
    return value


def overconfidence(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Part of ECE from the bins in which confidence exceeds accuracy.

    $$\sum_b \frac{n_b}{N} \max(c_b - a_b, 0), \qquad \text{overconfidence} + \text{underconfidence} =
    \text{ECE}$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> overconfidence(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.1500, dtype=torch.float64)
    """
    value: Tensor = measured("overconfidence", values, target, inputs=inputs, **settings)
    return value


def underconfidence(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Part of ECE from the bins in which accuracy exceeds confidence.

    $$\sum_b \frac{n_b}{N} \max(a_b - c_b, 0), \qquad \text{overconfidence} + \text{underconfidence} =
    \text{ECE}$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> underconfidence(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        tensor(0.1500, dtype=torch.float64)
    """
    value: Tensor = measured("underconfidence", values, target, inputs=inputs, **settings)
    return value


def signed_ce(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Mean confidence less accuracy; positive for a network that is overconfident on the whole. Not an error.

    $$\sum_b \frac{n_b}{N} (c_b - a_b)$$

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> signed_ce(probs, torch.tensor([0, 1, 1, 1]), inputs="probs")
        tensor(0.2500, dtype=torch.float64)
    """
    value: Tensor = measured("signed_ce", values, target, inputs=inputs, **settings)
    return value


def debiased_ece(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    correction: Literal["accuracy", "confidence"] = "accuracy",
    root: bool = True,
    **settings: Unpack[TopBinned],
) -> Tensor:
    r"""Debiased calibration error: the L2 error less what the noise of the bins' accuracies adds to it.

    $$\sqrt{\max\Big(0, \sum_b \frac{n_b}{N} \Big[(c_b - a_b)^2 - \frac{a_b (1 - a_b)}{n_b - 1}\Big]\Big)}$$

    The accuracy of a small bin is off from its true value even where the network is calibrated, which a plain
    error counts as miscalibration. A bin with one row shows no variance and is left out.

    Args:
        values: as in `functional`.
        target: as in `functional`.
        inputs: as in `functional`.
        correction: "accuracy" as published; "confidence" puts c_b in its place in the variance.
        root: False returns the square, which may be negative.
        **settings: `n_bins`, `convention`, `ignore_index`, `task`, `average`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1]]).repeat(10, 1)
        >>> debiased_ece(probs, torch.tensor([1, 1, 1, 1, 1, 0, 0, 0, 0, 0]), inputs="probs")
        tensor(0.3636, dtype=torch.float64)

    Kumar, Liang, Ma: "Verified Uncertainty Calibration", NeurIPS 2019.
    """
    value: Tensor = measured(
        "debiased_ece", values, target, inputs=inputs, correction=correction, root=root, **settings
    )
    return value


def aece(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Adaptive ECE: the gap between confidence and accuracy, over bins of equal mass.

    $$\sum_b \frac{n_b}{N} |c_b - a_b|$$

    Bin b ends at the confidence of rank $\lceil b N / B \rceil$ in ascending order. Equal confidences are never
    split, so the order of the rows cannot matter. Beyond 65,536 rows the streaming classes read it from a fine
    histogram; `equal_mass.aece_error_bound` says how far that can be off.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `n_bins`, `convention`, `task`, `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> aece(probs, torch.tensor([0, 1, 1, 0]), inputs="probs", n_bins=2)
        tensor(0.1500, dtype=torch.float64)

    Nguyen, O'Connor: "Posterior calibration and exploratory analysis for natural language processing models",
    EMNLP 2015; Mukhoti et al.: "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020.
    """
    value: Tensor = measured("aece", values, target, inputs=inputs, **settings)
    return value
