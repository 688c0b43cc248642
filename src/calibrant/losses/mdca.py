r"""Confidence against accuracy over a batch: of the predicted class (DCA), and of each class (MDCA)."""

from typing import Literal, Unpack

from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.confidence import confidence
from calibrant.losses.cross_entropy import CrossEntropy
from calibrant.losses.focal import FocalLoss
from calibrant.losses.label_smoothing import LabelSmoothing, Spread
from calibrant.losses.registry import register


def class_difference(batch: Batch) -> Tensor:
    r"""Return $\frac{1}{C} \sum_k |\mathrm{mean}_i \, p_{ik} - \mathrm{mean}_i \, t_{ik}|$, a scalar.

    A class that the batch lacks counts as every other. The gradient at a zero difference is 0.

    Args:
        batch: the checked batch.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> class_difference(Batch(logits, torch.tensor([0, 1]), None, None))
        tensor(0.2311)
    """
    return (batch.class_mean(batch.logits.softmax(1)) - batch.class_mean(batch.onehot())).abs().mean()


@register("mdca")
class MDCA(Loss):
    r"""A classification loss plus the multi-class difference between confidence and accuracy.

    $$L = L_{cls} + \beta \, \frac{1}{C} \sum_k \Big| \frac{1}{n} \sum_i p_{ik}
        - \frac{1}{n} \sum_i [y_i = k] \Big|$$

    It matches, within the batch, how often each class is predicted to how often it occurs; it cannot see
    errors of single samples that cancel. The batch is part of its definition: accumulating gradients over
    small batches, or splitting one over devices, gives another loss.

    Args:
        beta: weight of the difference; 1 in the published runs.
        base: the classification loss: "focal", the published FL+MDCA; "ce" (NLL+MDCA); or "ls" (LS+MDCA).
        gamma: power of the focal loss; 1 in the published runs.
        alpha: mass that label smoothing takes from the target; 0.1 in the published runs.
        over: the classes that share that mass: "others", as the published code; or "all".
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the classification loss alone.

    Example:
        >>> import torch
        >>> loss = MDCA(base="ce")
        >>> loss(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
        tensor(1.0443)
        >>> loss.terms
        {'ce': tensor(0.8133), 'mdca': tensor(0.2311)}

    Hebbalaguppe, Prakash, Madan, Arora: "A Stitch in Time Saves Nine: A Train-Time Regularizing Loss for
    Improved Neural Network Calibration", CVPR 2022.
    """

    batch_level = True

    def __init__(
        self,
        beta: float = 1.0,
        base: Literal["focal", "ce", "ls"] = "focal",
        *,
        gamma: float = 1.0,
        alpha: float = 0.1,
        over: Spread = "others",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        classification: dict[str, Loss] = {
            "focal": FocalLoss(gamma),
            "ce": CrossEntropy(),
            "ls": LabelSmoothing(alpha, over=over),
        }
        if base not in classification:
            raise InputError(f"base must be 'focal', 'ce' or 'ls', not {base!r}.")
        self.beta = beta
        self.base = classification[base]

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the classification loss of each row and the difference of the batch."""
        return {**self.base.formula(batch), "mdca": class_difference(batch)}

    def term_weights(self) -> dict[str, float]:
        """Weigh the difference by beta."""
        return {"mdca": self.beta}


@register("dca")
class DCA(Loss):
    r"""Cross-entropy plus the difference between confidence and accuracy of the batch.

    $$L = -\alpha \log p_y + \beta \, \Big| \frac{1}{n} \sum_i r_i - \frac{1}{n} \sum_i c_i \Big|$$

    r is the probability of the predicted class, c whether it is the label; c carries no gradient. Where the
    accuracy exceeds the confidence the loss raises the confidence. The gradient at a zero difference is 0.

    Args:
        alpha: weight of the cross-entropy.
        beta: weight of the difference: 10 in the original; 1 as a baseline in the MDCA paper.
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the cross-entropy alone.

    Ties: of tied classes the first is predicted and receives the gradient of the confidence.

    Example:
        >>> import torch
        >>> loss = DCA()
        >>> loss(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 1]))
        tensor(3.1238)
        >>> loss.terms
        {'ce': tensor(0.8133), 'dca': tensor(0.2311)}

    Liang, Zhang, Wang, Jacobs: "Improved Trainable Calibration Method for Neural Networks on Medical Imaging
    Classification", BMVC 2020.
    """

    batch_level = True

    def __init__(self, alpha: float = 1.0, beta: float = 10.0, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.alpha, self.beta = alpha, beta

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row and the difference of the batch."""
        log_p = batch.logits.log_softmax(1)
        top, right = confidence(batch, log_p)
        return {"ce": -batch.at_target(log_p), "dca": batch.mean(top - right).abs()}

    def term_weights(self) -> dict[str, float]:
        """Weigh the cross-entropy by alpha and the difference by beta."""
        return {"ce": self.alpha, "dca": self.beta}
