"""The contract of every calibrator: what is checked before a fit, and what a method adds."""

from collections.abc import Iterable
from typing import Self

import torch
from torch import Tensor, nn

from calibrant.errors import InputError


class ConvergenceWarning(UserWarning):
    """A calibrator was fitted, but what it looked for does not exist or was not reached."""


class Calibrator(nn.Module):
    """A map from logits to better calibrated logits, fitted on held-out predictions.

    A method subclasses it, registers buffers that end in `_` for what it learns, and writes `fit_rows` and
    `forward`. `fit` is deterministic, asks for no learning rate, and the state is in `state_dict`.
    """

    @torch.no_grad()
    def fit(self, logits: Tensor, target: Tensor, ignore_index: int | Iterable[int] | None = None) -> Self:
        """Fit to held-out predictions.

        Args:
            logits: (N, C, *) real.
            target: (N, *) integer labels.
            ignore_index: label, or labels, whose rows count nowhere.

        Returns:
            The calibrator itself.

        Raises:
            InputError: no row that counts, a label outside [0, C), NaN or infinite logits, shapes that do not
                fit.
        """
        name = type(self).__name__
        if logits.dim() < 2 or not logits.is_floating_point() or logits.shape[1] < 2:
            raise InputError(
                f"{name} takes real logits of shape (N, C, *) with at least 2 classes, not {logits.dtype} of "
                f"shape {tuple(logits.shape)}."
            )
        if target.is_floating_point() or target.shape != logits.shape[:1] + logits.shape[2:]:
            raise InputError(
                f"Target of shape {tuple(target.shape)} and type {target.dtype} fits no logits of shape "
                f"{tuple(logits.shape)}: give integer labels {tuple(logits.shape[:1] + logits.shape[2:])}."
            )
        rows = logits.detach().movedim(1, -1).reshape(-1, logits.shape[1])
        labels = target.reshape(-1).long()
        if ignore_index is not None:
            ignored = [ignore_index] if isinstance(ignore_index, int) else [int(i) for i in ignore_index]
            kept = ~torch.isin(labels, labels.new_tensor(ignored))
            rows, labels = rows[kept], labels[kept]
        if not len(labels):
            raise InputError(f"{name} has nothing to fit: there is no row, or every label is ignored.")
        wrong = (labels < 0) | (labels >= logits.shape[1])
        if wrong.any():
            raise InputError(
                f"Label {int(labels[wrong][0])} is outside [0, {logits.shape[1]}); "
                "if it marks what should not count, pass it as ignore_index."
            )
        # A sum is one pass without a temporary; the exact place is sought only once something is wrong.
        if not rows.sum().isfinite() and (bad := ~rows.isfinite()).any():
            row, column = (int(i) for i in bad.nonzero()[0])
            raise InputError(
                f"The logits hold {float(rows[row, column])}, first in row {row} that counts, class {column}; "
                "remove such rows before fitting."
            )
        self.fit_rows(rows, labels)
        return self

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Fit to (n, C) finite logits and (n,) labels in [0, C), n >= 1; without gradient."""
        raise InputError(f"{type(self).__name__} must define fit_rows(logits, labels).")

    def forward(self, logits: Tensor) -> Tensor:
        """Return calibrated logits of the same shape, type and device."""
        raise InputError(f"{type(self).__name__} must define forward(logits).")
