"""Metrics of the order of the confidences: does a higher confidence mean right more often?

Each takes cells: (K,) confidences, the number of correct predictions in each cell and the number of predictions
in it. A cell is one sample by default; with counts it is a bin of a fine histogram. The last two may carry
leading dimensions, one value being returned for each, which is how a bootstrap evaluates its replicates.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

#: Share of a confidence within which another is equal to it: what a softmax in float64 may round.
_ROUNDING = 2.0**-46


class Groups(NamedTuple):
    """Cells in ascending order of confidence, those of equal confidence joined."""

    confidence: Tensor
    correct: Tensor
    size: Tensor


def grouped(confidence: Tensor, correct: Tensor, count: Tensor | None = None) -> Groups:
    """Sort cells by confidence and join ties, so that nothing can depend on the order of the data.

    Confidences that differ by rounding alone are ties: the same logits in another order of the classes add up
    to another last digit, which says nothing of who is right.

    Args:
        confidence: (K,) in [0, 1].
        correct: (..., K) number of correct predictions in the cell; 0 or 1, or a bool, for single samples.
        count: (..., K) number of predictions in the cell; 1 by default.
    """
    correct = correct.double()
    count = torch.ones_like(correct) if count is None else count.double().expand_as(correct)
    values, index = torch.unique(confidence.double(), return_inverse=True)
    first = _first_of_ties(values)
    values, index = values[first], (first.cumsum(0) - 1)[index]
    if len(values) == len(confidence):
        order = confidence.argsort()
        return Groups(values, correct[..., order], count[..., order])
    zeros = correct.new_zeros((*correct.shape[:-1], len(values)))
    return Groups(values, zeros.index_add(-1, index, correct), zeros.index_add(-1, index, count))


def _first_of_ties(values: Tensor) -> Tensor:
    """Return which of (K,) ascending values is the first of those that rounding alone tells apart.

    Where values are so dense that each is near the next, a tie ends a rounding's width after its first one.
    """
    width = _ROUNDING * values.clamp(min=1e-300)
    first = torch.ones_like(values, dtype=torch.bool)
    first[1:] = ~(values.diff() <= width[1:])
    start = values[first][first.cumsum(0) - 1]
    first[1:] |= ((values - start) / width).floor().diff() > 0
    return first


def auroc(confidence: Tensor, correct: Tensor, count: Tensor | None = None) -> Tensor:
    r"""Area under the ROC curve of the confidence as a score of correctness.

    $$P(c_i > c_j) + \tfrac12 P(c_i = c_j) \quad \text{for a correct } i \text{ and a wrong } j$$

    Args:
        confidence: (K,) confidences.
        correct: (..., K) number of correct predictions in the cell.
        count: (..., K) number of predictions in the cell; 1 by default.

    Returns:
        (...) float64; nan where all predictions are correct, or all wrong: there is no pair to compare.

    Example:
        >>> auroc(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 0, 1, 0]))
        tensor(0.7500, dtype=torch.float64)
    """
    _, right, size = grouped(confidence, correct, count)
    wrong = size - right
    wrong_below = wrong.cumsum(-1) - wrong
    pairs = right.sum(-1) * wrong.sum(-1)
    won = (right * (wrong_below + wrong / 2)).sum(-1)
    return torch.where(pairs > 0, won / pairs, torch.full_like(won, math.nan))


def aurc(confidence: Tensor, correct: Tensor, count: Tensor | None = None) -> Tensor:
    r"""Area under the risk-coverage curve: the error rate among the most confident, averaged over how many.

    $$\frac1N \sum_{i=1}^N \frac{\text{errors among the } i \text{ most confident}}{i}$$

    Within a tie, the average over all orders of it.

    Args:
        confidence: (K,) confidences.
        correct: (..., K) number of correct predictions in the cell.
        count: (..., K) number of predictions in the cell; 1 by default.

    Returns:
        (...) float64; nan without predictions.

    Example:
        >>> aurc(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 1, 1, 0]))
        tensor(0.0625, dtype=torch.float64)

    Geifman, Uziel, El-Yaniv: "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
    """
    _, right, size = grouped(confidence, correct, count)
    right, size = right.flip(-1), size.flip(-1)
    wrong = size - right
    seen, missed = size.cumsum(-1) - size, wrong.cumsum(-1) - wrong
    # A tie of m with e errors adds, on average over its orders, (missed + j e/m) / (seen + j) for j = 1 … m.
    rate = wrong / size.clamp(min=1e-300)
    area = wrong + (missed - seen * rate) * (_harmonic(seen + size) - _harmonic(seen))
    return torch.where(size > 0, area, torch.zeros_like(area)).sum(-1) / size.sum(-1)


def excess_aurc(confidence: Tensor, correct: Tensor, count: Tensor | None = None) -> Tensor:
    r"""AURC above that of a perfect order of the same predictions, in which every error comes last.

    Args:
        confidence: (K,) confidences.
        correct: (..., K) number of correct predictions in the cell.
        count: (..., K) number of predictions in the cell; 1 by default.

    Returns:
        (...) float64, 0 for a perfect order; nan without predictions.

    Example:
        >>> excess_aurc(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 1, 0, 1]))
        tensor(0.0833, dtype=torch.float64)

    Geifman, Uziel, El-Yaniv: "Bias-Reduced Uncertainty Estimation for Deep Neural Classifiers", ICLR 2019.
    """
    size = torch.ones_like(correct, dtype=torch.float64) if count is None else count.double()
    n, right = size.sum(-1), correct.double().sum(-1)
    best = (n - right - right * (_harmonic(n) - _harmonic(right))) / n
    return aurc(confidence, correct, count) - best


def ks_error(confidence: Tensor, correct: Tensor, count: Tensor | None = None) -> Tensor:
    r"""Kolmogorov-Smirnov calibration error: the largest cumulative gap, without bins.

    $$\max_c \frac1N \left| \sum_{i: c_i \le c} (c_i - \text{correct}_i) \right|$$

    Args:
        confidence: (K,) confidences; ties enter together.
        correct: (..., K) number of correct predictions in the cell.
        count: (..., K) number of predictions in the cell; 1 by default.

    Returns:
        (...) float64; nan without predictions.

    Example:
        >>> ks_error(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 0, 1, 0]))
        tensor(0.2750, dtype=torch.float64)

    Gupta, Rahimi, Ajanthan, Mensink, Sminchisescu, Hartley: "Calibration of Neural Networks using Splines",
    ICLR 2021.
    """
    values, right, size = grouped(confidence, correct, count)
    n = size.sum(-1)
    if not len(values):
        return torch.full_like(n, math.nan)
    return (values * size - right).cumsum(-1).abs().amax(-1) / n


def _harmonic(n: Tensor) -> Tensor:
    """Return the n-th harmonic number, up to the constant that cancels in differences."""
    return torch.digamma(n + 1)
