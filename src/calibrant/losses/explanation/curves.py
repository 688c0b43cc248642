r"""The smoothing that a loss implies as a function of one logit, in a situation that is stated."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Loss
from calibrant.losses.explanation.implied import implicit_target
from calibrant.losses.label_perturbation import ScBCE
from calibrant.losses.two_class import BinaryMMCE

#: Rows of the batch that a loss defined on a batch is shown.
BATCH = 64
#: Side of the map that a loss that looks around a pixel is shown.
_SIDE = 5
#: The largest distance of two logits in the batch.
_WIDEST = 12.5
#: What curves are of: of a right prediction the predicted class, which is the label, and another; of a wrong
#: one the predicted class, the label, and another.
ROLES = ("right_predicted", "right_other", "wrong_predicted", "wrong_label", "wrong_other")


@dataclass(frozen=True)
class SmoothingCurve:
    r"""What a loss adds to the one-hot target, $\tilde t - y$, as the logit of the predicted class grows.

    Attributes:
        logit: (P,) float64: the logit of the predicted class; that of every other class is 0.
        changes: by each of `ROLES` that there is, (P,) float64: below 0 where mass is taken from the target.
        batch: (B,) float64: the largest change in each row of `stated_batch`.
        batch_sure: (B,) float64: the probability of the predicted class there.
        batch_labels: (B,) the labels there.
        classes: C; 2 for a binary loss.
    """

    logit: Tensor
    changes: dict[str, Tensor]
    batch: Tensor
    batch_sure: Tensor
    batch_labels: Tensor
    classes: int

    @property
    def sure(self) -> Tensor:
        """The probability of the predicted class at each logit, (P,)."""
        return 1 / (1 + (self.classes - 1) * (-self.logit).exp())


def stated_batch(num_classes: int, rows: int = BATCH) -> tuple[Tensor, Tensor]:
    r"""Return the batch in whose company a row is looked at: over-confident, three of four predictions right.

    Row i has the label i mod C; every fourth predicts the next class instead. The logit of the predicted class
    is $0.5 + 12 \, \mathrm{frac}(i \varphi)$ with the golden ratio $\varphi$, those of the others lie within
    0.25 of 0.

    Args:
        num_classes: C, at least 2.
        rows: N.

    Returns:
        (N, C) float64 logits and (N,) labels.

    Example:
        >>> logits, target = stated_batch(3, rows=4)
        >>> logits.amax(1)
        tensor([ 0.5000,  7.9164,  3.3328, 10.7492], dtype=torch.float64)
        >>> logits.argmax(1), target
        (tensor([0, 1, 2, 1]), tensor([0, 1, 2, 0]))
    """
    i = torch.arange(rows)
    target = i % num_classes
    predicted = torch.where(i % 4 == 3, (target + 1) % num_classes, target)
    height = 0.5 + (_WIDEST - 0.5) * (i.double() * (1 + math.sqrt(5)) / 2).frac()
    ripple = 0.25 * torch.sin(torch.arange(rows * num_classes, dtype=torch.float64)).view(rows, num_classes)
    return ripple.scatter(1, predicted.unsqueeze(1), height.unsqueeze(1)), target


def smoothing_curve(
    loss: Loss, *, num_classes: int = 10, upto: float = 20.0, points: int = 100
) -> SmoothingCurve:
    r"""Return the smoothing that a loss implies as a function of the logit of the predicted class.

    The others have the logit 0. The label is the predicted class, class 0, for a right prediction; the last
    class for a wrong one. A loss whose rows see each other sees the row together with `stated_batch`; one that
    looks around a pixel a map of 5 × 5, its lower two lines of class 1; one that learns has been shown that
    batch for two epochs, after its warm-up if it has one, and takes the row for its second sample. Draws are
    replaced by their expectation.

    Args:
        loss: any loss; it stays as it is.
        num_classes: C, at least 3; 2 for a binary loss, whatever is given.
        upto: the largest logit, from 0.
        points: P, how many logits.

    Raises:
        InputError: fewer than 3 classes, a range that is not above 0, or no finite gradient in it.

    Example:
        >>> from calibrant.losses import MarginLoss
        >>> curve = smoothing_curve(MarginLoss(margin=6.0, alpha=0.1), upto=8.0, points=4)
        >>> curve.logit
        tensor([2., 4., 6., 8.], dtype=torch.float64)
        >>> curve.changes["right_predicted"].round(decimals=4)
        tensor([ 0.0000,  0.0000,  0.0000, -0.0900], dtype=torch.float64)

    Park, Noh, Oh, Baek, Ham: "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration",
    ICCV 2023.
    """
    if num_classes < 3:
        raise InputError(f"A predicted class, a label and another need 3 classes or more, not {num_classes}.")
    if not upto > 0 or points < 2:
        raise InputError(f"Logits run from 0 to a number above 0, in two points or more, not to {upto:g}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loss = _settled(loss, num_classes)
        z = torch.arange(1, points + 1, dtype=torch.float64) * (upto / points)
        changes = {}
        for case, label in (("right", 0), ("wrong", num_classes - 1)):
            moved = _changes(loss, z, num_classes, label)
            changes[f"{case}_predicted"] = moved[:, 0]
            if case == "wrong":
                changes["wrong_label"] = moved[:, -1]
            if case == "right" or not loss.binary:
                changes[f"{case}_other"] = moved[:, 1]
        logits, target = _batch(loss, num_classes)
        batch = _change(loss, logits, target, torch.arange(len(logits)))
    if not all(change.isfinite().all() for change in (batch, *changes.values())):
        raise InputError(
            f"{type(loss).__name__} has no finite gradient for logits up to {upto:g}: check its options, or "
            "end the range earlier."
        )
    sure = (logits.abs().sigmoid() if loss.binary else logits.softmax(1).amax(1)).flatten()
    classes = 2 if loss.binary else num_classes
    return SmoothingCurve(z, changes, batch.abs().amax(1).flatten(), sure, target.flatten(), classes)


def _settled(loss: Loss, num_classes: int) -> Loss:
    """Return a copy of a loss that draws nothing, as it is after it has learned from the stated batch."""
    # A source of draws cannot be copied, and is not needed.
    kept = getattr(loss, "generator", None)
    loss = copy.deepcopy(loss, {} if kept is None else {id(kept): kept})
    loss.ignored = ()
    if isinstance(loss, ScBCE):
        loss.mode = "expected"
    elif isinstance(loss, BinaryMMCE):
        loss.pixels = None
    if type(loss).observe is Loss.observe:
        return loss
    logits, target = _batch(loss, num_classes)
    for _ in range(getattr(loss, "warmup", 0) + 2):
        if "train" in loss.observes:
            loss.observe(logits, target, index=torch.arange(len(logits)))
        if "validation" in loss.observes:
            loss.observe(logits, target)
        loss.step_epoch()
    return loss


def _batch(loss: Loss, num_classes: int) -> tuple[Tensor, Tensor]:
    """Return the stated batch in the form that a loss takes."""
    if loss.spatial:
        return _map(torch.full((1,), 5.0, dtype=torch.float64), num_classes, 0)
    if not loss.binary:
        return stated_batch(num_classes)
    logits, target = stated_batch(2)
    return logits[:, 1:] - logits[:, :1], target.unsqueeze(1)


def _map(z: Tensor, num_classes: int, label: int) -> tuple[Tensor, Tensor]:
    """Return (P, C, 5, 5) logits, z for class 0 of the middle, and labels with a border below the middle."""
    logits = torch.zeros(len(z), num_classes, _SIDE, _SIDE, dtype=torch.float64)
    logits[:, 0, _SIDE // 2, _SIDE // 2] = z
    target = torch.full((len(z), _SIDE, _SIDE), label)
    target[:, _SIDE // 2 + 1 :] = 1
    return logits, target


def _changes(loss: Loss, z: Tensor, num_classes: int, label: int) -> Tensor:
    """Return what a loss adds to the target of a row with the logit z of class 0, (P, C); of two if binary."""
    if loss.binary:
        logits, target = z.unsqueeze(1), torch.full((len(z), 1), int(label == 0))
    elif loss.spatial:
        logits, target = _map(z, num_classes, label)
    else:
        logits = torch.zeros(len(z), num_classes, dtype=torch.float64)
        logits[:, 0], target = z, torch.full((len(z),), label)
    if loss.batch_level or loss.needs_index:
        company, labels = _batch(loss, num_classes)
        index = torch.cat([torch.arange(len(company)), torch.tensor([1])])
        each = [
            _change(loss, torch.cat([company, row[None]]), torch.cat([labels, one[None]]), index)[-1]
            for row, one in zip(logits, target, strict=True)
        ]
        moved = torch.stack(each)
    else:
        moved = _change(loss, logits, target, None)
    if loss.spatial:
        return moved[:, :, _SIDE // 2, _SIDE // 2]
    # Of two classes one gains what the other loses.
    return torch.cat([moved, -moved], 1) if loss.binary else moved


def _change(loss: Loss, logits: Tensor, target: Tensor, index: Tensor | None) -> Tensor:
    """Return the implied less the given target, (N, C, *)."""
    implied = implicit_target(loss, logits, target, index=index if loss.needs_index else None)
    if loss.binary:
        return implied - target
    return implied - torch.zeros_like(implied).scatter(1, target.unsqueeze(1), 1.0)
