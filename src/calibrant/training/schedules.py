"""Learning rates as a function of the epoch alone, so that a resumed run needs no memory of them."""

import math

from calibrant.training.recipe import ScheduleConfig


def rate_factor(schedule: ScheduleConfig, epoch: int, epochs: int) -> float:
    """Return what the learning rate is multiplied by in a 0-based epoch of `epochs`.

    Example:
        >>> multistep = ScheduleConfig("multistep", milestones=[2, 4])
        >>> [round(rate_factor(multistep, epoch, 6), 3) for epoch in range(6)]
        [1.0, 1.0, 0.1, 0.1, 0.01, 0.01]
        >>> [round(rate_factor(ScheduleConfig("cosine", warmup=2), epoch, 4), 3) for epoch in range(4)]
        [0.5, 1.0, 0.5, 0.146]
        >>> slow = ScheduleConfig("constant", warmup=2, warmup_start=0.5)
        >>> [rate_factor(slow, epoch, 4) for epoch in range(4)]
        [0.5, 0.75, 1.0, 1.0]
    """
    if epoch < schedule.warmup:
        if schedule.warmup_start is None:
            return (epoch + 1) / schedule.warmup
        return schedule.warmup_start + (1 - schedule.warmup_start) * epoch / schedule.warmup
    if schedule.name == "multistep":
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    if schedule.name == "cosine":
        return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    if schedule.name == "compounding":
        return compounding_factor(epoch, gamma=schedule.gamma, every=schedule.every)
    return 1.0


def compounding_factor(epoch: int, *, gamma: float, every: int) -> float:
    r"""Return the factor of a rate that falls faster and faster.

    It is $\prod_{e=1}^{epoch} \gamma^{\lfloor e / n \rfloor}$: the published training of ASLP applies the
    factor of a step schedule, with gamma 0.95 and n = 10, again after every epoch.

    Args:
        epoch: 0-based.
        gamma: factor.
        every: n, epochs of a period.

    Example:
        >>> [round(compounding_factor(epoch, gamma=0.95, every=10), 4) for epoch in (9, 10, 11, 20, 29)]
        [1.0, 0.95, 0.9025, 0.5404, 0.2146]
    """
    return math.prod(gamma ** (e // every) for e in range(1, epoch + 1))
