"""The inversion of a test: which multiples of a direction of gaps an observed statistic is likely under."""

import math
from collections.abc import Callable
from copy import copy

import torch
from torch import Tensor


def with_unseen(second: Tensor, gaps: Tensor, weights: Tensor, n: float, z_sq: float) -> tuple[Tensor, Tensor]:
    r"""Return the mean squares with what errors may be unseen, and the gaps if there are as many as can be.

    Sure predictions that are all right show no noise at all, though one in N may well be wrong. Where the
    squares of all residuals sum to less than $z^2$, the rest is added, spread as the samples are; and the
    accuracy may be lower by as much of the end of Wilson's interval for no error in N, $z^2/(N + z^2)$. A few
    errors suffice for nothing to be added; the gaps are then 0. Of several classes an error concerns two.
    """
    concerned, classes = (2, len(gaps)) if gaps.dim() > 1 else (1, 1)
    unseen = max(0.0, 1 - n * float(second.sum()) / (concerned * z_sq))
    if not unseen:
        return second, torch.zeros_like(gaps)
    share = unseen * concerned / classes * weights
    return second + z_sq / n * share, gaps + z_sq / (n + z_sq) * share


def accepted(replicates: Callable[[float], Tensor], observed: Tensor, level: float) -> tuple[float, float]:
    """Return the least and the greatest t at which `observed` is in the central `level` of the replicates."""

    def reaches(t: float) -> bool:
        drawn = replicates(t)
        return 1 + int((drawn >= observed).sum()) >= (1 - level) / 2 * (1 + len(drawn))

    low = _smallest(reaches)
    return low, max(low, greatest(replicates, observed, level))


def greatest(replicates: Callable[[float], Tensor], observed: Tensor, level: float) -> float:
    """Return the greatest t at which `observed` is not below the central `level` of the replicates."""

    def surpasses(t: float) -> bool:
        drawn = replicates(t)
        return 1 + int((drawn <= observed).sum()) < (1 - level) / 2 * (1 + len(drawn))

    return _smallest(surpasses)


def stretched(values: Tensor, factor: float) -> Tensor:
    """Multiply the deviations from the mean."""
    return values if factor == 1 else values.mean() + factor * (values - values.mean())


def white_noise(draws: int, like: Tensor, seed: int) -> Tensor:
    """Return (draws, ...) standard normal noise; fewer draws where each is long, which also varies less."""
    size = max(100, min(draws, 4_000_000 // max(like.numel(), 1)))
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((size, *like.shape), generator=generator, dtype=torch.float64).to(like.device)


class Scaled:
    """Replicates of the gaps when the truth is t times a direction, with common noise for every t.

    The covariance is (diag(v) - D D') / N, one such block a class. Its root applied to white noise z is
    sqrt(v) z minus a multiple of D itself: a replicate is `noise + factor * D`, one factor a draw and class.

    Args:
        direction: (..., bins) D at t = 1.
        second: (..., bins) v, the mean square of the residuals of each bin.
        n: number of samples N.
        white: (draws, ..., bins) standard normal noise.
    """

    def __init__(self, direction: Tensor, second: Tensor, n: float, white: Tensor) -> None:
        root = second.clamp(min=0).sqrt()
        unit = torch.where(root > 0, direction / root.clamp(min=1e-300), torch.zeros_like(direction))
        self.direction = direction
        self.length_sq = (unit * unit).sum(-1, keepdim=True).clamp(min=1e-300)
        self.along = (white * unit).sum(-1, keepdim=True) / math.sqrt(n)
        self.noise = white * (root / math.sqrt(n))

    def mapped(self, linear: Callable[[Tensor], Tensor]) -> "Scaled":
        """Return the replicates of a linear function of the gaps."""
        other = copy(self)
        other.noise, other.direction = linear(self.noise), linear(self.direction)
        return other

    def at(self, scale: float) -> Tensor:
        """Return (draws, ..., bins) replicates of the gaps at `scale` times the direction."""
        shrink = (1 - (1 - (scale * scale * self.length_sq).clamp(max=1.0)).sqrt()) / self.length_sq
        return torch.addcmul(self.noise, scale - shrink * self.along, self.direction)


def _smallest(accepts: Callable[[float], bool], steps: int = 10) -> float:
    """Return the smallest t >= 0 that is accepted, by doubling and bisection; `accepts` is monotone."""
    if accepts(0.0):
        return 0.0
    below, above = 0.0, 1.0
    while not accepts(above):
        below, above = above, 2 * above
        if above > 1e6:
            return above
    for _ in range(steps):
        middle = (below + above) / 2
        if accepts(middle):
            above = middle
        else:
            below = middle
    return above
