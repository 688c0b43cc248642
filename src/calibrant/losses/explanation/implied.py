r"""The target that a loss implies: what cross-entropy would have to be trained on to move the network alike."""

import copy

import torch
from torch import Tensor

from calibrant.losses.base import Loss


def implicit_target(loss: Loss, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> Tensor:
    r"""Return the target with which cross-entropy has the gradient of a loss.

    $$\tilde t_n = p_n - n \, \frac{\partial L}{\partial z_n}$$

    with p the softmax of the logits z and n the rows that count (none for a sum), as the gradient of
    cross-entropy with respect to the logits is $(p - t) / n$. Exact for every loss, by automatic
    differentiation. What $\tilde t$ lacks of the label is the smoothing that the loss implies. It sums to 1
    over the classes where the loss does not see a common shift of the logits, and may leave [0, 1].

    Args:
        loss: any loss; its `reduction` plays no part, its `terms` stay as they are. One that draws random
            numbers draws as in any call.
        logits: (N, C, *) real; (N, 1, *) for a binary loss, where p is the sigmoid.
        target: as the loss takes it.
        index: (N,) ids of the samples, for a loss that learns from each.

    Returns:
        (N, C, *), or (N, 1, *). A class weight w of the label gives $(1 - w) \, p + w \, \tilde t$. For a row
        that is ignored it is p, from which nothing is to be learned.

    Raises:
        InputError: as the loss.

    Example:
        >>> from calibrant.losses import LabelSmoothing
        >>> implicit_target(LabelSmoothing(alpha=0.3), torch.tensor([[4.0, 0.0, 1.0]]), torch.tensor([0]))
        tensor([[0.8000, 0.1000, 0.1000]])

    Park, Noh, Oh, Baek, Ham: "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration",
    ICCV 2023.
    """
    # A copy that shares the state: what is set on it stays off the loss.
    summed = copy.copy(loss)
    summed.reduction = "sum"
    z = logits.detach().to(torch.promote_types(logits.dtype, torch.float32)).requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(summed(z, target, index=index), z)
    return probabilities(loss, z.detach()) - gradient


def probabilities(loss: Loss, logits: Tensor) -> Tensor:
    """Return the softmax of (N, C, *) logits, or the sigmoid of those of a binary loss."""
    return logits.sigmoid() if loss.binary else logits.softmax(1)
