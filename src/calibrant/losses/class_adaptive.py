r"""Class-adaptive label smoothing (CALS): a penalty on logit distances, weighted for each class.

The constraint of class k is $h_k = (\max_j z_j - z_k - m) / m \le 0$; a penalty function $P(h, \rho, \lambda)$
turns it into a term of the loss, with a multiplier $\lambda_k$ and a penalty weight $\rho_k$ for each class.
"""

from collections.abc import Callable, Iterable
from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.margin import margin_penalty
from calibrant.losses.multipliers import (
    AugmentedLagrangian,
    ClassMeans,
    RhoAgainst,
    along_classes,
    check_bounds,
    per_class,
)
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


@register("cals")
class CALS(Loss):
    r"""Class-adaptive label smoothing through an augmented Lagrangian (CALS-ALM).

    $$L = -\log p_y + \frac{1}{C} \sum_k P\big(h_k, \rho_k, \lambda_k\big), \qquad
      h_k = (\max_j z_j - z_k - m) / m$$

    The label plays no part in the penalty. A slack constraint makes it negative, so the total can fall below
    the cross-entropy. The multipliers are learned: call `observe` on every validation batch and `step_epoch`
    at the end of each epoch; `AugmentedLagrangian` gives the rule. They live in the state dict.

    Args:
        num_classes: C.
        margin: m > 0. Published: 10.
        penalty: P: "phr" (published), "p2", "p3" or "relu". From a start near 0, "p3" and "relu" learn next to
            nothing: everything in them is proportional to the multiplier.
        multipliers: start of $\lambda$, one number or one a class; published: 1e-6.
        rho: start and lower bound of $\rho$, one number or one a class; published: 1.
        multiplier_every: epochs between updates of $\lambda$; 0 keeps the multipliers as given.
        rho_every: epochs between checks of $\rho$; 0 keeps it as given.
        multiplier_bounds: the range of $\lambda$.
        rho_max: the upper bound of $\rho$.
        growth: factor by which $\rho$ grows; published as gamma.
        tau: the improvement of the mean constraint that keeps $\rho$ as it is.
        rho_against: since when it must have improved: the "epoch" before the check, as the released code, or
            the "check" before it.
        normalize: divide the constraint by the margin, as published.
        class_reduction: "mean" over the classes, as the released code, or "sum".
        penalise_ignored: let ignored rows take part in the penalty and in the update, as the released code
            does in segmentation.
        rank_average: average the processes with equal weight, as the released code; by default sums and counts
            are added, which is exact for shards of unequal size.
        reset_on_resume: leave the multipliers and penalty weights out of the checkpoint, as the released code:
            a run that is resumed learns them anew, and ends with other numbers than an undisturbed one.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Ties: the gradient of a tied maximum is shared evenly among the tied classes.

    Example:
        >>> loss = CALS(num_classes=2, margin=1.0)
        >>> logits, target = torch.tensor([[4.0, 0.0]]), torch.tensor([0])
        >>> loss(logits, target), loss.terms["penalty"]
        (tensor(2.2682), tensor(2.2500))
        >>> loss.observe(logits, target)
        >>> loss.step_epoch()
        >>> loss.lagrangian.multipliers
        tensor([1.0000e-06, 3.0000e+00], dtype=torch.float64)

    Liu, Rony, Galdran, Dolz, Ben Ayed: "Class Adaptive Network Calibration", CVPR 2023.
    """

    def __init__(
        self,
        num_classes: int,
        margin: float = 10.0,
        *,
        penalty: Literal["phr", "p2", "p3", "relu"] = "phr",
        multipliers: float | Iterable[float] | Tensor = 1e-6,
        rho: float | Iterable[float] | Tensor = 1.0,
        multiplier_every: int = 1,
        rho_every: int = 10,
        multiplier_bounds: tuple[float, float] = (1e-6, 1e6),
        rho_max: float = 10.0,
        growth: float = 1.2,
        tau: float = 0.9,
        rho_against: RhoAgainst = "epoch",
        normalize: bool = True,
        class_reduction: Literal["mean", "sum"] = "mean",
        penalise_ignored: bool = False,
        rank_average: bool = False,
        reset_on_resume: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if penalty not in PENALTIES:
            raise InputError(f"There is no penalty {penalty!r}; known: {', '.join(PENALTIES)}.")
        if not margin > 0:
            raise InputError(f"margin must lie above 0, not {margin}: the constraint is divided by it.")
        check_choice("class_reduction", class_reduction, ("mean", "sum"))
        self.margin, self.penalty, self.normalize = margin, penalty, normalize
        self.class_reduction, self.penalise_ignored = class_reduction, penalise_ignored
        self.lagrangian = AugmentedLagrangian(
            num_classes,
            multipliers=multipliers,
            rho=rho,
            multiplier_bounds=multiplier_bounds,
            rho_max=rho_max,
            multiplier_every=multiplier_every,
            rho_every=rho_every,
            growth=growth,
            tau=tau,
            rho_against=rho_against,
            rank_average=rank_average,
            reset_on_resume=reset_on_resume,
        )

    def _constraint(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        h = constraint(batch.logits, self.margin, normalize=self.normalize)
        state = self.lagrangian
        return h, along_classes(state.rho, h), along_classes(state.multipliers, h)

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the penalty of each row."""
        values = PENALTIES[self.penalty](*self._constraint(batch))
        penalty = values.mean(1) if self.class_reduction == "mean" else values.sum(1)
        return {
            "ce": cross_entropy(batch),
            "penalty": batch.mean_of_all(penalty) if self.penalise_ignored else penalty,
        }

    @torch.no_grad()
    def observe(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> None:
        """Take note of the constraints of a validation batch."""
        batch = self.prepare(logits, target, index)
        h, rho, multipliers = self._constraint(batch)
        valid = None if self.penalise_ignored else batch.valid
        self.lagrangian.observe(penalty_derivative(self.penalty, h, rho, multipliers), h, valid)

    def step_epoch(self) -> None:
        """Update the multipliers and the penalty weights."""
        self.lagrangian.step()

    def class_state(self) -> dict[str, Tensor]:
        """Return the multipliers and the penalty weights."""
        return {"multipliers": self.lagrangian.multipliers, "rho": self.lagrangian.rho}


@register("cals_hr")
class CALSHR(Loss):
    r"""The heuristic form of class-adaptive label smoothing (CALS-HR): MbLS with a learned weight a class.

    $$L = -\log p_y + \frac{1}{C} \sum_k \lambda_k \max(0, \max_j z_j - z_k - m)$$

    At the end of an epoch the mean c of $\lambda_k \max(0, \cdot)$ over the observed rows is compared with that
    of the epoch before: $\lambda_k$ grows by gamma where c exceeds tau times it, and shrinks by gamma where c
    falls below it divided by tau. Call `observe` on every validation batch and `step_epoch` after each epoch.

    Args:
        num_classes: C.
        margin: m >= 0. Published: 10.
        multipliers: start of $\lambda$, one number or one a class; equal ones make it MbLS with that alpha.
        gamma: factor of the change, above 1.
        tau: how far the mean must have moved.
        every: epochs between updates; 0 or less keeps the weights as given.
        multiplier_bounds: the range of $\lambda$.
        rank_average: see `CALS`.
        reset_on_resume: see `CALS`.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> CALSHR(num_classes=2, margin=1.0)(torch.tensor([[4.0, 0.0]]), torch.tensor([0]))
        tensor(0.1681)

    Liu, Rony, Galdran, Dolz, Ben Ayed: "Class Adaptive Network Calibration", CVPR 2023.
    """

    multipliers: Tensor
    score: Tensor
    epoch: Tensor

    def __init__(
        self,
        num_classes: int,
        margin: float = 10.0,
        *,
        multipliers: float | Iterable[float] | Tensor = 0.1,
        gamma: float = 1.1,
        tau: float = 1.1,
        every: int = 1,
        multiplier_bounds: tuple[float, float] = (1e-6, 1e6),
        rank_average: bool = False,
        reset_on_resume: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if not margin >= 0:
            raise InputError(f"margin must be at least 0, not {margin}.")
        if not gamma >= 1 or not tau >= 1:
            raise InputError(f"gamma and tau must be at least 1, not {gamma} and {tau}.")
        check_bounds(multiplier_bounds)
        self.margin, self.gamma, self.tau, self.every = margin, gamma, tau, every
        self.multiplier_bounds = multiplier_bounds
        kept = not reset_on_resume
        weights = per_class(multipliers, num_classes, "multipliers")
        self.register_buffer("multipliers", weights, persistent=kept)
        self.register_buffer("score", torch.zeros(num_classes, dtype=torch.float64), persistent=kept)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.means = ClassMeans(num_classes, 1, rank_average=rank_average)

    def _weighted(self, batch: Batch) -> Tensor:
        penalty = margin_penalty(batch.logits, self.margin)
        return along_classes(self.multipliers, penalty) * penalty

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the weighted penalty of each row."""
        return {"ce": cross_entropy(batch), "margin": self._weighted(batch).mean(1)}

    @torch.no_grad()
    def observe(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> None:
        """Take note of the penalties of a validation batch."""
        batch = self.prepare(logits, target, index)
        self.means.add([self._weighted(batch)], batch.valid)

    def step_epoch(self) -> None:
        """Update the weights."""
        self.epoch += 1
        means = self.means.take()
        if means is None:
            return
        (score,), before = means, self.score.clone()
        self.score.copy_(score)
        if self.every > 0 and self.epoch % self.every == 0 and before.sum() != 0:
            changed = torch.where(score > self.tau * before, self.multipliers * self.gamma, self.multipliers)
            changed = torch.where(score < before / self.tau, changed / self.gamma, changed)
            self.multipliers.copy_(changed.clamp(*self.multiplier_bounds))

    def class_state(self) -> dict[str, Tensor]:
        """Return the weights."""
        return {"multipliers": self.multipliers}
