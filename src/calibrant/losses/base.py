"""The contract of every loss: shapes, targets, ignored labels, precision and reduction, in one place.

A method subclasses `Loss` and writes `formula` alone: the value of each of its terms for every row, on
(N, C, *) as it comes. A *row* is one prediction: an image in classification, a pixel in segmentation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn, TypedDict

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.labels import check_labels, counted, labels_of
from calibrant.precision import KeepsDouble

Reduction = Literal["none", "mean", "sum"]


class Settings(TypedDict, total=False):
    """What every loss takes, by keyword; `Loss` says what each is."""

    weight: Tensor | Iterable[float] | None
    ignore_index: int | Iterable[int] | None
    reduction: Reduction


@dataclass(frozen=True)
class Batch:
    """What a formula sees: checked, in float32 or float64, with the class axis second.

    Attributes:
        logits: (N, C, *) real.
        target: (N, *) class indices, an ignored one replaced by 0; or (N, C, *) probabilities.
        valid: (N, *) bool, False where the label is ignored; None when every row counts.
        index: (N,) ids of the samples, for the methods that learn per sample.
    """

    logits: Tensor
    target: Tensor
    valid: Tensor | None
    index: Tensor | None

    @property
    def soft(self) -> bool:
        """Whether the targets are probabilities."""
        return self.target.is_floating_point()

    def at_target(self, values: Tensor) -> Tensor:
        """Take from (N, C, *) the (N, *) values of the labelled class; the expectation under a soft target."""
        if self.soft:
            return (values * self.target).sum(1)
        return values.gather(1, self.target.unsqueeze(1)).squeeze(1)

    def labels(self) -> Tensor:
        """Return (N, *) class indices; the most probable class of a soft target."""
        return self.target.argmax(1) if self.soft else self.target

    def onehot(self) -> Tensor:
        """Return the target as (N, C, *) probabilities."""
        if self.soft:
            return self.target
        return torch.zeros_like(self.logits).scatter(1, self.target.unsqueeze(1), 1.0)

    def correct(self) -> Tensor:
        """Return (N, *) ones where the largest logit is that of the label, zeros elsewhere; no gradient."""
        # max names the first of tied maxima, as argmax does, in a quarter of its time on a strided class axis.
        return (self.logits.detach().max(1).indices == self.labels()).to(self.logits.dtype)

    def keep(self, rows: Tensor) -> Tensor:
        """Set the ignored rows of (N, *) to zero."""
        return rows if self.valid is None else torch.where(self.valid, rows, torch.zeros_like(rows))

    def count(self) -> Tensor:
        """Return the number of rows that count, at least 1, as a float."""
        if self.valid is None:
            rows = self.logits.numel() // self.logits.shape[1]
            return self.logits.new_tensor(float(max(rows, 1)))
        return self.valid.sum().clamp(min=1).to(self.logits.dtype)

    def mean(self, rows: Tensor) -> Tensor:
        """Return the mean of (N, *) over the rows that count; 0 when there are none."""
        return self.keep(rows).sum() / self.count()

    def mean_of_all(self, rows: Tensor) -> Tensor:
        """Return the mean of (N, *) over all rows, the ignored ones too; 0 when there are none."""
        return rows.sum() / max(rows.numel(), 1)

    def class_mean(self, values: Tensor) -> Tensor:
        """Return the mean of (N, C, *) over the rows that count, (C,)."""
        if self.valid is not None:
            values = torch.where(self.valid.unsqueeze(1), values, torch.zeros_like(values))
        return values.sum([d for d in range(values.dim()) if d != 1]) / self.count()


class Loss(KeepsDouble):
    r"""A loss on logits: $L = \frac{1}{n} \sum_i \sum_t w_t \, \ell_t(z_i, y_i)$ over the $n$ rows that count.

    Args:
        weight: (C,) weights of the classes. A row with label y weighs `weight[y]`, and the mean divides by the
            sum of those weights, as in `torch.nn.CrossEntropyLoss`; with soft targets a row weighs the
            expectation of the weight under its target.
        ignore_index: label, or labels, whose rows count nowhere; None for none.
        reduction: "mean" over the rows that count, "sum", or "none" for one value a row (0 where ignored).

    Shape:
        - logits: (N, C, *) real; half precision is computed in float32.
        - target: (N, *) integer class indices, or (N, C, *) probabilities where the method admits them.
        - output: a scalar, or (N, *) under reduction "none".

    Raises:
        InputError: shapes that do not fit, a label outside [0, C) that is not ignored, soft targets that do not
            sum to 1, NaN or infinite logits (minus infinity masks a class). Values are looked at on the CPU,
            where looking is free; set `check_values = True` to look on an accelerator too, at the price of a
            synchronisation, or False to never look.

    A loss that learns from training batches (`observes`) keeps its sums in buffers: in a training loop of your
    own leave it outside of what `DistributedDataParallel` wraps, which would overwrite them with those of the
    first process; `step_epoch` adds the sums of all processes.

    A batch without a row that counts gives 0 with a zero gradient. `terms` holds the parts of the last call by
    name: their means over the rows, before `term_weights`, detached.
    """

    #: Whether (N, C, *) probabilities are admitted as targets.
    soft_targets: ClassVar[bool] = True
    #: Whether a term is defined on the batch as a whole, so that no value a row exists.
    batch_level: bool = False
    #: Whether the ids of the samples must be passed as `index`.
    needs_index: bool = False
    #: Whether a row sees its neighbours, so that logits need spatial axes: (N, C, H, W).
    spatial: ClassVar[bool] = False
    #: Whether the logits are (N, 1, *) and the targets maps of the same shape in [0, 1].
    binary: ClassVar[bool] = False
    #: Whether a call draws random numbers.
    stochastic: bool = False

    check_values: bool | None = None
    weight: Tensor | None

    def __init__(
        self,
        *,
        weight: Tensor | Iterable[float] | None = None,
        ignore_index: int | Iterable[int] | None = -100,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        check_choice("reduction", reduction, ("none", "mean", "sum"))
        if reduction == "none" and self.batch_level:
            self._refuse_rows()
        self.reduction = reduction
        self.ignored = labels_of(ignore_index)
        self.register_buffer("weight", _class_weights(weight), persistent=False)
        self.terms: dict[str, Tensor] = {}

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms by name: (N, *) for a term of each row, a scalar for one of the whole batch."""
        raise InputError(f"{type(self).__name__} must define formula(batch).")

    def term_weights(self) -> Mapping[str, float]:
        """Return the factor of each term in the total; 1 for a name that is not mentioned."""
        return {}

    @property
    def weighs_classes(self) -> bool:
        """Whether the loss weighs the classes already, so that `reweight` would undo or repeat it."""
        return self.weight is not None

    def reweight(self, weights: Tensor) -> None:
        """Take (C,) new weights of the classes, as deferred re-weighting gives them in each epoch."""
        self.weight = weights

    @property
    def observes(self) -> frozenset[Literal["train", "validation"]]:
        """The batches that `observe` is to be shown: "train", with their `index`, or "validation", without.

        A loss that learns per sample is shown those of training, any other those of validation.
        """
        return frozenset({"train"} if self.needs_index else {"validation"})

    def observe(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> None:
        """Take note of a batch, without gradient. A loss that learns gathers its statistics here."""

    def step_epoch(self) -> None:
        """End an epoch. A loss that learns updates its state here from what it observed."""

    def class_state(self) -> dict[str, Tensor]:
        """Return by name the (C,) values that the loss has learned for each class; empty where it learns none.

        Training writes them down after each epoch, and the report shows their course.
        """
        return {}

    def forward(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> Tensor:
        """Return the loss of a batch."""
        if self.needs_index and index is None:
            name = type(self).__name__
            raise InputError(f"{name} learns per sample: pass index=ids, the ids of the samples of the batch.")
        with torch.autocast(logits.device.type, enabled=False):
            batch = self.prepare(logits, target, index)
            loss = self._combine(batch, self.formula(batch))
        if self._looks_at(logits) and not torch.isfinite(loss).all():
            _refuse_nan(logits, batch.valid)
        return loss

    def prepare(self, logits: Tensor, target: Tensor, index: Tensor | None = None) -> Batch:
        """Check a batch and bring it into the form that `formula` sees."""
        self._check_shapes(logits, target)
        check_index(index, len(logits))
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if target.is_floating_point():
            if self._looks_at(logits):
                _check_sums(target)
            return Batch(logits, target.to(logits.dtype), None, index)
        target = target.long()
        valid = counted(target, self.ignored)
        if self._looks_at(logits):
            check_labels(target, valid, logits.shape[1])
        if valid is not None:
            target = torch.where(valid, target, torch.zeros_like(target))
        return Batch(logits, target, valid, index)

    def extra_repr(self) -> str:
        """Show the plain settings."""
        shown = {k: v for k, v in vars(self).items() if isinstance(v, int | float | str) and k[0] != "_"}
        unsaid = {"training": self.training, "reduction": "mean"}
        return ", ".join(f"{k}={v}" for k, v in shown.items() if unsaid.get(k) != v)

    def _refuse_rows(self) -> NoReturn:
        raise InputError(
            f"{type(self).__name__} is defined on a batch here, not on a row: reduction='none' does not exist "
            "for it; use 'mean' or 'sum'."
        )

    def _looks_at(self, logits: Tensor) -> bool:
        if torch.compiler.is_compiling():
            return False
        return logits.device.type == "cpu" if self.check_values is None else self.check_values

    def _check_shapes(self, logits: Tensor, target: Tensor) -> None:
        name = type(self).__name__
        if logits.dim() < 2 or not logits.is_floating_point():
            got = f"{logits.dtype} of shape {tuple(logits.shape)}"
            raise InputError(f"{name} takes real logits of shape (N, C, *), not {got}.")
        rows = logits.shape[:1] + logits.shape[2:]
        if target.is_floating_point():
            if target.shape != logits.shape:
                raise InputError(
                    f"Target of shape {tuple(target.shape)} and type {target.dtype} fits no logits of shape "
                    f"{tuple(logits.shape)}: give integer labels {tuple(rows)} or probabilities "
                    f"{tuple(logits.shape)}."
                )
            if not self.soft_targets:
                raise InputError(f"{name} takes class indices (N, *), not probabilities (N, C, *).")
        elif target.shape != rows:
            raise InputError(
                f"Target of shape {tuple(target.shape)} fits no logits of shape {tuple(logits.shape)}: "
                f"labels must have shape {tuple(rows)}."
            )
        if self.weight is not None and self.weight.shape != logits.shape[1:2]:
            raise InputError(
                f"weight has shape {tuple(self.weight.shape)} but the logits have {logits.shape[1]} classes."
            )

    def _row_weight(self, batch: Batch) -> Tensor | None:
        if self.weight is None:
            return None
        weight = self.weight.to(batch.logits.dtype)
        if not batch.soft:
            return batch.keep(weight[batch.target])
        return torch.einsum("nc...,c->n...", batch.target, weight)

    def _combine(self, batch: Batch, terms: dict[str, Tensor]) -> Tensor:
        factors = self.term_weights()
        row_weight = self._row_weight(batch)
        self.terms = {
            name: (value if value.dim() == 0 else batch.mean(value)).detach() for name, value in terms.items()
        }
        rows, whole = None, None
        for name, value in terms.items():
            factor = factors.get(name, 1.0)
            part = value if isinstance(factor, float) and factor == 1.0 else factor * value
            if value.dim() == 0:
                whole = part if whole is None else whole + part
            else:
                rows = part if rows is None else rows + part
        if rows is None:
            assert whole is not None
            return whole * batch.count() if self.reduction == "sum" else whole
        rows = batch.keep(rows)
        if row_weight is not None:
            rows = rows * row_weight
        if self.reduction == "none":
            if whole is not None:
                self._refuse_rows()
            return rows
        total = rows.sum()
        if self.reduction == "sum":
            return total if whole is None else total + whole * batch.count()
        if row_weight is None:
            mean = total / batch.count()
        else:
            mass = row_weight.sum()
            mean = total / torch.where(mass > 0, mass, torch.ones_like(mass))
        return mean if whole is None else mean + whole


def _class_weights(weight: Tensor | Iterable[float] | None) -> Tensor | None:
    try:
        return None if weight is None else torch.as_tensor(weight).float()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"weight must be one number for each class, not {weight!r}.") from None


def check_index(index: Tensor | None, rows: int) -> None:
    """Raise `InputError` for ids of samples that are no (N,) integers."""
    if index is None:
        return
    if not isinstance(index, Tensor) or index.shape != (rows,) or index.is_floating_point():
        got = f"{index.dtype} of shape {tuple(index.shape)}" if isinstance(index, Tensor) else repr(index)
        raise InputError(
            f"index must be the ids of the samples, an integer tensor of shape ({rows},), not {got}."
        )


#: How far from 1 soft targets may sum; a softmax in bfloat16 reaches 0.004.
_SUM_TOLERANCE = 0.01


def _check_sums(target: Tensor) -> None:
    # Values below 0 are allowed: the target that a loss implies may have some.
    mass = target.sum(1, dtype=torch.promote_types(target.dtype, torch.float32))
    wrong = ~((mass - 1).abs() <= _SUM_TOLERANCE)
    if not wrong.any():
        return
    where = tuple(int(i) for i in wrong.nonzero()[0])
    raise InputError(
        f"The target of row {where if len(where) > 1 else where[0]} sums to {float(mass[where]):.4g}, but a "
        "soft target holds probabilities, which sum to 1; normalise it, or, to leave rows out, give integer "
        "labels with ignore_index."
    )


def _refuse_nan(logits: Tensor, valid: Tensor | None) -> None:
    # A class may be masked by minus infinity.
    bad = logits.isnan() | (logits == torch.inf)
    if valid is not None:
        bad &= valid.unsqueeze(1)
    if bad.any():
        where = tuple(int(i) for i in bad.nonzero()[0])
        value = "NaN" if logits[where].isnan() else "inf"
        raise InputError(
            f"The logits hold {value}, first at position {where}; lower the learning rate, clip the gradient, "
            "or look for such values in the input."
        )
