r"""Maximum mean calibration error (MMCE): a kernel distance between confidence and correctness in a batch.

Published code builds the N × N matrix of the kernel, which a segmentation batch cannot hold. The Laplacian
kernel $e^{-|r-r'|/h}$ factorises once the confidences are sorted, so that prefix sums give the same number in
O(N log N) time and O(N) memory.
"""

from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.confidence import confidence
from calibrant.losses.registry import register

Normalization = Literal["single", "reference"]

_UNDER_ROOT = 1e-10
_IN_COUNTS = 1e-5
_SMALLEST_BANDWIDTH = 1e-3


def laplacian_gram(position: Tensor, weights: Tensor, bandwidth: float) -> Tensor:
    r"""Return $Q_{gh} = \sum_{ij} w_{gi} w_{hj} e^{-|x_i - x_j| / h}$ without the matrix of the kernel.

    The slope of the kernel is 0 between equal positions.

    Args:
        position: (N,) positions x in [0, 1].
        weights: (G, N) weights w, one row for each of G groups.
        bandwidth: h, at least 0.001.

    Returns:
        (G, G) in float64.

    Example:
        >>> import torch
        >>> laplacian_gram(torch.tensor([0.2, 0.8, 0.8]), torch.tensor([[1.0, 2.0, -1.0]]), bandwidth=0.4)
        tensor([[2.4463]], dtype=torch.float64)
    """
    order = position.detach().argsort()
    weights = weights.double().index_select(1, order)
    # About 1/2, so that the exponentials of either sign stay within e^(0.5 / h).
    x = (position.double().index_select(0, order) - 0.5) / bandwidth
    first = _first_of_ties(x.detach())
    before = weights.new_zeros(weights.shape[0], 1)
    grown = torch.cat([before, (weights * x.exp()).cumsum(1)], 1)
    plain = torch.cat([before, weights.cumsum(1)], 1)
    below = grown.index_select(1, first) * (-x).exp()
    tied = plain[:, :-1] - plain.index_select(1, first)
    one_side = weights @ (below + tied).mT
    return weights @ weights.mT + one_side + one_side.mT


def _first_of_ties(x: Tensor) -> Tensor:
    """Return, for each of sorted values, the index of the first that equals it."""
    index = torch.arange(len(x), device=x.device)
    starts = torch.ones_like(index, dtype=torch.bool)
    starts[1:] = x[1:] != x[:-1]
    return torch.where(starts, index, 0).cummax(0).values


def mmce(confidence: Tensor, correct: Tensor, valid: Tensor | None = None, *, bandwidth: float = 0.4) -> Tensor:
    r"""Return the squared MMCE, $\frac{1}{n^2} \sum_{ij} (c_i - r_i)(c_j - r_j) e^{-|r_i - r_j|/h}$.

    Args:
        confidence: r in [0, 1], any shape.
        correct: c, 1 where the prediction is right and 0 where it is wrong, of the same shape.
        valid: of the same shape, False where a row does not count; None when every row counts.
        bandwidth: h, at least 0.001.

    Returns:
        A scalar of the type of the confidence; 0 when no row counts.

    Example:
        >>> import torch
        >>> mmce(torch.tensor([0.9, 0.6]), torch.tensor([1.0, 0.0]))
        tensor(0.0783)
    """
    gap = correct - confidence
    if valid is not None:
        gap = torch.where(valid, gap, torch.zeros_like(gap))
        confidence = torch.where(valid, confidence, torch.zeros_like(confidence))
    count = max(gap.numel(), 1) if valid is None else valid.sum().clamp(min=1)
    share = (gap.double() / count).flatten()
    return laplacian_gram(confidence.flatten(), share.unsqueeze(0), bandwidth).sum().to(confidence.dtype)


def weighted_mmce(
    confidence: Tensor,
    correct: Tensor,
    valid: Tensor | None = None,
    *,
    bandwidth: float = 0.4,
    normalization: Normalization = "single",
) -> Tensor:
    r"""Return the weighted MMCE: the kernel distance between right and wrong predictions of a batch.

    With A the m right and B the n wrong predictions, $k = e^{-|r-r'|/h}$:

    $$\Big( \frac{1}{m^2} \sum_{AA} (1-r)(1-r') k + \frac{1}{n^2} \sum_{BB} r r' k
      - \frac{2}{mn} \sum_{AB} (1-r) r' k + 10^{-10} \Big)^{1/2}$$

    Args:
        confidence: r in [0, 1], any shape.
        correct: 1 where the prediction is right and 0 where it is wrong, of the same shape.
        valid: of the same shape, False where a row does not count; None when every row counts.
        bandwidth: h, at least 0.001.
        normalization: "single" divides each sum by its number of pairs once; "reference" divides the result by
            that number plus 1e-5 again, as the published code does.

    Returns:
        A scalar of the type of the confidence; 0 when all predictions are right, or all wrong.

    Example:
        >>> import torch
        >>> weighted_mmce(torch.tensor([0.9, 0.6]), torch.tensor([1.0, 0.0]))
        tensor(0.5597)
    """
    right, wrong = correct > 0, correct <= 0
    if valid is not None:
        right, wrong = right & valid, wrong & valid
        confidence = torch.where(valid, confidence, torch.zeros_like(confidence))
    zero = torch.zeros_like(confidence)
    groups = torch.stack([torch.where(right, 1 - confidence, zero), torch.where(wrong, confidence, zero)])
    count = torch.stack([right.sum(), wrong.sum()])
    some = count.clamp(min=1).double()
    pairs = some.unsqueeze(0) * some.unsqueeze(1)
    blocks = laplacian_gram(confidence.flatten(), groups.flatten(1), bandwidth) / pairs
    if normalization == "reference":
        blocks = blocks / (pairs + _IN_COUNTS)
    squared = blocks[0, 0] - 2 * blocks[0, 1] + blocks[1, 1]
    return torch.where((count > 0).all(), _root(squared), 0.0).to(confidence.dtype)


