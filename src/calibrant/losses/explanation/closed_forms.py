r"""The implied targets in closed form: where they are kept, and how one is found.

`NOTATION` says what the letters of the formulas are; others are options of the loss.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss
from calibrant.losses.explanation.implied import probabilities

NOTATION = (
    "y: the label, one-hot (maps: of the object). z: logits. p: their softmax. p_y: the probability of the "
    "label. ŷ: the predicted class, h one-hot, r its probability. d: how far a logit lies below the largest. "
    "C: classes. n: rows. H: entropy of p. [ ]: 1 where true, else 0. M: margin (M₊ of the predicted "
    "class, M₋ of the others). σ: sigmoid. Other letters: options of the loss."
)

Target = Callable[[Any, Batch], Tensor]
#: A text, or what makes it of the options of a loss; likewise a truth.
Formula = str | Callable[[Any], str]
Condition = bool | Callable[[Any], bool]


@dataclass(frozen=True)
class ClosedForm:
    """The implied target of a loss, without differentiation.

    Attributes:
        formula: one line, in the letters of `NOTATION`.
        target: gives the (N, C, *) implied target of a loss and a checked batch of labels.
        conditional: whether there are rows whose implied target is their label, to the last bit, and others
            whose is not.
    """

    formula: str
    target: Target
    conditional: bool


@dataclass(frozen=True)
class _Entry:
    kind: type[Loss]
    formula: Formula
    target: Target
    conditional: Condition


_ENTRIES: dict[type[Loss], _Entry] = {}


def register_closed_form(
    *kinds: type[Loss], formula: Formula, conditional: Condition = False
) -> Callable[[Target], Target]:
    """Return the decorator that files a function as the implied target of losses.

    Args:
        *kinds: classes of losses. A subclass that computes something else does not inherit it.
        formula: one line, or a function that makes it of a loss.
        conditional: as in `ClosedForm`, or a function of a loss.

    Example:
        >>> from calibrant.losses import CrossEntropy
        >>> class Mine(CrossEntropy):
        ...     def formula(self, batch):
        ...         return {"half": 0.5 * super().formula(batch)["ce"]}
        >>> closed_form(Mine()) is None
        True
        >>> @register_closed_form(Mine, formula="(p + y) / 2")
        ... def mine(loss, batch):
        ...     return (batch.logits.softmax(1) + batch.onehot()) / 2
        >>> closed_form(Mine()).formula
        '(p + y) / 2'
    """

    def file(target: Target) -> Target:
        for kind in kinds:
            _ENTRIES[kind] = _Entry(kind, formula, target, conditional)
        return target

    return file


def closed_form(loss: Loss) -> ClosedForm | None:
    r"""Return the closed form of the target that a loss implies; None where there is none.

    Args:
        loss: any loss. Without one are losses of other packages that registered none, and losses that are
            defined on a batch where they have class weights.

    Example:
        >>> from calibrant.losses import MarginLoss
        >>> closed_form(MarginLoss(margin=6.0)).formula
        'y + (α/C) ([d > M] − V h), V the classes with d > M'
    """
    if loss.batch_level and loss.weight is not None:
        return None
    for kind in type(loss).__mro__:
        entry = _ENTRIES.get(kind)
        if entry is not None:
            if not _computes(loss, kind):
                return None
            formula, conditional = (
                part(loss) if callable(part) else part for part in (entry.formula, entry.conditional)
            )
            return None if formula == "" else ClosedForm(str(formula), entry.target, bool(conditional))
    return None


def _computes(loss: Loss, kind: type[Loss]) -> bool:
    """Return whether a loss computes what losses of a kind do, rather than something of its own."""
    mine = type(loss)
    return mine.formula is kind.formula and mine.term_weights is kind.term_weights


def closed_form_target(loss: Loss, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> Tensor:
    r"""Return what `implicit_target` returns, from the closed form.

    Args:
        loss: a loss that has one; of a loss that draws labels the expectation.
        logits: (N, C, *) real.
        target: labels; maps in [0, 1] for a binary loss.
        index: (N,) ids of the samples, for a loss that learns from each.

    Raises:
        InputError: a loss without a closed form, soft targets, and as the loss.

    Example:
        >>> from calibrant.losses import MarginLoss
        >>> loss = MarginLoss(margin=6.0, alpha=0.3)
        >>> closed_form_target(loss, torch.tensor([[8.0, 0.0, 3.0]]), torch.tensor([0]))
        tensor([[0.9000, 0.1000, 0.0000]])
    """
    form = closed_form(loss)
    if form is None:
        raise InputError(f"{type(loss).__name__} has no closed form; use implicit_target.")
    batch = loss.prepare(logits.detach(), target, index)
    if batch.soft and not loss.binary:
        raise InputError(f"The closed form of {type(loss).__name__} takes labels, not probabilities.")
    if batch.valid is not None and getattr(loss, "penalise_ignored", False) and not batch.valid.all():
        raise InputError(
            f"With penalise_ignored {type(loss).__name__} has a closed form only where no row is ignored; use "
            "implicit_target."
        )
    p = probabilities(loss, batch.logits)
    implied = form.target(loss, batch)
    weight = loss._row_weight(batch)
    if weight is not None:
        implied = p - weight.unsqueeze(1) * (p - implied)
    return implied if batch.valid is None else torch.where(batch.valid.unsqueeze(1), implied, p)
