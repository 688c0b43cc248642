"""Validation samples that teach a loss and do nothing else."""

from dataclasses import replace
from typing import Any

from calibrant.data.image_set import shuffled
from calibrant.errors import InputError


def set_apart(task: Any, count: int, seed: int) -> tuple[Any, Any]:
    """Divide the validation samples of a task: those that choose and calibrate, and those that only teach.

    A loss that learns from validation samples (the multipliers of CALS, the powers of AdaFocal) has then not
    seen those that choose its epoch and on which it is calibrated.

    Args:
        task: of any kind, such as an `ImageTask`.
        count: validation samples that teach.
        seed: seed of the shuffle whose first samples they are.

    Returns:
        The task without them, which says so in its note, and the samples, in the order of the split.

    Raises:
        InputError: none are left to choose and calibrate.

    Example:
        >>> from calibrant.data import create
        >>> task, teaching = set_apart(create("digits", val=400), 100, seed=1)
        >>> len(task.val), len(teaching)
        (300, 100)
    """
    samples = len(task.val)
    if not 1 <= count < samples:
        raise InputError(
            f"data.teach asks for {count:,} of {samples:,} validation samples, of which one or more must be "
            "left to choose the epoch and to calibrate: lower data.teach, or raise data.val."
        )
    order = shuffled(samples, seed)
    teaching, rest = (task.val.subset(part.sort().values) for part in (order[:count], order[count:]))
    said = f"{count:,} more validation samples teach the losses that learn from them, and do nothing else"
    return replace(task, val=rest, note=f"{task.note}; {said}" if task.note else said), teaching
