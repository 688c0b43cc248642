r"""How well a grey map finds the salient object: MAE, F-measure, E-measure, S-measure.

Each is computed for an image and averaged over the images; curves over thresholds are averaged first. Two
protocols: "standard", the published measures as the evaluation tools of the field compute them; and "aslp", the
tool that came with ASLP, which differs in rounding, in thresholds, and in what becomes of uniform labels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError

Protocol = Literal["standard", "aslp"]

#: Weight of precision against recall in F.
BETA_SQUARED = 0.3


class SaliencyScores(NamedTuple):
    """Measures of saliency maps, float64 scalars; all but the first are better when higher.

    Attributes:
        mae: mean absolute error.
        max_f: F-measure at the best threshold.
        mean_f: F-measure averaged over the thresholds.
        adaptive_f: F-measure at twice the mean of the map.
        max_e: enhanced-alignment measure at the best threshold.
        mean_e: the same averaged over the thresholds.
        adaptive_e: the same at twice the mean of the map.
        s: structure measure.
        average_precision: area below the curve of precision over recall.
        auc: area below the curve of hits over false alarms.
    """

    mae: Tensor
    max_f: Tensor
    mean_f: Tensor
    adaptive_f: Tensor
    max_e: Tensor
    mean_e: Tensor
    adaptive_e: Tensor
    s: Tensor
    average_precision: Tensor
    auc: Tensor


@dataclass(frozen=True)
class _Rules:
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


_RULES = {"standard": _Rules(256, 2.0**-52, 1, True), "aslp": _Rules(255, 1e-20, 0, False)}
_CURVES = ("precision", "recall", "false_alarms", "f", "e")
_OF_OBJECTS = ("precision", "recall", "false_alarms", "f", "adaptive_f")


class SaliencyState:
    """Running sums of the measures, of constant size.

    Args:
        protocol: "standard" or "aslp".

    Attributes:
        sums: by name; they add up over batches and processes.

    Example:
        >>> state = SaliencyState("standard")
        >>> state.update(torch.tensor([[0.9, 0.1], [0.6, 0.2]]), torch.tensor([[1, 0], [1, 0]]))
        >>> scores = state.scores()
        >>> round(float(scores.mae), 4), round(float(scores.max_f), 4)
        (0.125, 1.0)
    """

    def __init__(self, protocol: Protocol = "standard", sums: dict[str, Tensor] | None = None) -> None:
        if protocol not in _RULES:
            raise InputError(f"protocol must be 'standard' or 'aslp', not {protocol!r}.")
        self.protocol, self.rules = protocol, _RULES[protocol]
        self.sums = self.zeros(protocol) if sums is None else sums

    @staticmethod
    def zeros(protocol: Protocol) -> dict[str, Tensor]:
        """Return the sums over no image."""
        scalars = ("images", "objects", "mae", "s", "adaptive_f", "adaptive_e")
        zeros = {name: torch.zeros((), dtype=torch.float64) for name in scalars}
        size = _RULES[protocol].thresholds
        return zeros | {name: torch.zeros(size, dtype=torch.float64) for name in _CURVES}

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Add an image.

        Args:
            prediction: (H, W) real in [0, 1], or uint8, where 255 is white.
            target: (H, W) real in [0, 1], bool, integers 0 and 1, or uint8, where 255 is white.

        Raises:
            InputError: maps of different shapes, empty maps, values outside [0, 1].
        """
        _check(prediction, target)
        prepare = _prepare_standard if self.protocol == "standard" else _prepare_aslp
        found = _measure(prepare(prediction, target), self.rules)
        for name, value in found.items():
            self.sums[name] = self.sums[name] + value.to(self.sums[name].device)

    def curves(self) -> dict[str, Tensor]:
        """Return the mean curves over the rising thresholds: precision, recall, false_alarms, f and e."""
        return {name: self._mean(name) for name in _CURVES}

    def scores(self) -> SaliencyScores:
        """Return the measures of all images.

        Under "standard", F, precision and recall are averaged over the images that have an object, and nan if
        none has; under "aslp" an image without one counts as 0.

        Raises:
            InputError: no image was added.
        """
        if self.sums["images"] == 0:
            raise InputError("There are no images to score: update the metric first.")
        curves = self.curves()
        whole = self.rules.careful
        return SaliencyScores(
            mae=self._mean("mae"),
            max_f=curves["f"].max(),
            mean_f=curves["f"].mean(),
            adaptive_f=self._mean("adaptive_f"),
            max_e=curves["e"].max(),
            mean_e=curves["e"].mean(),
            adaptive_e=self._mean("adaptive_e"),
            s=self._mean("s"),
            average_precision=average_precision(curves["precision"], curves["recall"]),
            auc=area_below(curves["recall"], curves["false_alarms"], whole=whole),
        )

    def _mean(self, name: str) -> Tensor:
        over = "objects" if self.rules.careful and name in _OF_OBJECTS else "images"
        return self.sums[name] / self.sums[over]


