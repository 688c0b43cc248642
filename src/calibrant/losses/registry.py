"""Losses by name."""

from typing import Any

from torch import Tensor

from calibrant.losses.base import Loss
from calibrant.registry import Registry

LOSSES: Registry[Loss] = Registry("loss", "calibrant.losses")
register = LOSSES.register


def create(
    name: str,
    *,
    num_classes: int | None = None,
    class_counts: Tensor | list[int] | None = None,
    num_samples: int | None = None,
    **options: Any,
) -> Loss:
    """Build a loss by its name, as `timm.create_model` builds a network.

    Args:
        name: one of `list_losses()`.
        num_classes: number of classes C; passed on to the losses that need it.
        class_counts: (C,) number of training samples of each class; passed on to the losses that need it.
        num_samples: number of training samples; passed on to the losses that learn something for each.
        **options: the loss's own arguments.

    Raises:
        InputError: for an unknown name or option, with the nearest known one.

    Example:
        >>> create("ls", num_classes=10, alpha=0.1)
        LabelSmoothing(alpha=0.1, over=all)
    """
    known = {"num_classes": num_classes, "class_counts": class_counts, "num_samples": num_samples}
    return LOSSES.create(name, known, **options)


def list_losses() -> list[str]:
    """Return the names of all losses, those of other packages included.

    Example:
        >>> {"ce", "mbls", "acls"} <= set(list_losses())
        True
    """
    return LOSSES.names()
