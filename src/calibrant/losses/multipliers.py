"""Multipliers that a loss learns for each class from what it observes, summed over all processes."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from calibrant.errors import InputError, check_choice

RhoAgainst = Literal["epoch", "check"]


def sum_over_processes(*tensors: Tensor) -> None:
    """Replace each tensor by its sum over the processes of `torch.distributed`, if it runs."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.all_reduce(tensor)


class ClassMeans(nn.Module):
    """Running sums of per-class quantities over the rows of an epoch, kept in the state dict.

    Args:
        num_classes: C.
        quantities: how many quantities are averaged.
        rank_average: let each process average its own rows and average those means with equal weight, as the
            released code of CALS does; by default sums and counts are added and divided once, which is exact
            for shards of unequal size.
    """

    sums: Tensor
    rows: Tensor

    def __init__(self, num_classes: int, quantities: int, *, rank_average: bool = False) -> None:
        super().__init__()
        self.rank_average = rank_average
        self.register_buffer("sums", torch.zeros(quantities, num_classes, dtype=torch.float64))
        self.register_buffer("rows", torch.zeros((), dtype=torch.float64))

    def add(self, quantities: list[Tensor], valid: Tensor | None) -> None:
        """Add the rows of (N, C, *) tensors, without those that are not valid (N, *)."""
        for total, values in zip(self.sums, quantities, strict=True):
            if valid is not None:
                values = torch.where(valid.unsqueeze(1), values, torch.zeros_like(values))
            total += values.sum([d for d in range(values.dim()) if d != 1], dtype=torch.float64)
        first = quantities[0]
        self.rows += first.numel() // first.shape[1] if valid is None else valid.sum()

    def take(self) -> Tensor | None:
        """Return the (quantities, C) means over all processes and start anew; None if nothing was added."""
        sums, rows = self.sums.clone(), self.rows.clone()
        self.sums.zero_()
        self.rows.zero_()
        if self.rank_average:
            # A process without rows has no mean to give.
            sums, rows = sums / rows.clamp(min=1), (rows > 0).to(rows.dtype)
        sum_over_processes(sums, rows)
        return sums / rows if rows > 0 else None


