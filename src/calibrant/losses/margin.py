r"""Margin-based label smoothing (MbLS): a linear penalty on logit distances beyond a margin."""

from typing import Literal, Unpack

from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.registry import register


def margin_penalty(logits: Tensor, margin: float, *, detach_max: bool = False) -> Tensor:
    r"""Return $\max(0, \max_j z_j - z_k - m)$ for each entry of (N, C, *) logits."""
    largest = logits.amax(1, keepdim=True)
    return ((largest.detach() if detach_max else largest) - logits - margin).relu()


@register("mbls")
class MarginLoss(Loss):
    r"""Margin-based label smoothing.

    $$L = -\log p_y + \alpha \, \frac{1}{C} \sum_k \max(0, \max_j z_j - z_k - m)$$

    Cross-entropy pushes the distances between the winning logit and the others without end; label smoothing
    pulls them all to zero; the margin lets them grow freely up to m and no further. The label plays no part in
    the penalty.

    Args:
        margin: m >= 0, the distance that costs nothing. Published: 10 on Tiny-ImageNet.
        alpha: weight of the penalty; 0.1 in every published result.
        class_reduction: "mean" over the classes, as the published code and its alpha; "sum" as the paper's
            equation writes it, which is C times stronger.
        detach_max: take the largest logit as a constant, so that the penalty raises the others and does not
            lower the winner. ACLS's authors describe MbLS so; its code, and with it every published
            result, does not.
        penalise_ignored: let ignored rows take part in the penalty, as the published code does with a negative
            `ignore_index`.
        schedule: how `step_epoch` moves alpha: "add" mu, "multiply" by mu, or multiply at every `step_size`-th
            "step"; empty, as in every published result, for never.
        mu: the step or factor of the schedule.
        max_alpha: the end of the schedule.
        step_size: epochs between two steps.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Ties: the gradient of a tied maximum is shared evenly among the tied classes.

    Example:
        >>> import torch
        >>> loss = MarginLoss(margin=1.0, alpha=0.5)
        >>> loss(torch.tensor([[4.0, 0.0]]), torch.tensor([0]))
        tensor(0.7681)
        >>> loss.terms
        {'ce': tensor(0.0181), 'margin': tensor(1.5000)}

    Liu, Ben Ayed, Galdran, Dolz: "The Devil is in the Margin: Margin-based Label Smoothing for Network
    Calibration", CVPR 2022.
    """

    def __init__(
        self,
        margin: float = 10.0,
        alpha: float = 0.1,
        *,
        class_reduction: Literal["mean", "sum"] = "mean",
        detach_max: bool = False,
        penalise_ignored: bool = False,
        schedule: Literal["", "add", "multiply", "step"] = "",
        mu: float = 0.0,
        max_alpha: float = 100.0,
        step_size: int = 100,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if not margin >= 0:
            raise InputError(f"margin must be at least 0, not {margin}.")
        self.margin, self.alpha, self.class_reduction = margin, alpha, class_reduction
        self.detach_max, self.penalise_ignored = detach_max, penalise_ignored
        check_choice("class_reduction", class_reduction, ("mean", "sum"))
        check_choice("schedule", schedule, ("", "add", "multiply", "step"))
        if schedule in ("multiply", "step") and mu <= 0:
            raise InputError(
                f"mu must lie above 0 for schedule {schedule!r}, not {mu}: alpha is multiplied by it."
            )
        if step_size < 1:
            raise InputError(f"step_size must be at least 1 epoch, not {step_size}.")
        self.schedule, self.mu, self.max_alpha, self.step_size = schedule, mu, max_alpha, step_size
        self.epoch = 0

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the penalty of each row."""
        penalty = margin_penalty(batch.logits, self.margin, detach_max=self.detach_max)
        over_classes = penalty.mean(1) if self.class_reduction == "mean" else penalty.sum(1)
        return {
            "ce": cross_entropy(batch),
            "margin": batch.mean_of_all(over_classes) if self.penalise_ignored else over_classes,
        }

    def step_epoch(self) -> None:
        """Move alpha along its schedule."""
        self.epoch += 1
        if self.schedule == "add":
            self.alpha = min(self.alpha + self.mu, self.max_alpha)
        elif self.schedule == "multiply" or (self.schedule == "step" and self.epoch % self.step_size == 0):
            self.alpha = min(self.alpha * self.mu, self.max_alpha)

    def get_extra_state(self) -> dict[str, float]:
        """Return what the schedule has reached, for the state dict."""
        return {"alpha": self.alpha, "epoch": self.epoch}

    def set_extra_state(self, state: dict[str, float]) -> None:
        """Go on from a saved state."""
        self.alpha, self.epoch = state["alpha"], int(state["epoch"])

    def term_weights(self) -> dict[str, float]:
        """Weigh the penalty by alpha."""
        return {"margin": self.alpha}
