"""What a curve of smoothing says: whether it acts on condition, whether its size adapts, and what it does."""

from dataclasses import dataclass

import torch
from torch import Tensor

from calibrant.losses.explanation.curves import SmoothingCurve

#: A smaller change is rounding.
_NOTHING = 1e-12
#: Surer than this a prediction hides by rounding what a loss does not ask: that nothing is seen proves nothing.
_TOO_SURE = 1 - 1e-9
#: Sizes that differ by less than this share are one size.
_SAME = 1e-6
#: A share of the peak that is as good as nothing, and one that is as good as all.
_FADED, _WHOLE = 0.05, 0.98


@dataclass(frozen=True)
class Verdict:
    """What a loss does to its targets, read off its curve.

    Attributes:
        acts: whether it changes any target at all.
        conditional: whether it leaves some rows exactly as they are labelled and changes others of the same
            label: of the swept ones, by how large the logit is, or of those of the batch.
        adaptive: whether the size of the change, where there is one, depends on the logit.
        effect: what it does to the target of the predicted class, in a few words.
    """

    acts: bool
    conditional: bool
    adaptive: bool
    effect: str


def verdict(curve: SmoothingCurve) -> Verdict:
    """Return what a curve says of its loss.

    Args:
        curve: what `smoothing_curve` returned; a condition beyond its largest logit is not seen.

    Example:
        >>> from calibrant.losses import MarginLoss
        >>> from calibrant.losses.explanation import smoothing_curve
        >>> said = verdict(smoothing_curve(MarginLoss(margin=6.0)))
        >>> said.conditional, said.adaptive, said.effect
        (True, False, 'smooths beyond 6, by 0.09 throughout')

    Park, Noh, Oh, Baek, Ham: "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration",
    ICCV 2023.
    """
    sizes = {role: change.abs() for role, change in curve.changes.items()}
    groups = []
    for case in ("right", "wrong"):
        largest = torch.stack([size for role, size in sizes.items() if role.startswith(case)]).amax(0)
        groups.append((largest, curve.sure))
    for label in torch.unique(curve.batch_labels):
        there = curve.batch_labels == label
        groups.append((curve.batch[there], curve.batch_sure[there]))
    acts = any(bool((size > _NOTHING).any()) for size, _ in groups)
    adaptive = any(_varies(size[size > _NOTHING]) for size in sizes.values())
    return Verdict(acts, any(_divides(*group) for group in groups), adaptive, _effect(curve))


def _divides(size: Tensor, sure: Tensor) -> bool:
    """Return whether some rows are changed and others, of which that can be seen, are not."""
    return bool((size > _NOTHING).any() and ((size <= _NOTHING) & (sure < _TOO_SURE)).any())


def _varies(sizes: Tensor) -> bool:
    return bool(len(sizes)) and float(sizes.max() - sizes.min()) > _SAME * float(sizes.max())


def _effect(curve: SmoothingCurve) -> str:
    for role, where in (("right_predicted", ""), ("wrong_predicted", "of wrong predictions alone: ")):
        change = curve.changes[role]
        if (change.abs() > _NOTHING).any():
            return where + _told(curve.logit, change)
    return f"none up to a logit of {float(curve.logit[-1]):g}"


def _told(logit: Tensor, change: Tensor) -> str:
    size = change.abs()
    moved = (size > _NOTHING).nonzero().flatten()
    start, end = int(moved[0]), int(moved[-1])
    where = f" beyond {float(logit[start - 1]):.3g}" if start else ""
    if end + 1 < len(size) and float(size[end]) > _FADED * float(size.max()):
        where += f" up to {float(logit[end]):.3g}"
    part = slice(start, end + 1)
    return f"{_direction(logit[part], change[part])}{where}, {_size(logit[part], size[part])}"


def _direction(logit: Tensor, change: Tensor) -> str:
    seen = change.abs() > 1e-3 * change.abs().max()
    signs, at = change[seen] > 0, logit[seen]
    words = ("smooths", "sharpens")
    first, last = words[int(signs[0])], words[int(signs[-1])]
    turns = (signs[1:] != signs[:-1]).nonzero().flatten()
    if not len(turns):
        return first
    if len(turns) == 1:
        return f"{first} up to {float(at[int(turns[0])]):.2g}, then {last}"
    return f"smooths and sharpens by turns and {last} in the end"


def _size(logit: Tensor, size: Tensor) -> str:
    top, last = float(size.max()), float(size[-1])
    if not _varies(size):
        return f"by {top:.3g} throughout"
    peak = f"most at {float(logit[int(size.argmax())]):.2g} ({top:.2g})"
    if last < _FADED * top:
        return f"{peak}, fading to nothing"
    if last < _WHOLE * top:
        return f"{peak}, then {last:.2g}"
    before = float(size[len(size) * 9 // 10 - 1]) if len(size) > 10 else float(size[0])
    grows = "and growing" if before < _WHOLE * top else "and level"
    return f"{last:.2g} at {float(logit[-1]):.3g} {grows}"
