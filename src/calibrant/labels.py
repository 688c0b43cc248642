"""Labels: which of them count, and whether they are classes."""

import operator
from collections.abc import Iterable

from torch import Tensor

from calibrant.errors import InputError


def labels_of(ignore_index: int | Iterable[int] | None) -> tuple[int, ...]:
    """Return the labels that do not count.

    Raises:
        InputError: something other than whole numbers.

    Example:
        >>> labels_of(255), labels_of([0, 255]), labels_of(None)
        ((255,), (0, 255), ())
    """
    if ignore_index is None:
        return ()
    try:
        return (operator.index(ignore_index),)  # type: ignore[arg-type]
    except TypeError:
        pass
    try:
        return tuple(operator.index(label) for label in ignore_index)  # type: ignore[union-attr]
    except TypeError:
        raise InputError(
            f"ignore_index must be one label or several, whole numbers, not {ignore_index!r}."
        ) from None


def counted(target: Tensor, ignored: int | Iterable[int] | None) -> Tensor | None:
    """Return where labels count; None where nothing is ignored.

    Args:
        target: (N, *) integer labels.
        ignored: label, or labels, that do not count, as `labels_of` takes them.
    """
    valid: Tensor | None = None
    # A loss knows them already, and is compiled.
    for label in ignored if isinstance(ignored, tuple) else labels_of(ignored):
        differs = target != label
        valid = differs if valid is None else valid & differs
    return valid


def check_labels(target: Tensor, valid: Tensor | None, classes: int) -> None:
    """Raise `InputError` for the first label outside [0, classes) that counts.

    Args:
        target: (N, *) integer labels.
        valid: (N, *) which count, as `counted` returns it; None for all.
        classes: C.
    """
    wrong = (target < 0) | (target >= classes)
    if valid is not None:
        wrong &= valid
    if wrong.any():
        where = tuple(int(i) for i in wrong.nonzero()[0])
        label = int(target[where])
        remedy = (
            f"if yours are 1 to {classes}, subtract 1."
            if label == classes
            else "if it marks what should not count, pass it as ignore_index."
        )
        raise InputError(f"Label {label} at position {where} is outside [0, {classes}); {remedy}")
