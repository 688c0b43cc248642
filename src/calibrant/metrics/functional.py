r"""Metrics as functions of predictions and labels.

All take `values` of shape (N, C, *), logits or probabilities as `inputs` says, and integer labels `target` of
shape (N, *); a binary task may give (N, 1, *). They return float64. A *row* is one prediction, an image or a
pixel. The arguments that many share:

- `inputs`: "logits" or "probs": what the values are; never guessed.
- `n_bins`: B, the number of bins.
- `convention`: the rule of binning; "calibrant", or that of other software (`binning.CONVENTIONS`).
- `ignore_index`: label, or labels, whose rows count nowhere.
- `task`: "top_label", the largest probability against its being right; or "event", the probability of class 1
  of a binary task against its occurring.
- `average`: "pooled" over all rows; "image", the mean of the values of each image; "image_weighted" by their
  rows.

All raise `InputError` for values that are NaN or, as probabilities, outside [0, 1] or not summing to 1, for
unexpected labels, for shapes that do not fit, and when no row counts.

Notation: $c_i$ the largest probability of row i, $r_i$ whether it is right; of bin b $n_b$ rows, mean
confidence $c_b$, share of right ones $a_b$; N rows in all.
"""

from collections.abc import Iterable
from typing import Literal, TypedDict, Unpack

from torch import Tensor

from calibrant.metrics.averages import measured
from calibrant.metrics.definitions import Absent, GroupAccuracy, Groups
from calibrant.metrics.rows import Inputs
from calibrant.metrics.segmentation import Missing, SegmentationScores
from calibrant.metrics.views import BrierDecomposition


class Common(TypedDict, total=False):
    """Arguments that every function takes beside `inputs`; the module says what each is."""

    ignore_index: int | Iterable[int] | None


class Averaged(Common, total=False):
    """Arguments of a function whose value can be averaged over images."""

    average: str


class Binned(Averaged, total=False):
    """Arguments of a function of class-wise bins."""

    n_bins: int
    convention: str


class TopLabel(Averaged, total=False):
    """Arguments of a function of the confidences."""

    task: str


class TopBinned(Binned, total=False):
    """Arguments of a function of the bins of the confidence."""

    task: str


def ece(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopBinned]) -> Tensor:
    r"""Expected calibration error: the gap between confidence and accuracy, over equal-width bins.

    $$\sum_b \frac{n_b}{N} |c_b - a_b|$$

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
        values: as in the module.
        target: as in the module.
        inputs: as in the module.
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
        values: as in the module.
        target: as in the module.
        inputs: as in the module.
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
        values: as in the module.
        target: as in the module.
        inputs: as in the module.
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
        values: as in the module.
        target: as in the module.
        inputs: as in the module.
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


def ks(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[TopLabel]) -> Tensor:
    r"""Kolmogorov-Smirnov calibration error: the largest cumulative gap, without bins.

    $$\max_c \frac1N \Big| \sum_{i: c_i \le c} (c_i - r_i) \Big|$$

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

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> excess_aurc(probs, torch.tensor([0, 1, 1, 0]), inputs="probs").abs() < 1e-9
        tensor(True)

    Geifman, Uziel, El-Yaniv: "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
    """
    value: Tensor = measured("excess_aurc", values, target, inputs=inputs, **settings)
    return value


def nll(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[Averaged]) -> Tensor:
    r"""Negative log-likelihood of the labels, in nats: the mean of $-\log p_y$.

    From logits it never overflows; of probabilities, one that is exactly 0 at a label gives inf: nothing is
    clipped.

    Example:
        >>> import torch
        >>> nll(torch.tensor([[0.5, 0.5]]), torch.tensor([1]), inputs="probs")
        tensor(0.6931, dtype=torch.float64)
    """
    value: Tensor = measured("nll", values, target, inputs=inputs, **settings)
    return value


def brier(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[Averaged]) -> Tensor:
    r"""Brier score: the mean of $\sum_k (p_k - [y = k])^2$, between 0 and 2.

    The sum runs over the classes, with two of them as well; scikit-learn's score of a binary task is half of
    it.

    Example:
        >>> import torch
        >>> brier(torch.tensor([[0.7, 0.3]]), torch.tensor([0]), inputs="probs")
        tensor(0.1800, dtype=torch.float64)

    Brier: "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.
    """
    value: Tensor = measured("brier", values, target, inputs=inputs, **settings)
    return value


def brier_decomposition(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    n_bins: int = 15,
    ignore_index: int | Iterable[int] | None = None,
) -> BrierDecomposition:
    r"""Brier score as reliability - resolution + uncertainty + what the bins hide; the parts sum to it exactly.

    Reliability is the squared class-wise calibration error, resolution how far the outcomes differ between
    bins, uncertainty the score of always predicting the class frequencies; see `views.brier_decomposition`.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> parts = brier_decomposition(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        >>> float(parts.uncertainty)
        0.5

    Murphy: "A New Vector Partition of the Probability Score", Journal of Applied Meteorology 1973; Stephenson,
    Coelho, Jolliffe: "Two Extra Components in the Brier Score Decomposition", Weather and Forecasting 2008.
    """
    value: BrierDecomposition = measured(
        "brier_decomposition", values, target, inputs=inputs, n_bins=n_bins, ignore_index=ignore_index
    )
    return value


def accuracy(
    values: Tensor, target: Tensor, *, inputs: Inputs, k: int = 1, **settings: Unpack[Averaged]
) -> Tensor:
    """Share of the rows whose label is among the k largest; among equals the smaller index comes first.

    Args:
        values: as in the module.
        target: as in the module.
        inputs: as in the module.
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
        values: as in the module.
        target: as in the module.
        inputs: as in the module.
        class_counts: (C,) number of training samples of each class.
        groups: "counts" for more than 100, 20 to 100, and fewer than 20 training samples; "mislas" for the
            fixed ranges of its published code, over the classes sorted by `class_counts` or as they come; or
            three lists of classes.
        ignore_index: as in the module.

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
        values: as in the module.
        target: as in the module.
        inputs: as in the module.
        include_background: whether class 0 takes part in the means; benchmarks differ, so it must be said.
        missing: "skip" leaves a class that occurs neither in a label nor in a prediction out of the means;
            "zero" counts it as 0.
        ignore_index: as in the module.

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
