"""The summary of a report: what the numbers say, in plain words, and no more than the tests support."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from markupsafe import Markup

from calibrant.compare.stages import RAW
from calibrant.report.by_class import class_names
from calibrant.report.calibrated import calibrated
from calibrant.report.doubts import differing_settings
from calibrant.report.leading import all_named, ece_of, elsewhere_head, extremes, marked, named, tested
from calibrant.report.method import Comparison, Method
from calibrant.report.mistakes import sentence
from calibrant.report.text import joined, percent, points, share, strong

#: Classes that are named, of at least so many.
_NAMED, _FEW_CLASSES = 3, 4
#: Below this many seeds the summary says that luck may have ordered the methods.
_FEW_SEEDS = 3


class Point(NamedTuple):
    """One statement of the summary: what it is about, and what it says (safe HTML)."""

    head: str
    text: Markup


def summarise(comparison: Comparison) -> list[Point]:
    """Return what can be said of a comparison.

    "Can be trusted most" goes by the ECE on the test set. Two methods are told apart where the table's paired
    test tells them apart; a change by a calibrator counts where the same test, corrected by Holm for the
    number of methods, finds one.
    """
    parts: Sequence[Callable[[Comparison], Point | None]] = (_most, _least, _lean, _mistaken, _classes)
    rest: Sequence[Callable[[Comparison], Point | None]] = (_accuracy, _elsewhere, _reach)
    return [
        *(point for part in parts if (point := part(comparison)) is not None),
        *(Point(*each) for each in calibrated(comparison)),
        *(point for part in rest if (point := part(comparison)) is not None),
    ]


def _most(comparison: Comparison) -> Point:
    most, least = extremes(comparison)
    cell = ece_of(most)
    off = Markup("its confidence is off by {} on average (ECE {})").format(
        points(cell.mean), percent(cell.mean, cell.std)
    )
    if most is least:
        return Point("As trained", Markup("{}: {}.").format(named(most), off))
    leaders = marked(comparison, "ece", RAW)
    if not leaders:
        doubt = "but the paired test does not tell it from any other"
        text = Markup(
            "No method is shown to be better calibrated than another. {} has the lowest ECE ({}), {}."
        ).format(
            named(most),
            percent(cell.mean, cell.std),
            doubt if tested(comparison, "ece", RAW) else "untested",
        )
        return Point("Trust most, as trained", text)
    text = Markup("{}: {}").format(named(most), off)
    if len(leaders) == 1:
        return Point("Trust most, as trained", text + ", less than every other method by the paired test.")
    return Point(
        "Trust most, as trained",
        text + Markup(". The paired test does not tell it from {}.").format(all_named(leaders[1:])),
    )


def _least(comparison: Comparison) -> Point | None:
    most, least = extremes(comparison)
    if not marked(comparison, "ece", RAW) or ece_of(least).best:
        return None
    low, high = ece_of(most).mean, ece_of(least)
    times = f", {high.mean / low:.1f} times as much" if low > 0 else ""
    text = Markup("{}: off by {} on average (ECE {}){}.").format(
        named(least), points(high.mean), percent(high.mean, high.std), times
    )
    method = comparison.method(least.method)
    if RAW in method.gaps and method.gaps[RAW].verdict:
        bins = method.bins[RAW]
        text += Markup(" It is {}: it says {} and is right {} of the time.").format(
            method.gaps[RAW].verdict, share(bins.mean_confidence), share(bins.mean_accuracy)
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
            sizes = [points(abs(m.gaps[RAW].value)) for m in groups[verdict]]
            sizes[1:] = [size.partition(" ")[0] for size in sizes[1:]]
            each = [
                Markup("{} ({})").format(named(m), size) for m, size in zip(groups[verdict], sizes, strict=True)
            ]
            sentences.append(Markup("{}: {}.").format(verdict.capitalize(), joined(each)))
    if groups[""]:
        sentences.append(Markup("On balance neither: {}.").format(all_named(groups[""])))
    return Point("Too sure or not sure enough, as trained", Markup(" ").join(sentences))


def _mistaken(comparison: Comparison) -> Point | None:
    most, _ = extremes(comparison)
    found = comparison.method(most.method).mistakes
    if not found:
        return None
    return Point("Errors made with confidence", Markup("{}: {}").format(named(most), sentence(found)))


def _classes(comparison: Comparison) -> Point | None:
    most, _ = extremes(comparison)
    facts = comparison.method(most.method).classes.get(RAW)
    if facts is None or len(facts.error) < _FEW_CLASSES:
        return None
    names = class_names(comparison)
    each = []
    for k in facts.error.argsort(descending=True, stable=True)[:_NAMED].tolist():
        side = "more" if facts.said[k] > facts.share[k] else "less"
        off = percent(float(facts.error[k]))
        each.append(Markup("{} ({}, {} than it has)").format(strong(names[k]), off, side))
    text = Markup(
        "Of {}, as trained, the probabilities furthest off are those of {}; the mean over the classes is {}."
    )
    average = percent(float(facts.error.mean()))
    return Point("Which classes to doubt", text.format(named(most), joined(each), average))


def _elsewhere(comparison: Comparison) -> Point | None:
    on_test = {row.method: ece_of(row).mean for row in comparison.table.rows}
    sentences = []
    for other in comparison.table.others:
        if "ece" not in other.metrics:
            continue
        rows = sorted(other.ranked or other.rows, key=lambda row: ece_of(row).mean)
        each = [
            Markup("{} for {} ({} on test)").format(
                percent(ece_of(row).mean, ece_of(row).std), named(row), percent(on_test[row.method])
            )
            for row in (rows if len(rows) == 1 else (rows[0], rows[-1]))
        ]
        sentences.append(Markup("On {} the ECE is {}.").format(other.split, Markup(" to ").join(each)))
    head = f"{elsewhere_head(comparison)}, as trained"
    return Point(head, Markup(" ").join(sentences)) if sentences else None


def _accuracy(comparison: Comparison) -> Point | None:
    rows = comparison.table.rows
    if len(rows) < 2:
        return None
    top = max(rows, key=lambda row: row.cells["accuracy"][RAW].mean)
    last = min(rows, key=lambda row: row.cells["accuracy"][RAW].mean)
    best = top.cells["accuracy"][RAW]
    if best.mean == last.cells["accuracy"][RAW].mean:
        return Point("Accuracy", Markup("Every method is right {} of the time.").format(share(best.mean)))
    leaders = marked(comparison, "accuracy", RAW)
    span = Markup("{} is right most often ({}), {} least ({})").format(
        named(top), share(best.mean), named(last), share(last.cells["accuracy"][RAW].mean)
    )
    if not leaders:
        doubt = "the paired test tells none apart" if tested(comparison, "accuracy", RAW) else "untested"
        return Point("Accuracy", Markup("{}; {}.").format(span, doubt))
    most, _ = extremes(comparison)
    cell = most.cells["accuracy"][RAW]
    if cell.best:
        return Point(
            "Accuracy",
            span + Markup(". {} does not pay for its calibration with accuracy.").format(named(most)),
        )
    price = Markup(". {}, best calibrated as trained, is right {} less often than {}.").format(
        named(most), points(best.mean - cell.mean), named(top)
    )
    return Point("Accuracy", span + price)


def _reach(comparison: Comparison) -> Point:
    fewest = min(len(method.runs) for method in comparison.methods)
    seeds = {1: "one seed", 2: "two seeds"}.get(fewest, f"{fewest} seeds")
    tested = comparison.data.get("test")
    what = "images" if comparison.maps else "samples"
    samples = f"{tested:,} test {what}" if isinstance(tested, int) else "the test samples"
    network = "one network, "
    runs = [run for method in comparison.methods for run in method.runs]
    if any(key.startswith("model.") for key in differing_settings(runs)):
        network = ""
    text = Markup("One data set, {}{}, {}.").format(network, seeds, samples)
    if fewest < _FEW_SEEDS:
        text += " With so few seeds, others could order the methods otherwise: add seeds before choosing."
    if not comparison.maps or not comparison.table.others:
        text += " Confidences on data of another kind were not measured."
    return Point("How far this carries", text)