def _root(squared: Tensor) -> Tensor:
    # Rounding may leave a sum of squares slightly below zero, and the slope of the root has no bound at zero.
    return (squared.clamp(min=0) + _UNDER_ROOT).sqrt()


class _KernelLoss(Loss):
    """Cross-entropy plus a kernel distance between confidence and correctness."""

    batch_level = True

    def __init__(self, alpha: float, bandwidth: float, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        if not bandwidth >= _SMALLEST_BANDWIDTH:
            raise InputError(f"bandwidth must be at least {_SMALLEST_BANDWIDTH}, not {bandwidth}.")
        self.alpha, self.bandwidth = alpha, bandwidth

    def distance(self, confidence: Tensor, correct: Tensor, valid: Tensor | None) -> Tensor:
        """Return the kernel distance as a scalar."""
        raise InputError(f"{type(self).__name__} must define distance(confidence, correct, valid).")

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row and the distance of the batch."""
        log_p = batch.logits.log_softmax(1)
        top, right = confidence(batch, log_p)
        return {"ce": -batch.at_target(log_p), "mmce": self.distance(top, right, batch.valid)}

    def term_weights(self) -> dict[str, float]:
        """Weigh the distance by alpha."""
        return {"mmce": self.alpha}


@register("mmce")
class MMCE(_KernelLoss):
    r"""Cross-entropy plus the maximum mean calibration error of the batch.

    $$L = -\log p_y + \alpha \, \frac{1}{n^2} \sum_{ij} (c_i - r_i)(c_j - r_j) \, e^{-|r_i - r_j| / h}$$

    r is the confidence, c whether the prediction is right; c carries no gradient. The n rows of the batch, the
    pixels of a dense one, are compared in O(n log n) time and O(n) memory.

    Args:
        alpha: weight of the term. Published: 1 in CALS; the weighted form has its own.
        bandwidth: h of the kernel, at least 0.001; 0.4 in every published result.
        squared: True for the squared statistic, as the published code; False for its root, the measure of the
            paper, taken of 1e-10 more.
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the cross-entropy alone.

    Ties: of tied classes the first is predicted and receives the gradient of the confidence; the kernel has
    slope 0 between equal confidences.

    Example:
        >>> import torch
        >>> loss = MMCE()
        >>> loss(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        tensor(0.8051)
        >>> loss.terms
        {'ce': tensor(0.6809), 'mmce': tensor(0.1242)}

    Kumar, Sarawagi, Jain: "Trainable Calibration Measures for Neural Networks from Kernel Mean Embeddings",
    ICML 2018.
    """

    def __init__(
        self, alpha: float = 1.0, bandwidth: float = 0.4, *, squared: bool = True, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(alpha, bandwidth, **settings)
        self.squared = squared

    def distance(self, confidence: Tensor, correct: Tensor, valid: Tensor | None) -> Tensor:
        """Return the statistic, squared or not; 0 when no row counts."""
        value = mmce(confidence, correct, valid, bandwidth=self.bandwidth)
        return value if self.squared else torch.where(value != 0, _root(value), value)


@register("mmce_w")
class WeightedMMCE(_KernelLoss):
    r"""Cross-entropy plus the weighted MMCE, which compares the right with the wrong predictions of the batch.

    $L = -\log p_y + \alpha \, \mathrm{MMCE}_w$, see `weighted_mmce`. The term is 0 when all predictions are
    right, or all wrong.

    Args:
        alpha: weight of the term. Published with the "reference" normalization: 2 in focal_calibration (8 on
            20 Newsgroups), 4 in MDCA, 1 in CALS.
        bandwidth: h of the kernel, at least 0.001; 0.4 in every published result.
        normalization: "single" is the paper's estimator; "reference" the published code, which divides by the
            number of pairs twice, so that the term shrinks with the batch (0.0059 where the estimator gives
            0.167, at n = 128).
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the cross-entropy alone.

    Example:
        >>> import torch
        >>> loss = WeightedMMCE()
        >>> loss(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 0]))
        tensor(2.0907)
        >>> loss.terms
        {'ce': tensor(0.6809), 'mmce': tensor(0.7049)}

    Kumar, Sarawagi, Jain: "Trainable Calibration Measures for Neural Networks from Kernel Mean Embeddings",
    ICML 2018.
    """

    def __init__(
        self,
        alpha: float = 2.0,
        bandwidth: float = 0.4,
        *,
        normalization: Normalization = "single",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(alpha, bandwidth, **settings)
        check_choice("normalization", normalization, ("single", "reference"))
        self.normalization: Normalization = normalization

    def distance(self, confidence: Tensor, correct: Tensor, valid: Tensor | None) -> Tensor:
        """Return the weighted MMCE."""
        return weighted_mmce(
            confidence, correct, valid, bandwidth=self.bandwidth, normalization=self.normalization
        )