def saliency_scores(
    predictions: Iterable[Tensor], targets: Iterable[Tensor], *, protocol: Protocol = "standard"
) -> SaliencyScores:
    r"""Score saliency maps of any sizes against their labels.

    With M the map at a threshold, y the label, and means taken over the pixels of an image:

    - MAE is $\overline{|p - y|}$.
    - F is $1.3\,PR / (0.3\,P + R)$ of precision P and recall R.
    - E is the mean of $(1 + 2ab/(a^2+b^2))^2/4$ with $a = M - \bar M$, $b = y - \bar y$.
    - S is half of a comparison within object and background, and half of the structural similarity of the four
      parts into which the centroid of the object divides the image.

    "standard" reads a label above 128 of 255 as object, stretches a map to its full range unless it is
    constant, takes 256 thresholds, and scores an image without object (or background) by the share of pixels
    that are right in E and by the mean of the map in S. "aslp" rounds both maps to 8 bits, keeps grey labels,
    stretches a map for all but MAE, a constant one to 0, takes 255 thresholds, and has no special cases.

    Args:
        predictions: (H, W) real in [0, 1] or uint8, one an image.
        targets: (H, W) labels, of the sizes of the predictions; see `SaliencyState.update`.
        protocol: "standard" or "aslp".

    Raises:
        InputError: as `SaliencyState`.

    Example:
        >>> labels = torch.eye(8).expand(3, 8, 8)
        >>> float(saliency_scores(0.8 * labels + 0.1, labels).mae)
        0.0

    F: Achanta et al., CVPR 2009. S: Fan et al., ICCV 2017. E: Fan et al., IJCAI 2018. The "standard" values are
    those of PySODMetrics; "aslp" follows the tool of Liu et al., ICCV 2023.
    """
    state = SaliencyState(protocol)
    for prediction, target in zip(predictions, targets, strict=True):
        state.update(prediction, target)
    return state.scores()


def average_precision(precision: Tensor, recall: Tensor) -> Tensor:
    """Return the area below a curve of precision over recall, made monotone from the right, (K,) each.

    Example:
        >>> average_precision(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.5]))
        tensor(0.7500)
    """
    order = recall.argsort(stable=True)
    r = torch.cat([recall.new_zeros(1), recall[order], recall.new_ones(1)])
    p = torch.cat([precision.new_zeros(1), precision[order], precision.new_zeros(1)])
    p = p.flip(0).cummax(0).values.flip(0)
    return ((r[1:] - r[:-1]) * p[1:]).sum()


def area_below(hits: Tensor, false_alarms: Tensor, *, whole: bool = True) -> Tensor:
    """Return the area below a curve of hits over false alarms, (K,) each.

    Args:
        hits: share of the object that is found.
        false_alarms: share of the background that is taken for object.
        whole: add the ends (0, 0) and (1, 1) of the curve; the tool of ASLP does not.

    Example:
        >>> area_below(torch.tensor([1.0, 0.5]), torch.tensor([0.5, 0.0]))
        tensor(0.8750)
    """
    if whole:
        hits, false_alarms = (torch.cat([x.new_zeros(1), x, x.new_ones(1)]) for x in (hits, false_alarms))
    order = hits.argsort(stable=True)
    order = order[false_alarms[order].argsort(stable=True)]
    return torch.trapezoid(hits[order], false_alarms[order])


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
    thresholds = torch.linspace(0, 1 - 1e-10, _RULES["aslp"].thresholds, device=p.device)
    return _Image(
        step=torch.searchsorted(thresholds, q.flatten(), right=True),
        level=levels.flatten(),
        values=(torch.arange(256, device=p.device).float() / 255).double(),
        shown=q.double(),
        error=(p - g).abs().double().mean(),
        label=g >= 0.5,
        mean=g.double().mean(),
    )


def _measure(image: _Image, rules: _Rules) -> dict[str, Tensor]:
    curves = _curves(image, image.step, rules.thresholds, rules)
    adaptive = (image.shown >= (2 * image.shown.mean()).clamp(max=1)).long().flatten()
    at_adaptive = _curves(image, adaptive, 1, rules)
    has_object = (image.mean > 0).double()
    found = {
        "images": torch.ones_like(has_object),
        "objects": has_object,
        "mae": image.error,
        "s": structure(image.shown, image.label, image.mean, rules),
        "adaptive_f": at_adaptive["f"][0],
        "adaptive_e": at_adaptive["e"][0],
        **curves,
    }
    if rules.careful:
        return found | {name: found[name] * has_object for name in _OF_OBJECTS}
    return found


def _curves(image: _Image, step: Tensor, thresholds: int, rules: _Rules) -> dict[str, Tensor]:
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


def _alignment(image: _Image, reach: Tensor, every: Tensor, share: Tensor, rules: _Rules) -> Tensor:
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


def structure(shown: Tensor, label: Tensor, mean: Tensor, rules: _Rules) -> Tensor:
    """Return the S-measure of a map (H, W) against a bool label whose mean, grey included, is given."""
    if mean == 0:
        return 1 - shown.mean()
    if mean == 1:
        return shown.mean()
    truth = label.double()
    share = truth.mean()
    of_object = share * _within(shown[label], rules) + (1 - share) * _within(1 - shown[~label], rules)
    return (0.5 * of_object + 0.5 * _of_regions(shown, truth, rules)).clamp(min=0)


def _within(values: Tensor, rules: _Rules) -> Tensor:
    mean = values.mean()
    alone = 0.0 if rules.careful else torch.nan
    deviation = values.std() if len(values) > 1 else torch.full_like(mean, alone)
    return 2 * mean / (mean.square() + 1 + deviation + rules.eps)


def _of_regions(shown: Tensor, truth: Tensor, rules: _Rules) -> Tensor:
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


def _similarity(p: Tensor, g: Tensor, rules: _Rules) -> Tensor:
    free = p.numel() - 1 + rules.eps
    mp, mg = p.mean(), g.mean()
    variances = ((p - mp).square().sum() + (g - mg).square().sum()) / free
    above = 4 * mp * mg * ((p - mp) * (g - mg)).sum() / free
    below = (mp.square() + mg.square()) * variances
    flat = torch.where(below == 0, 1.0, 0.0)
    return torch.where(above == 0, flat, above / (below + rules.eps))
