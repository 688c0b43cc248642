r"""The focal family: cross-entropy times a power of the probability that the label lacks, or has."""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.registry import register


def focal(log_p: Tensor, gamma: float | Tensor, *, detach_weight: bool = False) -> Tensor:
    r"""Return $-(1-p)^\gamma \log p$ elementwise, with the gradient 0 where p rounds to 1."""
    return power_of_missing(log_p.detach() if detach_weight else log_p, gamma) * -log_p


def power_of_missing(log_p: Tensor, gamma: float | Tensor) -> Tensor:
    r"""Return $(1-p)^\gamma$ elementwise; 0, and so its gradient, where p rounds to 1."""
    return guarded_power(-torch.expm1(log_p), gamma)


def guarded_power(base: Tensor, gamma: float | Tensor) -> Tensor:
    """Return a power of what is at least 0, without the infinite slope that a power below 1 has at 0."""
    positive = base > 0
    factor = torch.where(positive, base, torch.ones_like(base)) ** gamma
    return torch.where(positive, factor, torch.zeros_like(factor))


def _by_label(batch: Batch, log_p: Tensor, gamma: float, *, detach_weight: bool = False) -> Tensor:
    """Apply `focal` to the labelled class alone, or to every class under a soft target."""
    if batch.soft:
        return (batch.target * focal(log_p, gamma, detach_weight=detach_weight)).sum(1)
    return focal(batch.at_target(log_p), gamma, detach_weight=detach_weight)


@register("focal")
class FocalLoss(Loss):
    r"""Focal loss: cross-entropy that fades as the label's probability grows.

    $$L = -(1-p_y)^\gamma \log p_y$$

    and the expectation of that under a soft target.

    Args:
        gamma: the power, at least 0; 0 is cross-entropy. Published for calibration: 3.
        detach_weight: let no gradient flow through $(1-p_y)^\gamma$.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> FocalLoss(gamma=2.0)(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        tensor(0.0227)

    Lin, Goyal, Girshick, He, Dollár: "Focal Loss for Dense Object Detection", ICCV 2017. For calibration:
    Mukhoti et al.: "Calibrating Deep Neural Networks using Focal Loss", NeurIPS 2020.
    """

    def __init__(
        self, gamma: float = 3.0, *, detach_weight: bool = False, **settings: Unpack[Settings]
    ) -> None:
        super().__init__(**settings)
        _check_gamma(gamma)
        self.gamma, self.detach_weight = gamma, detach_weight

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the focal loss of each row."""
        log_p = batch.logits.log_softmax(1)
        return {"focal": _by_label(batch, log_p, self.gamma, detach_weight=self.detach_weight)}


@register("flsc")
class ScheduledFocalLoss(FocalLoss):
    r"""Focal loss whose power falls with the epochs: FLSc-531.

    $$L = -(1-p_y)^{\gamma(e)} \log p_y$$

    Args:
        gammas: the powers, one more than milestones. Published: 5, 3, 1 (FLSc-531) and 5, 3, 2 (FLSc-532).
        milestones: the epochs, counted from 0, from which the next power holds. Published: 100 and 250 on
            CIFAR, 30 and 70 on Tiny-ImageNet.
        detach_weight: as in `FocalLoss`.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    `step_epoch` moves the power along; the state dict holds the epoch.

    Raises:
        InputError: powers and milestones that do not fit each other.

    Example:
        >>> loss = ScheduledFocalLoss(milestones=(1, 2))
        >>> powers = []
        >>> for epoch in range(3):
        ...     powers.append(loss.gamma)
        ...     loss.step_epoch()
        >>> powers
        [5.0, 3.0, 1.0]

    Mukhoti, Kulharia, Sanyal, Golodetz, Torr, Dokania: "Calibrating Deep Neural Networks using Focal Loss",
    NeurIPS 2020.
    """

    def __init__(
        self,
        gammas: Sequence[float] = (5.0, 3.0, 1.0),
        milestones: Sequence[int] = (100, 250),
        *,
        detach_weight: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        if len(gammas) != len(milestones) + 1 or list(milestones) != sorted({*milestones}):
            raise InputError(
                f"gammas must be one more than milestones, which rise: {list(gammas)} and {list(milestones)} "
                "do not fit."
            )
        for gamma in gammas:
            _check_gamma(gamma)
        super().__init__(float(gammas[0]), detach_weight=detach_weight, **settings)
        self.gammas, self.milestones = [float(gamma) for gamma in gammas], list(milestones)
        self._move(0)

    def step_epoch(self) -> None:
        """Take the power of the next epoch."""
        self._move(self.epoch + 1)

    def get_extra_state(self) -> dict[str, int]:
        """Return the epoch, for the state dict."""
        return {"epoch": self.epoch}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Go on from a saved epoch."""
        self._move(int(state["epoch"]))

    def _move(self, epoch: int) -> None:
        self.epoch = epoch
        self.gamma = self.gammas[sum(epoch >= milestone for milestone in self.milestones)]


