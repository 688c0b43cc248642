"""Labels: which of them count, and whether they are classes."""

from collections.abc import Iterable

from torch import Tensor

from calibrant.errors import InputError


def counted(target: Tensor, ignored: int | Iterable[int] | None) -> Tensor | None:
    """Return where labels count; None where nothing is ignored.

    Args:
        target: (N, *) integer labels.
        ignored: label, or labels, that do not count.
    """
    valid: Tensor | None = None
    for label in (ignored,) if isinstance(ignored, int) else ignored or ():
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
        raise InputError(
            f"Label {int(target[where])} at position {where} is outside [0, {classes}); "
            "if it marks what should not count, pass it as ignore_index."
        )
