"""All the usual metrics of one set of predictions at once, with confidence intervals."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from calibrant.metrics import ranking
from calibrant.metrics.definitions import DEFINITIONS, Groups, class_groups, recalls
from calibrant.metrics.equal_mass import equal_mass_bins
from calibrant.metrics.intervals import Interval, binned_interval, mean_interval, resampled_interval, wilson
from calibrant.metrics.rows import Inputs, checked
from calibrant.metrics.smooth import smooth_ece
from calibrant.metrics.state import State
from calibrant.metrics.views import Bins


class Estimate(NamedTuple):
    """A metric and its confidence interval; `low` and `high` are nan where no interval was asked for."""

    value: float
    low: float
    high: float


STANDARD = (
    "accuracy", "ece", "aece", "classwise_ece", "mce", "rmsce", "oe", "ue", "nll", "brier", "smooth_ece", "ks",
    "debiased_ece", "auroc", "aurc",
)  # fmt: skip
_PARTS = frozenset({"top", "class", "class_squares", "labels", "hits", "nll", "brier", "samples"})


def evaluate(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    n_bins: int = 15,
    ignore_index: int | Iterable[int] | None = None,
    class_counts: Iterable[int] | None = None,
    groups: Groups = "counts",
    intervals: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return the standard set of metrics by name, each with a confidence interval.

    The names: accuracy, ece, aece, classwise_ece, mce, rmsce, oe, ue, nll, brier, smooth_ece, ks, debiased_ece,
    auroc, aurc; with `class_counts` also many, medium and few. Each is defined at its function in
    `calibrant.metrics.functional`; the intervals in `calibrant.metrics.intervals`: Wilson's for accuracies, the
    normal one for the means nll and brier, test inversion for calibration errors, a bootstrap for auroc and
    aurc. That of `debiased_ece` is that of `rmsce`: both estimate the same quantity.

    An interval takes rows for independent. The pixels of a map are not, and theirs are far too narrow: take
    those over images, of `calibrant.metrics.over_images`.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what `values` are.
        n_bins: number of bins of the binned errors.
        ignore_index: label, or labels, whose rows count nowhere.
        class_counts: (C,) number of training samples of each class.
        groups: which classes are many, medium and few, as in `functional.group_accuracy`.
        intervals: whether to compute them; most of the time goes into them.
        level: probability that an interval covers the truth.
        seed: of the random draws behind the intervals.

    Raises:
        InputError: for shapes, labels or values that cannot be used, and when no row counts.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> result = evaluate(probs, torch.tensor([0, 1, 1, 0]), inputs="probs", intervals=False)
        >>> result["accuracy"].value, round(result["ece"].value, 3)
        (0.75, 0.3)
    """
    rows = checked(values, target, inputs=inputs, ignore_index=ignore_index)
    state = State(_PARTS, max(values.shape[1], 2), n_bins)
    state.add(rows)
    return evaluate_state(state, class_counts, groups, intervals=intervals, level=level, seed=seed)


def evaluate_state(
    state: State,
    class_counts: Iterable[int] | None = None,
    groups: Groups = "counts",
    *,
    intervals: bool = True,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimate]:
    """Return what `evaluate` returns, from a state that holds its parts; for data that comes in batches."""
    total = state.count()
    hits = int(state.sums["top_correct"].sum())
    found: dict[str, float] = {"accuracy": hits / total}
    for name in STANDARD[1:]:
        value = DEFINITIONS[name].view(state)
        assert isinstance(value, Tensor)
        found[name] = float(value)
    bounds = _Bounds(state, level, seed) if intervals else None
    result = {
        name: Estimate(value, *(bounds.of(name) if bounds else (math.nan, math.nan)))
        for name, value in found.items()
    }
    if class_counts is not None:
        chosen = class_groups(state.spec.num_classes, class_counts, groups)
        for name, group in zip(("many", "medium", "few"), chosen, strict=True):
            result[name] = _group(state, group, level if intervals else None)
    return result


def _group(state: State, group: Tensor, level: float | None) -> Estimate:
    """Return the mean of the per-class accuracies, with Wilson's interval at its effective sample size."""
    count = state.sums["label_count"].cpu()[group]
    rates = recalls(state).cpu()[group][count > 0]
    count = count[count > 0]
    if not len(rates):
        return Estimate(math.nan, math.nan, math.nan)
    mean = float(rates.mean())
    if level is None:
        return Estimate(mean, math.nan, math.nan)
    variance = float((rates * (1 - rates) / count).sum()) / len(rates) ** 2
    # The number of samples at which a plain proportion would vary as much as this mean does.
    size = mean * (1 - mean) / variance if variance > 0 else float(len(rates) ** 2 / (1 / count).sum())
    low, high = wilson(mean * size, size, level)
    return Estimate(mean, float(low), float(high))