class AugmentedLagrangian(nn.Module):
    r"""Multipliers $\lambda_k$ and penalty weights $\rho_k$ of an augmented Lagrangian, one pair a class.

    At the end of epoch j, counted from 0, with $P'$ the derivative of the penalty and $\bar\cdot$ the mean over
    the observed rows:

    - if `multiplier_every` divides j + 1, $\lambda_k \leftarrow \overline{P'(h_k, \rho_k, \lambda_k)}$, each
      row's value clamped to the bounds of the multipliers before the mean;
    - if `rho_every` divides j + 1, $\rho_k$ grows by `growth` where
      $\bar h_k > \tau \max(0, \bar h_k^{\mathrm{before}})$, which is that of the epoch before, or of the check
      before, as `rho_against` says.

    Args:
        num_classes: C.
        multipliers: start of $\lambda$, one number or one a class.
        rho: start of $\rho$, likewise.
        multiplier_bounds: the range of $\lambda$.
        rho_max: the upper bound of $\rho$; the lower is its start.
        multiplier_every: epochs between updates of $\lambda$; 0 or less keeps it as given.
        rho_every: epochs between checks of $\rho$; 0 or less keeps it as given.
        growth: factor of $\rho$, above 1.
        tau: the improvement that a class must show to keep its $\rho$.
        rho_against: "epoch" or "check".
        rank_average: see `ClassMeans`.
        reset_on_resume: leave the multipliers, the penalty weights and the means of the epoch before out of the
            state dict.
    """

    multipliers: Tensor
    rho: Tensor
    rho_min: Tensor
    previous: Tensor
    epoch: Tensor

    def __init__(
        self,
        num_classes: int,
        *,
        multipliers: object = 1e-6,
        rho: object = 1.0,
        multiplier_bounds: tuple[float, float] = (1e-6, 1e6),
        rho_max: float = 10.0,
        multiplier_every: int = 1,
        rho_every: int = 10,
        growth: float = 1.2,
        tau: float = 0.9,
        rho_against: RhoAgainst = "epoch",
        rank_average: bool = False,
        reset_on_resume: bool = False,
    ) -> None:
        super().__init__()
        check_choice("rho_against", rho_against, get_args(RhoAgainst))
        check_bounds(multiplier_bounds)
        if not growth > 0 or not rho_max > 0:
            raise InputError(f"growth and rho_max must lie above 0, not {growth} and {rho_max}.")
        self.multiplier_bounds, self.rho_max, self.rho_against = multiplier_bounds, rho_max, rho_against
        self.multiplier_every, self.rho_every = multiplier_every, rho_every
        self.growth, self.tau = growth, tau
        learned = {
            "multipliers": per_class(multipliers, num_classes, "multipliers"),
            "rho": per_class(rho, num_classes, "rho"),
            "rho_min": per_class(rho, num_classes, "rho"),
            "previous": torch.full((num_classes,), torch.nan, dtype=torch.float64),
        }
        if not (learned["rho"] > 0).all():
            raise InputError(f"rho must lie above 0, not {rho}: the penalty is divided by it.")
        for name, values in learned.items():
            self.register_buffer(name, values, persistent=not reset_on_resume)
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))
        self.means = ClassMeans(num_classes, 2, rank_average=rank_average)

    def observe(self, derivative: Tensor, h: Tensor, valid: Tensor | None) -> None:
        """Take note of $P'$ and h, both (N, C, *), of the rows that are valid (N, *)."""
        self.means.add([derivative.clamp(*self.multiplier_bounds), h], valid)

    def step(self) -> None:
        """Update both from what was observed in the epoch; without any observation nothing changes."""
        self.epoch += 1
        means = self.means.take()
        if means is None:
            return
        derivative, h = means
        if self.multiplier_every > 0 and self.epoch % self.multiplier_every == 0:
            self.multipliers.copy_(derivative.clamp(*self.multiplier_bounds))
        checked = self.rho_every > 0 and bool(self.epoch % self.rho_every == 0)
        if checked:
            # The first has no predecessor: a comparison with nan is false, and rho stays.
            worse = h > self.tau * self.previous.clamp(min=0)
            grown = torch.where(worse, self.growth * self.rho, self.rho)
            self.rho.copy_(torch.minimum(torch.maximum(grown, self.rho_min), self.rho.new_tensor(self.rho_max)))
        if checked or self.rho_against == "epoch":
            self.previous.copy_(h)


def check_bounds(bounds: tuple[float, float]) -> None:
    """Raise `InputError` unless the least and the greatest multiplier are in order."""
    if len(bounds) != 2 or not 0 <= bounds[0] <= bounds[1]:
        raise InputError(f"multiplier_bounds must be a least and a greatest value, from 0 on, not {bounds}.")


def per_class(values: object, num_classes: int, name: str) -> Tensor:
    """Return one float64 value a class from one number or (C,) of them; raises `InputError` otherwise."""
    if num_classes < 1:
        raise InputError(f"num_classes must be at least 1, not {num_classes}.")
    try:
        row = torch.as_tensor(values, dtype=torch.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name} must be a number or {num_classes} of them, not {values!r}.") from None
    if row.dim() == 0:
        row = row.repeat(num_classes)
    if row.shape != (num_classes,):
        raise InputError(f"{name} has shape {tuple(row.shape)}; give one value or {num_classes}, one a class.")
    if row.isnan().any():
        raise InputError(f"{name} must hold numbers, not NaN.")
    return row.clone()


def along_classes(per_class: Tensor, like: Tensor) -> Tensor:
    """Shape (C,) so that it broadcasts along the class axis of (N, C, *); raises `InputError` for another C."""
    if len(per_class) != like.shape[1]:
        raise InputError(
            f"The loss was built for {len(per_class)} classes, but the logits have {like.shape[1]}."
        )
    return per_class.to(like.dtype).reshape(-1, *[1] * (like.dim() - 2))
