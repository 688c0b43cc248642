"""Class frequencies: what the long-tailed losses are told of the training set."""

from collections.abc import Iterable

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch
from calibrant.losses.multipliers import along_classes

Counts = Tensor | Iterable[float]


def check_counts(class_counts: Counts, *, positive: bool = True) -> Tensor:
    """Return the counts as a (C,) float64 tensor on the CPU.

    Args:
        class_counts: (C,) number of training samples of each class, in the order of the labels, not
            necessarily sorted.
        positive: whether every class needs at least one sample.

    Raises:
        InputError: not a list of numbers, fewer than two classes, a negative or infinite count, or an empty
            class where `positive`.

    Example:
        >>> check_counts([50, 3])
        tensor([50.,  3.], dtype=torch.float64)
        >>> check_counts([50, -3])
        Traceback (most recent call last):
        ...
        calibrant.errors.InputError: class_counts[1] is -3, but a number of samples is at least 0.
    """
    try:
        values = class_counts if isinstance(class_counts, Tensor) else list(class_counts)
        counts = torch.as_tensor(values, dtype=torch.float64).detach().cpu()
    except (TypeError, ValueError):
        raise InputError(
            f"class_counts must list the training samples of each class, not be {class_counts!r}."
        ) from None
    if counts.dim() != 1 or len(counts) < 2:
        raise InputError(
            f"class_counts must list the training samples of each of at least two classes, "
            f"not have the shape {tuple(counts.shape)}."
        )
    wrong = ~counts.isfinite() | (counts < 0)
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise InputError(f"class_counts[{at}] is {counts[at]:g}, but a number of samples is at least 0.")
    if positive and (counts == 0).any():
        at = int((counts == 0).nonzero()[0])
        raise InputError(
            f"class_counts[{at}] is 0, but this method divides by it or takes its logarithm: leave the class "
            "out, or give it a small positive count."
        )
    return counts


def is_label(batch: Batch) -> Tensor:
    """Return (N, C, *) bool, True at the labelled class; a comparison fuses where a scatter would not."""
    classes = torch.arange(batch.logits.shape[1], device=batch.target.device)
    return classes.view(1, -1, *[1] * (batch.logits.dim() - 2)) == batch.target.unsqueeze(1)


def of_label(batch: Batch, values: Tensor) -> Tensor:
    """Return (N, *): of (C,) values, that of the labelled class; the expectation under a soft target."""
    along = along_classes(values, batch.logits)
    return (along * batch.target).sum(1) if batch.soft else along.flatten()[batch.target]
