r"""Label smoothing (LS): part of the target's mass is spread over the classes."""

from typing import Literal, Unpack

from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.registry import register

Spread = Literal["all", "others"]


def smoothed_cross_entropy(batch: Batch, alpha: float | Tensor, over: Spread = "all") -> Tensor:
    r"""Return $-(1-a) \log p_y - a \cdot \mathrm{mean}_k \log p_k$ for each row, (N, *).

    Args:
        batch: the checked batch.
        alpha: the mass a, one number or (N, *).
        over: the classes over which the mean runs: "all" of them, or the "others" than the label.
    """
    if over == "others":
        classes = batch.logits.shape[1]
        alpha = alpha * (classes / max(classes - 1, 1))
    log_p = batch.logits.log_softmax(1)
    return -(1 - alpha) * batch.at_target(log_p) - alpha * log_p.mean(1)


@register("ls")
class LabelSmoothing(Loss):
    r"""Label smoothing: part of the target's mass is spread evenly over the classes.

    $$L = -\sum_k \big((1-a)\,t_k + a/C\big) \log p_k$$

    Args:
        alpha: the mass a in [0, 1) taken from the target. Published: 0.05 (MbLS, CALS, ACLS), 0.1 (MDCA).
        over: the classes that share the mass: "all" of them, the labelled one included, as PyTorch, timm and
            most papers do; or the "others", C - 1 of them, as MDCA does. A mass a over all equals a (C-1)/C
            over the others.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`; a class weight multiplies the whole row
            (`torch.nn.CrossEntropyLoss` weighs each smoothed class by its own).

    Example:
        >>> import torch
        >>> LabelSmoothing(alpha=0.1)(torch.tensor([[3.0, 0.0, 0.0]]), torch.tensor([0]))
        tensor(0.2949)

    Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: "Rethinking the Inception Architecture for Computer Vision",
    CVPR 2016. Müller, Kornblith, Hinton: "When Does Label Smoothing Help?", NeurIPS 2019.
    """

    def __init__(self, alpha: float = 0.05, *, over: Spread = "all", **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        if not 0 <= alpha < 1:
            raise InputError(f"alpha is a share of the target's mass, at least 0 and below 1, not {alpha}.")
        check_choice("over", over, ("all", "others"))
        self.alpha, self.over = alpha, over

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the smoothed cross-entropy of each row."""
        return {"ls": smoothed_cross_entropy(batch, self.alpha, self.over)}
