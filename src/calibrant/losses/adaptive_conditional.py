r"""Adaptive and conditional label smoothing (ACLS): quadratic penalties beyond a margin."""

from typing import Literal, Unpack

from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.registry import register

Reference = Literal["zero", "min", "mean"]


@register("acls")
class ACLS(Loss):
    r"""Adaptive and conditional label smoothing.

    With m the largest logit, of class $\hat y$, and M the margin:

    $$L = -\log p_y + \alpha \Big( \lambda_+ \max(0, m - r - M)^2
          + \frac{\lambda_-}{C-1} \sum_{j \ne \hat y} \max(0, m - z_j - M)^2 \Big)$$

    where each penalty can have a margin of its own.

    The smoothing that it implies grows linearly with the distance past the margin (adaptive) and is zero
    inside (conditional). The label plays no part in the penalty.

    Args:
        margin: M >= 0. Published: 10 on Tiny-ImageNet.
        alpha: weight of the whole penalty.
        pos_weight: $\lambda_+$, of the predicted class.
        neg_weight: $\lambda_-$, of the others.
        pos_margin: M of the predicted class; `margin` when None, as published.
        neg_margin: M of the others; likewise.
        pos_reference: what the winning logit is measured from. "zero" (r = 0) is the released code, behind the
            published figures: no gradient flows through m in the second term, and the loss sees a common shift
            of the logits. "min" and "mean" take r from the logits and let gradient flow through m and r
            everywhere: the gradient then sums to zero over the classes and the loss is invariant to a shift.
        ties: with several classes at the maximum, "single" counts it once and shares its gradient evenly;
            "reference" counts it once for each and gives the gradient to the first, as the released code.
        penalise_ignored: average the penalty over all rows, ignored ones included, as the released code.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> loss = ACLS(margin=2.0, alpha=1.0)
        >>> loss(torch.tensor([[4.0, 0.0, 3.0]]), torch.tensor([0])), loss.terms["pos"], loss.terms["neg"]
        (tensor(4.5266), tensor(4.), tensor(2.))

    Park, Noh, Oh, Baek, Ham: "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration",
    ICCV 2023.
    """

    def __init__(
        self,
        margin: float = 10.0,
        alpha: float = 0.1,
        *,
        pos_weight: float = 1.0,
        neg_weight: float = 0.1,
        pos_margin: float | None = None,
        neg_margin: float | None = None,
        pos_reference: Reference = "zero",
        ties: Literal["single", "reference"] = "single",
        penalise_ignored: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.pos_margin = margin if pos_margin is None else pos_margin
        self.neg_margin = margin if neg_margin is None else neg_margin
        for name, given in (
            ("margin", margin),
            ("pos_margin", self.pos_margin),
            ("neg_margin", self.neg_margin),
        ):
            if not given >= 0:
                raise InputError(f"{name} must be at least 0, not {given}.")
        check_choice("pos_reference", pos_reference, ("zero", "min", "mean"))
        check_choice("ties", ties, ("single", "reference"))
        self.alpha = alpha
        self.pos_weight, self.neg_weight = pos_weight, neg_weight
        self.pos_reference, self.ties, self.penalise_ignored = pos_reference, ties, penalise_ignored

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and both penalties of each row."""
        logits = batch.logits
        winner = logits.amax(1)
        count: Tensor | float = 1.0
        if self.ties == "reference":
            count = (logits.detach() == winner.detach().unsqueeze(1)).sum(1)
            winner = logits.gather(1, logits.detach().argmax(1, keepdim=True)).squeeze(1)
        if self.pos_reference == "zero":
            height, ceiling = winner, winner.detach()
        else:
            lowest = logits.amin(1) if self.pos_reference == "min" else logits.mean(1)
            height, ceiling = winner - lowest, winner
        pos = count * (height - self.pos_margin).relu().square()
        # The winner's own distance is 0, inside any margin: it needs no exclusion from the sum.
        beyond = (ceiling.unsqueeze(1) - logits - self.neg_margin).relu().square()
        neg = beyond.sum(1) / max(logits.shape[1] - 1, 1)
        if self.penalise_ignored:
            pos, neg = batch.mean_of_all(pos), batch.mean_of_all(neg)
        return {"ce": cross_entropy(batch), "pos": pos, "neg": neg}

    def term_weights(self) -> dict[str, float]:
        """Weigh both penalties."""
        return {"pos": self.alpha * self.pos_weight, "neg": self.alpha * self.neg_weight}
