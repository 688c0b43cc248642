"""The contract of every calibrator: what is checked before a fit, and what a method adds."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.labels import check_labels, counted
from calibrant.precision import KeepsDouble

#: What a probability of 0 counts as where its logarithm must be a number.
LEAST = 1e-12


class ConvergenceWarning(UserWarning):
    """A calibrator was fitted, but what it looked for does not exist or was not reached."""


class Calibrator(KeepsDouble):
    """A map from logits to better calibrated logits, fitted on held-out predictions.

    A method subclasses it, registers buffers that end in `_` for what it learns, keeps each argument of its
    constructor in an attribute of the same name, and writes `fit_rows` and `forward`. `fit` is deterministic,
    asks for no learning rate, and the state is in `state_dict`.
    """

    #: Whether the largest logit of a row stays the largest, so that accuracy never changes.
    keeps_argmax: ClassVar[bool] = False
    #: Whether the likelihood of the data of the fit never falls: the identity is among what a fit chooses from.
    improves_nll: ClassVar[bool] = True
    #: Whether renaming the classes renames the result.
    equivariant: ClassVar[bool] = True
    #: Whether a row sees its neighbours in maps (N, C, H, W), so that maps are not treated as rows.
    spatial: ClassVar[bool] = False
    #: Whether the result jumps, so that rounding of the logits can move a row over a step.
    jumps: ClassVar[bool] = False

    #: Whether what the fit looked for was found.
    converged_: bool = False

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of the constructor by name, as they are."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

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
        self.fit_rows(*self.checked(logits, target, ignore_index))
        return self

    def checked(
        self, logits: Tensor, target: Tensor, ignore_index: int | Iterable[int] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the (n, C) rows that count and their (n,) labels; raises as `fit` says."""
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
        valid = counted(target, ignore_index)
        check_labels(target, valid, logits.shape[1])
        labels = target.reshape(-1).long()
        if valid is not None:
            rows, labels = rows[valid.reshape(-1)], labels[valid.reshape(-1)]
        if not len(labels):
            raise InputError(f"{name} has nothing to fit: there is no row, or every label is ignored.")
        # A sum is one pass without a temporary; the exact place is sought only once something is wrong.
        if not rows.sum().isfinite() and (bad := ~rows.isfinite()).any():
            row, column = (int(i) for i in bad.nonzero()[0])
            raise InputError(
                f"The logits hold {float(rows[row, column])}, first in row {row} that counts, class {column}; "
                "remove such rows before fitting."
            )
        return rows, labels

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Fit to (n, C) finite logits and (n,) labels in [0, C), n >= 1; without gradient."""
        raise InputError(f"{type(self).__name__} must define fit_rows(logits, labels).")

    def forward(self, logits: Tensor) -> Tensor:
        """Return calibrated logits of the same shape, type and device."""
        raise InputError(f"{type(self).__name__} must define forward(logits).")

    def get_extra_state(self) -> Tensor:
        """Return how the fit ended, as a tensor, so that any format can hold it."""
        return torch.tensor([self.converged_], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over how the fit ended."""
        self.converged_ = bool(state[0])

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any, **options: Any
    ) -> None:
        # What a fit learns has the shape that the data gave it: a new calibrator takes it over.
        for name, buffer in self._buffers.items():
            given = state_dict.get(prefix + name)
            if buffer is not None and isinstance(given, Tensor) and given.shape != buffer.shape:
                self._buffers[name] = torch.empty_like(given, device=buffer.device)
        super()._load_from_state_dict(state_dict, prefix, *arguments, **options)


class RowCalibrator(Calibrator):
    """A calibrator that treats each row by itself, in at least float32, and must be fitted before use.

    A method writes `fit_rows` and `mend`, and sets `classes_` by `_learned`.
    """

    classes_: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("classes_", torch.zeros((), dtype=torch.int64))

    def forward(self, logits: Tensor) -> Tensor:
        """Return calibrated logits of the same shape, type and device; log-probabilities of some methods.

        Raises:
            InputError: before `fit`, or for another number of classes than that of the fit.
        """
        check_classes(self, int(self.classes_), logits)
        work = torch.promote_types(logits.dtype, torch.float32)
        return self.mend(logits.movedim(1, -1).to(work)).movedim(-1, 1).to(logits.dtype)

    def mend(self, rows: Tensor) -> Tensor:
        """Return calibrated logits of (*, C) logits."""
        raise InputError(f"{type(self).__name__} must define mend(rows).")

    def _learned(self, **values: Tensor) -> None:
        """Keep what a fit found."""
        for name, value in values.items():
            self._buffers[name] = value.to(self.classes_.device).clone()

    def extra_repr(self) -> str:
        """Show the number of classes of the fit."""
        return f"classes={int(self.classes_)}" if int(self.classes_) else "not fitted"


def check_classes(calibrator: Calibrator, classes: int, logits: Tensor) -> None:
    """Raise `InputError` unless the calibrator was fitted to as many classes as the logits have."""
    name = type(calibrator).__name__
    if not classes:
        raise InputError(f"{name} is not fitted; call fit(logits, target) first.")
    if logits.dim() < 2 or logits.shape[1] != classes or not logits.is_floating_point():
        raise InputError(
            f"{name} was fitted to {classes} classes; it takes real logits of shape (N, {classes}, *), not "
            f"{logits.dtype} of shape {tuple(logits.shape)}."
        )