@register("flsd")
class FLSD(Loss):
    r"""Focal loss with a power for each sample: 5 below a label probability of 0.2, 3 below 0.5, gamma above.

    The power is read from detached probabilities and is constant in the gradient.

    Args:
        gamma: the power where $p_y \ge 0.5$. FLSD-53 is gamma 3; what is called FLSD-52 is gamma 2, with 5 and
            3 below.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> FLSD()(torch.tensor([[2.0, 0.0], [-2.0, 0.0]]), torch.tensor([0, 0]))
        tensor(0.5639)

    Mukhoti, Kulharia, Sanyal, Golodetz, Torr, Dokania: "Calibrating Deep Neural Networks using Focal Loss",
    NeurIPS 2020.
    """

    def __init__(self, gamma: float = 3.0, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        _check_gamma(gamma)
        self.gamma = gamma

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the focal loss of each row, with its own power; its expectation under a soft target."""
        log_p = batch.logits.log_softmax(1)
        if batch.soft:
            return {"focal": (batch.target * self._focal(log_p)).sum(1)}
        return {"focal": self._focal(batch.at_target(log_p))}

    def _focal(self, log_p: Tensor) -> Tensor:
        p = log_p.detach().exp()
        gamma = torch.where(p < 0.5, 3.0, self.gamma).where(p >= 0.2, 5.0)
        return focal(log_p, gamma.to(log_p.dtype))


@register("flsd53")
class FLSD53(FLSD):
    """FLSD with the powers 5 below a label probability of 0.2 and 3 above: the published FLSD-53."""

    def __init__(self, **settings: Unpack[Settings]) -> None:
        super().__init__(gamma=3.0, **settings)


@register("flsd52")
class FLSD52(FLSD):
    """FLSD with the powers 5, 3 and 2 below and above label probabilities of 0.2 and 0.5: "FLSD-52"."""

    def __init__(self, **settings: Unpack[Settings]) -> None:
        super().__init__(gamma=2.0, **settings)


@register("inverse_focal")
class InverseFocalLoss(Loss):
    r"""Inverse focal loss: it sharpens, and is meant to be calibrated afterwards.

    $$L = -(1+p_y)^\gamma \log p_y$$

    Args:
        gamma: the power, at least 0; 0 is cross-entropy.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> InverseFocalLoss(gamma=2.0)(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        tensor(0.9387)

    Wang, Feng, Zhang: "Rethinking Calibration of Deep Neural Networks: Do Not Be Afraid of Overconfidence",
    NeurIPS 2021.
    """

    def __init__(self, gamma: float = 2.0, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        _check_gamma(gamma)
        self.gamma = gamma

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the inverse focal loss of each row."""
        log_p = batch.logits.log_softmax(1)
        if batch.soft:
            return {"inverse_focal": -(batch.target * (1 + log_p.exp()) ** self.gamma * log_p).sum(1)}
        log_p = batch.at_target(log_p)
        return {"inverse_focal": -((1 + log_p.exp()) ** self.gamma) * log_p}


@register("dual_focal")
class DualFocalLoss(Loss):
    r"""Dual focal loss: focal loss on the lead of the label over the class next below it.

    $$L = -(1 - p_y + p_m)^\gamma \log p_y, \quad p_m \text{ the largest probability strictly below } p_y$$

    $p_m$ is 0 where the label is the least likely class. Both probabilities carry gradient; that of a tied
    $p_m$ is shared evenly.

    Args:
        gamma: the power, at least 0. Published: 5 (CIFAR-10 and CIFAR-100, ResNet-50), 2.3 (Tiny-ImageNet).
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> DualFocalLoss(gamma=2.0)(torch.tensor([[1.0, 0.0]]), torch.tensor([0]))
        tensor(0.0906)

    Tao, Dong, Xu: "Dual Focal Loss for Calibration", ICML 2023.
    """

    soft_targets = False

    def __init__(self, gamma: float = 5.0, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        _check_gamma(gamma)
        self.gamma = gamma

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the dual focal loss of each row."""
        log_p = batch.logits.log_softmax(1)
        # Both sides of the comparison come from one array: exp(log p) and softmax may differ by one ulp, and
        # the label would then pass as smaller than itself.
        p = log_p.exp()
        p_label = batch.at_target(p)
        below = torch.where(p < p_label.unsqueeze(1), p, torch.zeros_like(p)).amax(1)
        return {"dual_focal": -guarded_power(1 - p_label + below, self.gamma) * batch.at_target(log_p)}


def gamma_for_probability(p0: Tensor) -> Tensor:
    r"""Return the smallest power with which focal loss and cross-entropy have the same gradient at $p_y = p_0$.

    It solves $(1-p_0)^\gamma - \gamma p_0 (1-p_0)^{\gamma-1} \log p_0 = 1$ through the lower branch of
    Lambert's W; FLSD's 5 and 3 are its rounded values at 0.2 and 0.25.

    Args:
        p0: probabilities in (0, 0.5), any shape.

    Example:
        >>> import torch
        >>> gamma_for_probability(torch.tensor([0.2, 0.25], dtype=torch.float64))
        tensor([4.8506, 3.0702], dtype=torch.float64)
    """
    p0 = p0.double()
    q = (1 - p0) / (p0 * p0.log())
    argument = -(1 - p0).log() * (1 - p0) ** (1 - q) / (p0 * p0.log()) + 1e-12
    return q + _lambert_w_lower(argument) / (1 - p0).log()


def _lambert_w_lower(x: Tensor) -> Tensor:
    r"""Solve $w e^w = x$ for $w \le -1$, $-1/e \le x < 0$, by Halley's iteration."""
    near_branch_point = -1 - (2 * (1 + math.e * x).clamp(min=0)).sqrt()
    near_zero = (-x).log() - (-(-x).log()).clamp(min=1e-300).log()
    w = torch.where(x < -0.25, near_branch_point, near_zero)
    for _ in range(50):
        e = w.exp()
        f = w * e - x
        step = f / (e * (w + 1) - (w + 2) * f / (2 * w + 2))
        w = w - torch.where(step.isfinite(), step, torch.zeros_like(step))
    return w


def _check_gamma(gamma: float) -> None:
    if not gamma >= 0:
        raise InputError(f"gamma must be at least 0, not {gamma}.")
