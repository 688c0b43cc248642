r"""Class-adaptive label smoothing (CALS): a penalty on logit distances with a multiplier for each class.

The constraint of class k is $h_k = (\max_j z_j - z_k - m) / m \le 0$; a penalty function $P(h, \rho, \lambda)$
turns it into a term of the loss, with a multiplier $\lambda_k$ and a penalty weight $\rho_k$ for each class.
"""

from collections.abc import Callable, Iterable
from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.margin import margin_penalty
from calibrant.losses.registry import register

Penalty = Callable[[Tensor, Tensor, Tensor], Tensor]


def phr(h: Tensor, rho: Tensor, multiplier: Tensor) -> Tensor:
    r"""Powell-Hestenes-Rockafellar: $(\max(0, \lambda + \rho h)^2 - \lambda^2) / 2\rho$."""
    return ((multiplier + rho * h).relu().square() - multiplier.square()) / (2 * rho)


def p2(h: Tensor, rho: Tensor, multiplier: Tensor) -> Tensor:
    r"""P2: $\lambda h + \lambda \rho h^2 + \rho^2 h^3 / 6$ where $h \ge 0$, else $\lambda h / (1 - \rho h)$."""
    above = multiplier * h + multiplier * rho * h.square() + rho.square() * h**3 / 6
    return torch.where(h >= 0, above, _slack(h, rho, multiplier))


def p3(h: Tensor, rho: Tensor, multiplier: Tensor) -> Tensor:
    r"""P3: $\lambda h + \lambda \rho h^2$ where $h \ge 0$, else $\lambda h / (1 - \rho h)$."""
    return torch.where(h >= 0, multiplier * h + multiplier * rho * h.square(), _slack(h, rho, multiplier))


def linear(h: Tensor, rho: Tensor, multiplier: Tensor) -> Tensor:
    r"""Return $\lambda \max(0, h)$; $\rho$ plays no part."""
    # where, not relu: the derivative at 0 is then lambda, which penalty_derivative gives too.
    return multiplier * torch.where(h >= 0, h, torch.zeros_like(h))


def _slack(h: Tensor, rho: Tensor, multiplier: Tensor) -> Tensor:
    # The denominator is built from min(h, 0) so that the branch not taken has a finite gradient.
    return multiplier * h / (1 - rho * h.clamp(max=0))


PENALTIES: dict[str, Penalty] = {"phr": phr, "p2": p2, "p3": p3, "relu": linear}


def penalty_derivative(name: str, h: Tensor, rho: Tensor, multiplier: Tensor) -> Tensor:
    r"""Return $\partial P / \partial h$, from which the next multipliers are made.

    Args:
        name: "phr", "p2", "p3" or "relu".
        h: the constraint, any shape.
        rho: penalty weights, of a shape that broadcasts to `h`.
        multiplier: multipliers, likewise.

    Example:
        >>> h = torch.tensor([-1.0, 0.0, 2.0])
        >>> penalty_derivative("phr", h, torch.tensor(1.0), torch.tensor(0.5))
        tensor([0.0000, 0.5000, 2.5000])
    """
    if name == "phr":
        return (multiplier + rho * h).relu()
    if name == "relu":
        return multiplier * (h >= 0)
    below = multiplier / (1 - rho * h.clamp(max=0)).square()
    above = multiplier + 2 * multiplier * rho * h
    if name == "p2":
        above = above + rho.square() * h.square() / 2
    return torch.where(h >= 0, above, below)


def constraint(logits: Tensor, margin: float, *, normalize: bool = True) -> Tensor:
    r"""Return $h = (\max_j z_j - z_k - m) / m$ for each entry of (N, C, *) logits; undivided on request."""
    h = logits.amax(1, keepdim=True) - logits - margin
    return h / margin if normalize else h


def _per_class(values: float | Iterable[float] | Tensor, num_classes: int, name: str) -> Tensor:
    row = torch.as_tensor(values, dtype=torch.float64)
    if row.dim() == 0:
        row = row.repeat(num_classes)
    if row.shape != (num_classes,):
        raise InputError(f"{name} has shape {tuple(row.shape)}; give one value or {num_classes}, one a class.")
    return row


def along_classes(per_class: Tensor, like: Tensor) -> Tensor:
    """Shape (C,) so that it broadcasts along the class axis of (N, C, *)."""
    return per_class.to(like.dtype).reshape(-1, *[1] * (like.dim() - 2))


