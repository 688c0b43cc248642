"""The summary of a report: what the numbers say, in plain words, and no more than the tests support."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from calibrant.compare.significance import LEVEL, holm
from calibrant.compare.table import Cell, Row
from calibrant.metrics import paired_test
from calibrant.report.evidence import RAW, SCALED, Comparison, Method

#: Below this many seeds the summary says that luck may have ordered the methods.
_FEW_SEEDS = 3


class Point(NamedTuple):
    """One statement of the summary: what it is about, and what it says (safe HTML)."""

    head: str
    text: Markup


def summarise(comparison: Comparison) -> list[Point]:
    """Return what can be said of a comparison.

    "Can be trusted most" goes by the ECE on the test set. Two methods are told apart where the table's paired
    test tells them apart; a change by temperature scaling counts where the same test, corrected by Holm for
    the number of methods, finds one.
    """
    parts: Sequence[Callable[[Comparison], Point | None]] = (
        _most,
        _least,
        _lean,
        _temperature,
        _accuracy,
        _reach,
    )
    return [point for part in parts if (point := part(comparison)) is not None]


def extremes(comparison: Comparison) -> tuple[Row, Row]:
    """Return the rows with the lowest and the highest ECE as trained, those without a number left out."""
    rows = [row for row in comparison.table.rows if not math.isnan(_ece(row).mean)] or comparison.table.rows
    return min(rows, key=lambda row: _ece(row).mean), max(rows, key=lambda row: _ece(row).mean)


def _ece(row: Row, stage: str = RAW) -> Cell:
    return row.cells["ece"][stage]


def _best(comparison: Comparison, metric: str, stage: str) -> list[Row]:
    """Return the rows that the table marks, the leader first; empty where the test tells none apart."""
    sign = -1 if metric == "accuracy" else 1
    marked = [row for row in comparison.table.rows if row.cells[metric][stage].best]
    return sorted(marked, key=lambda row: sign * row.cells[metric][stage].mean)


def _most(comparison: Comparison) -> Point:
    most, least = extremes(comparison)
    cell = _ece(most)
    off = Markup("its confidence is off by {} on average (ECE {})").format(
        _points(cell.mean), percent(cell.mean, cell.std)
    )
    if most is least:
        return Point("As trained", Markup("{}: {}.").format(_name(most), off))
    leaders = _best(comparison, "ece", RAW)
    if not leaders:
        text = Markup(
            "No method is shown to be better calibrated than another. {} has the lowest ECE ({}), but the "
            "paired test does not tell it from any other."
        ).format(_name(most), percent(cell.mean, cell.std))
        return Point("Trust most, as trained", text)
    text = Markup("{}: {}").format(_name(most), off)
    if len(leaders) == 1:
        return Point("Trust most, as trained", text + ", less than every other method by the paired test.")
    return Point(
        "Trust most, as trained",
        text + Markup(". The paired test does not tell it from {}.").format(_names(leaders[1:])),
    )


def _least(comparison: Comparison) -> Point | None:
    most, least = extremes(comparison)
    if not _best(comparison, "ece", RAW) or _ece(least).best:
        return None
    low, high = _ece(most).mean, _ece(least)
    times = f", {high.mean / low:.1f} times as much" if low > 0 else ""
    text = Markup("{}: off by {} on average (ECE {}){}.").format(
        _name(least), _points(high.mean), percent(high.mean, high.std), times
    )
    method = comparison.method(least.method)
    if RAW in method.gaps and method.gaps[RAW].verdict:
        bins = method.bins[RAW]
        text += Markup(" It is {}: it says {} and is right {} of the time.").format(
            method.gaps[RAW].verdict, _share(bins.mean_confidence), _share(bins.mean_accuracy)
        )
    return Point("Trust least, as trained", text)


def _lean(comparison: Comparison) -> Point | None:
    known = [method for method in comparison.methods if RAW in method.gaps]
    if not known:
        return None
    groups: dict[str, list[Method]] = {"over-confident": [], "under-confident": [], "": []}
    for method in sorted(known, key=lambda m: -abs(m.gaps[RAW].value)):
        groups[method.gaps[RAW].verdict].append(method)
    sentences = []
    for verdict in ("over-confident", "under-confident"):
        if groups[verdict]:
            sizes = [_points(abs(m.gaps[RAW].value)) for m in groups[verdict]]
            sizes[1:] = [size.partition(" ")[0] for size in sizes[1:]]
            each = [
                Markup("{} ({})").format(_name(m), size) for m, size in zip(groups[verdict], sizes, strict=True)
            ]
            sentences.append(Markup("{}: {}.").format(verdict.capitalize(), _joined(each)))
    if groups[""]:
        sentences.append(Markup("On balance neither: {}.").format(_names(groups[""])))
    return Point("Too sure or not sure enough, as trained", Markup(" ").join(sentences))


def _temperature(comparison: Comparison) -> Point | None:
    table = comparison.table
    if SCALED not in table.stages:
        return None
    changes = _changes(comparison)
    sentences = []
    if changes is not None:
        sentences += [*_lowered(comparison, changes), *_not_lowered(comparison, changes)]
    after = min(table.rows, key=lambda row: _ece(row, SCALED).mean)
    cell = _ece(after, SCALED)
    if len(table.rows) > 1:
        leaders = _best(comparison, "ece", SCALED)
        if not leaders:
            doubt = Markup("the paired test does not tell it from any other")
        elif len(leaders) == 1:
            doubt = Markup("lower than every other method by the paired test")
        else:
            doubt = Markup("not told from {} by the paired test").format(_names(leaders[1:]))
        sentences.append(
            Markup("After it, {} has the lowest ECE ({}), {}.").format(
                _name(after), percent(cell.mean, cell.std), doubt
            )
        )
    else:
        sentences.append(Markup("After it, the ECE is {}.").format(percent(cell.mean, cell.std)))
    return Point("What temperature scaling changes", Markup(" ").join(sentences))


def _changes(comparison: Comparison) -> dict[str, float] | None:
    """Return by method the change of the ECE that temperature scaling makes, 0 where no test supports it."""
    if comparison.target is None:
        return None
    tests = {
        method.name: paired_test(
            method.logits(SCALED), method.logits(RAW), comparison.target, inputs="logits", metric="ece"
        )
        for method in comparison.methods
        if SCALED in method.bins
    }
    real = holm({name: test.p_value for name, test in tests.items()}, LEVEL)
    return {name: test.difference if name in real else 0.0 for name, test in tests.items()}


def _lowered(comparison: Comparison, changes: dict[str, float]) -> list[Markup]:
    lowered = [name for name, change in sorted(changes.items(), key=lambda item: item[1]) if change < 0]
    if not lowered:
        return [Markup("It is not shown to lower the ECE of any method.")]
    held_out = comparison.data.get("val")
    fitted = f"Fitted on {held_out:,} validation samples, it" if isinstance(held_out, int) else "It"
    most = next(row for row in comparison.table.rows if row.method == lowered[0])
    temperature = mean(comparison.method(most.method).temperatures)
    effect = "softens" if temperature > 1 else "sharpens"
    detail = Markup("from {} to {}, T = {:.2f}, which {} its predictions").format(
        percent(_ece(most).mean), percent(_ece(most, SCALED).mean), temperature, effect
    )
    if len(changes) == 1:
        return [Markup("{} lowers the ECE {}.").format(fitted, detail)]
    if len(lowered) == 1:
        return [Markup("{} lowers the ECE of {} ({}).").format(fitted, _name(most), detail)]
    whose = "every method" if len(lowered) == len(changes) else _names(lowered)
    return [Markup("{} lowers the ECE of {}; most that of {} ({}).").format(fitted, whose, _name(most), detail)]


def _not_lowered(comparison: Comparison, changes: dict[str, float]) -> list[Markup]:
    raised = [name for name, change in changes.items() if change > 0]
    same = [name for name, change in changes.items() if change == 0]
    sentences = []
    if raised:
        sentences.append(Markup("It raises that of {}.").format(_names(raised)))
    if same and len(same) < len(changes):
        sentences.append(Markup("It makes no difference that the test supports for {}.").format(_names(same)))
    return sentences


def _accuracy(comparison: Comparison) -> Point | None:
    rows = comparison.table.rows
    if len(rows) < 2:
        return None
    top = max(rows, key=lambda row: row.cells["accuracy"][RAW].mean)
    last = min(rows, key=lambda row: row.cells["accuracy"][RAW].mean)
    best = top.cells["accuracy"][RAW]
    leaders = _best(comparison, "accuracy", RAW)
    span = Markup("{} is right most often ({}), {} least ({})").format(
        _name(top), _share(best.mean), _name(last), _share(last.cells["accuracy"][RAW].mean)
    )
    if not leaders:
        return Point("Accuracy", span + "; the paired test tells none apart.")
    most, _ = extremes(comparison)
    cell = most.cells["accuracy"][RAW]
    if cell.best:
        return Point(
            "Accuracy",
            span + Markup(". {} does not pay for its calibration with accuracy.").format(_name(most)),
        )
    price = Markup(". {}, best calibrated as trained, is right {} less often than {}.").format(
        _name(most), _points(best.mean - cell.mean), _name(top)
    )
    return Point("Accuracy", span + price)


def _reach(comparison: Comparison) -> Point:
    fewest = min(len(method.runs) for method in comparison.methods)
    seeds = {1: "one seed", 2: "two seeds"}.get(fewest, f"{fewest} seeds")
    tested = comparison.data.get("test")
    samples = f"{tested:,} test samples" if isinstance(tested, int) else "the test samples"
    text = Markup("One data set, one network, {}, {}.").format(seeds, samples)
    if fewest < _FEW_SEEDS:
        text += " With so few seeds, others could order the methods otherwise: add seeds before choosing."
    text += " Confidences on data of another kind were not measured."
    return Point("How far this carries", text)


def percent(value: float, std: float = float("nan")) -> str:
    """Return a share as "3.19 ± 0.54 %", in which no line breaks.

    Example:
        >>> percent(0.0319, 0.0054).replace("\N{NO-BREAK SPACE}", "_")
        '3.19_±_0.54_%'
    """
    text = f"{100 * value:.2f} %" if math.isnan(std) else f"{100 * value:.2f} ± {100 * std:.2f} %"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def mean(values: Sequence[float]) -> float:
    """Return the mean of some numbers."""
    return sum(values) / len(values)


def _points(value: float) -> str:
    return f"{100 * value:.1f} percentage points"


def _share(value: float) -> str:
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def _name(what: Row | Method | str) -> Markup:
    name = what if isinstance(what, str) else what.method if isinstance(what, Row) else what.name
    return Markup("<strong>{}</strong>").format(name)


def _names(what: Sequence[Row | Method | str]) -> Markup:
    return _joined([_name(each) for each in what])


def _joined(parts: Sequence[Markup]) -> Markup:
    if len(parts) < 2:
        return Markup("").join(parts)
    return Markup(", ").join(parts[:-1]) + " and " + parts[-1]
