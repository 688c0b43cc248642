"""The saliency measures of one image: F, E and S, under the rules of each protocol."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError

Protocol = Literal["standard", "aslp"]

#: Weight of precision against recall in F.
BETA_SQUARED = 0.3


@dataclass(frozen=True)
class Rules:
    """Where the two protocols differ in the measures themselves.

    Attributes:
        thresholds: how many there are.
        eps: what is added to denominators.
        centroid: what is added to the index of the centroid: 1 gives its row and column to the upper left part.
        careful: whether uniform labels, empty parts and single pixels have rules of their own.
    """

    thresholds: int
    eps: float
    centroid: int
    careful: bool


RULES = {"standard": Rules(256, 2.0**-52, 1, True), "aslp": Rules(255, 1e-20, 0, False)}
CURVES = ("precision", "recall", "false_alarms", "f", "e")
OF_OBJECTS = ("precision", "recall", "false_alarms", "f", "adaptive_f")


def measure(prediction: Tensor, target: Tensor, protocol: Protocol) -> dict[str, Tensor]:
    """Return what an image adds to the sums of `SaliencyState`, float64.

    Args:
        prediction: (H, W) real in [0, 1], or uint8.
        target: (H, W) likewise, bool, or integers 0 and 1.
        protocol: "standard" or "aslp".

    Raises:
        InputError: maps of different shapes, empty maps, values outside [0, 1].
    """
    _check(prediction, target)
    image = (_prepare_standard if protocol == "standard" else _prepare_aslp)(prediction, target)
    rules = RULES[protocol]
    curves = _curves(image, image.step, rules.thresholds, rules)
    adaptive = (image.shown >= (2 * image.shown.mean()).clamp(max=1)).long().flatten()
    at_adaptive = _curves(image, adaptive, 1, rules)
    has_object = (image.mean > 0).double()
    found = {
        "images": torch.ones_like(has_object),
        "objects": has_object,
        "mae": image.error,
        "s": _structure(image.shown, image.label, image.mean, rules),
        "adaptive_f": at_adaptive["f"][0],
        "adaptive_e": at_adaptive["e"][0],
        **curves,
    }
    if rules.careful:
        return found | {name: found[name] * has_object for name in OF_OBJECTS}
    return found


class _Image(NamedTuple):
    """An image as the measures see it.

    Attributes:
        step: (N,) int64, how many of the thresholds each pixel reaches.
        level: (N,) int64, which of the grey values of the label each pixel has.
        values: (L,) float64 grey values of the label.
        shown: (H, W) float64, the map as it is compared.
        error: mean absolute error.
        label: (H, W) bool, the object.
        mean: mean of the label as it came, which tells uniform labels.
    """

    step: Tensor
    level: Tensor
    values: Tensor
    shown: Tensor
    error: Tensor
    label: Tensor
    mean: Tensor


def _check(prediction: Tensor, target: Tensor) -> None:
    if prediction.dim() != 2 or prediction.shape != target.shape or prediction.numel() == 0:
        raise InputError(
            f"A saliency map and its label must be (H, W) of one size, not {tuple(prediction.shape)} and "
            f"{tuple(target.shape)}; resize the map first."
        )
    if not prediction.is_floating_point() and prediction.dtype != torch.uint8:
        raise InputError(f"A saliency map is real in [0, 1] or uint8, not {prediction.dtype}.")
    for values in (prediction, target):
        if values.dtype != torch.uint8 and not ((values >= 0) & (values <= 1)).all():
            raise InputError(
                "A saliency map and its label hold values in [0, 1], or 0 to 255 in uint8; apply a sigmoid to "
                "logits, and divide labels of 255 by 255."
            )


def _unit(values: Tensor) -> Tensor:
    """Return a map in [0, 1] as float64: white is 255 in uint8, 1 in any other type."""
    return values.double() / 255 if values.dtype == torch.uint8 else values.double()


def _prepare_standard(prediction: Tensor, target: Tensor) -> _Image:
    p = _unit(prediction)
    low, high = p.aminmax()
    q = (p - low) / (high - low) if high != low else p
    label = _unit(target) > 128 / 255
    return _Image(
        step=(q * 255).long().flatten() + 1,
        level=label.long().flatten(),
        values=torch.tensor([0.0, 1.0], dtype=torch.float64, device=p.device),
        shown=q,
        error=(q - label.double()).abs().mean(),
        label=label,
        mean=label.double().mean(),
    )


def _prepare_aslp(prediction: Tensor, target: Tensor) -> _Image:
    levels = (255 * _unit(target)).round().long()
    p = (255 * _unit(prediction)).round().float() / 255
    g = levels.float() / 255
    low, high = p.aminmax()
    q = (p - low) / (high - low + 1e-20)
    thresholds = torch.linspace(0, 1 - 1e-10, RULES["aslp"].thresholds, device=p.device)
    return _Image(
        step=torch.searchsorted(thresholds, q.flatten(), right=True),
        level=levels.flatten(),
        values=(torch.arange(256, device=p.device).float() / 255).double(),
        shown=q.double(),
        error=(p - g).abs().double().mean(),
        label=g >= 0.5,
        mean=g.double().mean(),
    )


def _curves(image: _Image, step: Tensor, thresholds: int, rules: Rules) -> dict[str, Tensor]:
    """Return the measures at each threshold, (K,), from the joint histogram of map and label."""
    size, values = len(image.values), image.values
    joint = torch.bincount(step * size + image.level, minlength=(thresholds + 1) * size)
    joint = joint.view(thresholds + 1, size).double()
    # Row k: the pixels of each grey value of the label that reach threshold k.
    reach = joint.flip(0).cumsum(0).flip(0)[1:]
    every = joint.sum(0)
    hit, taken, pixels = reach @ values, reach.sum(1), every.sum()
    tiny = 0.0 if rules.careful else rules.eps
    precision = _ratio(hit, taken + tiny)
    recall = _ratio(hit, every @ values + tiny)
    weighed = BETA_SQUARED * precision + recall
    return {
        "precision": precision,
        "recall": recall,
        "false_alarms": _ratio(reach @ (1 - values), every @ (1 - values) + tiny),
        "f": _ratio((1 + BETA_SQUARED) * precision * recall, weighed),
        "e": _alignment(image, reach, every, taken / pixels, rules) / (pixels - 1 + rules.eps),
    }


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, 0.0, numerator / denominator)


def _alignment(image: _Image, reach: Tensor, every: Tensor, share: Tensor, rules: Rules) -> Tensor:
    """Return the sum of the enhanced alignment over the pixels, (K,)."""
    if rules.careful and image.mean in (0, 1):
        pixels = every.sum()
        return pixels * (share if image.mean == 1 else 1 - share)
    b = image.values - image.mean
    total = torch.zeros_like(share)
    for count, a in ((reach, 1 - share), (every - reach, -share)):
        a = a.unsqueeze(1)
        aligned = 2 * a * b / (a.square() + b.square() + rules.eps)
        total = total + (count * (aligned + 1).square() / 4).sum(1)
    return total


def _structure(shown: Tensor, label: Tensor, mean: Tensor, rules: Rules) -> Tensor:
    """Return the S-measure of a map (H, W) against a bool label whose mean, grey included, is given."""
    if mean == 0:
        return 1 - shown.mean()
    if mean == 1:
        return shown.mean()
    truth = label.double()
    share = truth.mean()
    of_object = share * _within(shown[label], rules) + (1 - share) * _within(1 - shown[~label], rules)
    return (0.5 * of_object + 0.5 * _of_regions(shown, truth, rules)).clamp(min=0)


def _within(values: Tensor, rules: Rules) -> Tensor:
    mean = values.mean()
    alone = 0.0 if rules.careful else torch.nan
    deviation = values.std() if len(values) > 1 else torch.full_like(mean, alone)
    return 2 * mean / (mean.square() + 1 + deviation + rules.eps)


def _of_regions(shown: Tensor, truth: Tensor, rules: Rules) -> Tensor:
    rows, columns = truth.nonzero(as_tuple=True)
    y, x = (int(at.double().mean().round()) + rules.centroid for at in (rows, columns))
    height, width = truth.shape
    total = shown.new_zeros(())
    for top, bottom in ((0, y), (y, height)):
        for left, right in ((0, x), (x, width)):
            weight = (bottom - top) * (right - left) / (height * width)
            if weight == 0 and rules.careful:
                continue
            total = total + weight * _similarity(
                shown[top:bottom, left:right], truth[top:bottom, left:right], rules
            )
    return total


def _similarity(p: Tensor, g: Tensor, rules: Rules) -> Tensor:
    free = p.numel() - 1 + rules.eps
    mp, mg = p.mean(), g.mean()
    variances = ((p - mp).square().sum() + (g - mg).square().sum()) / free
    above = 4 * mp * mg * ((p - mp) * (g - mg)).sum() / free
    below = (mp.square() + mg.square()) * variances
    flat = torch.where(below == 0, 1.0, 0.0)
    return torch.where(above == 0, flat, above / (below + rules.eps))
