"""Calibrators by name."""

from collections.abc import Sequence
from typing import Any

from calibrant.posthoc.base import Calibrator
from calibrant.registry import Registry

CALIBRATORS: Registry[Calibrator] = Registry("calibrator", "calibrant.calibrators")
register = CALIBRATORS.register


def create(
    name: str, *, num_classes: int | None = None, class_counts: Sequence[int] | None = None, **options: Any
) -> Calibrator:
    """Build a calibrator by its name.

    Args:
        name: one of `list_calibrators()`.
        num_classes: number of classes C; passed on to the calibrators that take it.
        class_counts: training samples of each class; passed on to the calibrators that take it.
        **options: the calibrator's own arguments.

    Raises:
        InputError: for an unknown name or option, with the nearest known one.

    Example:
        >>> create("temperature")
        TemperatureScaling(temperature=1)
    """
    return CALIBRATORS.create(name, {"num_classes": num_classes, "class_counts": class_counts}, **options)


def list_calibrators() -> list[str]:
    """Return the names of all calibrators, those of other packages included.

    Example:
        >>> "temperature" in list_calibrators()
        True
    """
    return CALIBRATORS.names()