@register("cals")
class CALS(Loss):
    r"""Cross-entropy with a penalty on logit distances, one multiplier a class.

    $$L = -\log p_y + \frac{1}{C} \sum_k P\big(h_k, \rho_k, \lambda_k\big), \qquad
      h_k = (\max_j z_j - z_k - m) / m$$

    The label plays no part in the penalty. A slack constraint makes it negative, so the total can fall below
    the cross-entropy.

    Args:
        num_classes: C.
        margin: m > 0. Published: 10.
        penalty: P: "phr" (published), "p2", "p3" or "relu".
        multipliers: $\lambda$, one number or one a class; the published start is 1e-6.
        rho: $\rho$, one number or one a class; the published start is 1.
        normalize: divide the constraint by the margin, as published.
        class_reduction: "mean" over the classes, as the released code, or "sum".
        penalise_ignored: let ignored rows take part in the penalty, as the released code does in segmentation.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Ties: the gradient of a tied maximum is shared evenly among the tied classes.

    Example:
        >>> loss = CALS(num_classes=2, margin=1.0)
        >>> loss(torch.tensor([[4.0, 0.0]]), torch.tensor([0])), loss.terms["penalty"]
        (tensor(2.2682), tensor(2.2500))

    Liu, Rony, Galdran, Dolz, Ben Ayed: "Class Adaptive Network Calibration", CVPR 2023.
    """

    multipliers: Tensor
    rho: Tensor

    def __init__(
        self,
        num_classes: int,
        margin: float = 10.0,
        *,
        penalty: Literal["phr", "p2", "p3", "relu"] = "phr",
        multipliers: float | Iterable[float] | Tensor = 1e-6,
        rho: float | Iterable[float] | Tensor = 1.0,
        normalize: bool = True,
        class_reduction: Literal["mean", "sum"] = "mean",
        penalise_ignored: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if penalty not in PENALTIES:
            raise InputError(f"There is no penalty {penalty!r}; known: {', '.join(PENALTIES)}.")
        if margin <= 0:
            raise InputError(f"margin must lie above 0, not {margin}: the constraint is divided by it.")
        self.margin, self.penalty, self.normalize = margin, penalty, normalize
        self.class_reduction, self.penalise_ignored = class_reduction, penalise_ignored
        self.register_buffer("multipliers", _per_class(multipliers, num_classes, "multipliers"))
        self.register_buffer("rho", _per_class(rho, num_classes, "rho"))

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the penalty of each row."""
        h = constraint(batch.logits, self.margin, normalize=self.normalize)
        values = PENALTIES[self.penalty](h, along_classes(self.rho, h), along_classes(self.multipliers, h))
        penalty = values.mean(1) if self.class_reduction == "mean" else values.sum(1)
        return {"ce": cross_entropy(batch), "penalty": penalty.mean() if self.penalise_ignored else penalty}


@register("cals_hr")
class CALSHR(Loss):
    r"""The heuristic form of CALS: MbLS with a weight a class.

    $$L = -\log p_y + \frac{1}{C} \sum_k \lambda_k \max(0, \max_j z_j - z_k - m)$$

    Args:
        num_classes: C.
        margin: m >= 0. Published: 10.
        multipliers: $\lambda$, one number or one a class; equal ones make it MbLS with that alpha. The
            published start is 0.1.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> CALSHR(num_classes=2, margin=1.0)(torch.tensor([[4.0, 0.0]]), torch.tensor([0]))
        tensor(0.1681)

    Liu, Rony, Galdran, Dolz, Ben Ayed: "Class Adaptive Network Calibration", CVPR 2023.
    """

    multipliers: Tensor

    def __init__(
        self,
        num_classes: int,
        margin: float = 10.0,
        *,
        multipliers: float | Iterable[float] | Tensor = 0.1,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if margin < 0:
            raise InputError(f"margin must be at least 0, not {margin}.")
        self.margin = margin
        self.register_buffer("multipliers", _per_class(multipliers, num_classes, "multipliers"))

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the weighted penalty of each row."""
        penalty = margin_penalty(batch.logits, self.margin)
        weighted = (along_classes(self.multipliers, penalty) * penalty).mean(1)
        return {"ce": cross_entropy(batch), "margin": weighted}
