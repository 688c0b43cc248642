r"""AdaFocal: focal loss whose power follows the calibration error of each confidence bin."""

from typing import Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.focal import focal
from calibrant.losses.multipliers import sum_over_processes
from calibrant.losses.registry import register

CELLS = 8192


@register("adafocal")
class AdaFocal(Loss):
    r"""Focal loss with a power a confidence bin, learned on validation data.

    A sample belongs to the bin of its label's probability p. With the bin's power $\gamma > 0$ its loss is
    $-(1-p)^\gamma \log p$; with $\gamma < 0$ it is $-(1+p)^{|\gamma|} \log p$, inverse focal. At the end of an
    epoch, with gap = mean confidence - accuracy of the observed samples of the bin,

    $$\gamma \leftarrow \gamma \, e^{\pm\lambda \, \mathrm{gap}}, \quad + \text{ where } \gamma > 0,$$

    and where $|\gamma|$ falls below the switch point it changes its sign: over-confident bins are focused more,
    under-confident ones sharpened. The bins are of equal mass in the observed confidences, read from a
    histogram of 8,192 cells. Call `observe` on every validation batch and `step_epoch` after each epoch.

    Args:
        bins: number of bins.
        rate: $\lambda$, how fast the powers move.
        gamma: power of every bin at the start.
        switch: S > 0, the size at which a power changes its sign.
        gamma_range: the range of the powers.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> loss = AdaFocal(bins=2)
        >>> logits, target = torch.tensor([[3.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 1])
        >>> loss.observe(logits, target)
        >>> loss.step_epoch()
        >>> loss.gamma
        tensor([1.5724, 1.0000], dtype=torch.float64)

    Ghosh, Schaaf, Gormley: "AdaFocal: Calibration-aware Adaptive Focal Loss", NeurIPS 2022.
    """

    soft_targets = False
    gamma: Tensor
    upper: Tensor
    histogram: Tensor

    def __init__(
        self,
        bins: int = 15,
        *,
        rate: float = 1.0,
        gamma: float = 1.0,
        switch: float = 0.2,
        gamma_range: tuple[float, float] = (-2.0, 20.0),
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if bins < 1 or switch <= 0:
            raise InputError(
                f"AdaFocal needs at least 1 bin and a switch point above 0, not {bins} and {switch}."
            )
        if len(gamma_range) != 2 or not gamma_range[0] <= gamma <= gamma_range[1]:
            raise InputError(
                f"gamma must lie in gamma_range, a least and a greatest: not {gamma} in {gamma_range}."
            )
        self.bins, self.rate, self.switch, self.gamma_range = bins, rate, switch, gamma_range
        self.register_buffer("gamma", torch.full((bins,), gamma, dtype=torch.float64))
        edges = torch.arange(1, bins, dtype=torch.float64) / bins
        self.register_buffer("upper", edges)
        self.register_buffer("histogram", torch.zeros(3, CELLS, dtype=torch.float64))

    def gamma_of(self, p: Tensor) -> Tensor:
        """Return the power of the bin of each probability in `p`, any shape."""
        return self.gamma[torch.bucketize(p.double(), self.upper)].to(p.dtype)

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the focal or inverse focal loss of each row."""
        log_p = batch.at_target(batch.logits.log_softmax(1))
        p = log_p.exp()
        gamma = self.gamma_of(p.detach())
        inverse = -((1 + p) ** gamma.abs()) * log_p
        return {"focal": torch.where(gamma > 0, focal(log_p, gamma.abs()), inverse)}

    @torch.no_grad()
    def observe(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> None:
        """Take note of the confidences of a validation batch and of which were right."""
        batch = self.prepare(logits, target, index)
        confidence = batch.logits.softmax(1).amax(1)
        correct = batch.correct()
        if batch.valid is not None:
            confidence, correct = confidence[batch.valid], correct[batch.valid]
        confidence, correct = confidence.flatten().double(), correct.flatten().double()
        cell = (confidence * CELLS).long().clamp(0, CELLS - 1)
        for row, values in zip(self.histogram, (torch.ones_like(confidence), confidence, correct), strict=True):
            row.index_add_(0, cell, values)

    def step_epoch(self) -> None:
        """Move the bins and their powers; without any observation nothing changes."""
        sum_over_processes(self.histogram)
        count, confidence, correct = self.histogram.clone()
        self.histogram.zero_()
        total = count.sum()
        if total == 0:
            return
        wanted = torch.arange(1, self.bins, device=count.device, dtype=count.dtype) * total / self.bins
        self.upper.copy_((torch.searchsorted(count.cumsum(0), wanted) + 1) / CELLS)
        centre = (torch.arange(CELLS, device=count.device, dtype=count.dtype) + 0.5) / CELLS
        member = torch.bucketize(centre, self.upper)
        gap = torch.zeros_like(self.gamma).index_add_(0, member, confidence - correct)
        mass = torch.zeros_like(self.gamma).index_add_(0, member, count)
        self.move(gap / mass.clamp(min=1))

    def move(self, gap: Tensor) -> None:
        """Move the power of each bin by its gap between mean confidence and accuracy, (bins,)."""
        moved = self.gamma * torch.exp(self.rate * torch.where(self.gamma > 0, gap, -gap))
        switched = torch.where(moved > 0, -self.switch, self.switch)
        moved = torch.where(moved.abs() < self.switch, switched, moved)
        self.gamma.copy_(moved.clamp(*self.gamma_range))