class _Bounds:
    """Confidence intervals of the standard metrics of one state."""

    def __init__(self, state: State, level: float, seed: int) -> None:
        self.state, self.level, self.seed = state, level, seed

    def of(self, name: str) -> tuple[float, float]:
        """Return both ends of the interval of a metric, within its range."""
        least, most = DEFINITIONS[name].range
        low, high = (min(max(float(end), least), most) for end in self._interval(name))
        return low, high

    def _interval(self, name: str) -> Interval:
        state, sums, total = self.state, self.state.sums, self.state.count()
        if name == "accuracy":
            return wilson(float(sums["top_correct"].sum()), total, self.level)
        if name in ("nll", "brier"):
            return mean_interval(sums[f"{name}_sum"], sums[f"{name}_sum_sq"], total, self.level)
        if name == "classwise_ece":
            return self._binned(state.class_bins(), lambda gaps, weights: gaps.abs().sum(-1).mean(-1))
        if name == "aece":
            bins = equal_mass_bins(state.cells(), state.spec.n_bins, state.spec.rule)
            return self._binned(bins, lambda gaps, weights: gaps.abs().sum(-1))
        if name in _CELL_STATISTICS:
            return self._resampled(name)
        return self._binned(state.bins(), _gap_statistic(name, state.bins()))

    def _binned(self, bins: Bins, statistic: Callable[[Tensor, Tensor], Tensor]) -> Interval:
        residual = bins.gap * bins.total
        assert bins.residual_sq is not None
        return binned_interval(
            statistic, bins.count, residual, bins.residual_sq, bins.total, level=self.level, seed=self.seed
        )

    def _resampled(self, name: str) -> Interval:
        cells = self.state.cells()
        return resampled_interval(
            _CELL_STATISTICS[name],
            cells.count,
            cells.confidence * cells.count,
            cells.correct,
            level=self.level,
            seed=self.seed,
            from_zero=name in ("ks", "smooth_ece"),
        )


_CELL_STATISTICS = {
    "ks": ranking.ks_error,
    "smooth_ece": smooth_ece,
    "auroc": ranking.auroc,
    "aurc": ranking.aurc,
}


def _gap_statistic(name: str, bins: Bins) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the metric as a function of (R, B) gaps and (B,) weights."""
    confidence = bins.mean_confidence.nan_to_num(nan=0.0)

    def squares(gaps: Tensor, weights: Tensor) -> Tensor:
        return (gaps.square() / weights).nan_to_num(nan=0.0, posinf=0.0).sum(-1).sqrt()

    def largest(gaps: Tensor, weights: Tensor) -> Tensor:
        return (gaps.abs() / weights).nan_to_num(nan=0.0, posinf=0.0).amax(-1)

    statistics: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "ece": lambda gaps, weights: gaps.abs().sum(-1),
        "rmsce": squares,
        "debiased_ece": squares,
        "mce": largest,
        "oe": lambda gaps, weights: (confidence * gaps.clamp(min=0)).sum(-1),
        "ue": lambda gaps, weights: (confidence * (-gaps).clamp(min=0)).sum(-1),
    }
    return statistics[name]


@dataclass(frozen=True)
class Reliability:
    """What a reliability diagram shows; 1-D float64, empty bins nan except in `count`.

    Attributes:
        edges: (B + 1,) ends of the bins.
        count: (B,) samples.
        confidence: (B,) mean confidence.
        accuracy: (B,) share of correct samples.
        low: (B,) lower end of Wilson's 95 % interval of the accuracy.
        high: (B,) upper end.
    """

    edges: Tensor
    count: Tensor
    confidence: Tensor
    accuracy: Tensor
    low: Tensor
    high: Tensor


def reliability(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    n_bins: int = 15,
    ignore_index: int | Iterable[int] | None = None,
    level: float = 0.95,
) -> Reliability:
    """Return confidence and accuracy by equal-width bin, with an interval of each accuracy.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what `values` are.
        n_bins: number of bins.
        ignore_index: label, or labels, whose rows count nowhere.
        level: probability that an interval covers the truth.

    Raises:
        InputError: for shapes, labels or values that cannot be used, and when no row counts.

    Example:
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
        >>> shown = reliability(probs, torch.tensor([0, 1, 1]), inputs="probs", n_bins=2)
        >>> shown.count, shown.accuracy
        (tensor([0., 3.], dtype=torch.float64), tensor([   nan, 0.6667], dtype=torch.float64))
    """
    state = State({"top"}, max(values.shape[1], 2) if values.dim() > 1 else 2, n_bins)
    state.update(values, target, inputs=inputs, ignore_index=ignore_index)
    bins = state.bins()
    low, high = wilson(bins.correct.double(), bins.count.double(), level)
    empty = bins.count == 0
    nan = torch.full_like(bins.confidence, math.nan)
    return Reliability(
        edges=bins.edges.cpu(),
        count=bins.count.double().cpu(),
        confidence=bins.mean_confidence.cpu(),
        accuracy=bins.accuracy.cpu(),
        low=torch.where(empty, nan, low).cpu(),
        high=torch.where(empty, nan, high).cpu(),
    )
