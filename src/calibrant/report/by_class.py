"""The classes: how each is predicted by a method, and how far each is off by all methods."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from calibrant.compare.stages import RAW, when
from calibrant.report.bins import Array
from calibrant.report.figures import Drawing
from calibrant.report.method import Comparison, Method
from calibrant.report.style import MIDDLE, OVER, UNDER, styled
from calibrant.report.tables import Table, number

#: Cells of all heat maps of a page, and of all tables of classes: more classes are cut, the worst first.
_HEAT_CELLS, _TABLE_CELLS, _FEWEST = 4000, 6000, 15
#: Classes that a figure in a file can name.
_DRAWN = 60
NOTE = (
    "Error: how far the probability of the class is from its frequency, in bins of equal width, averaged over "
    "all samples. Says: mean probability of the class; are: share of the samples that have it. Found: share of "
    "its samples that are predicted as it. Orange: the class is given more probability than it has; blue: less."
)
HEAT_NOTE = (
    "A number is the calibration error of the probability of a class, in percentage points; + and orange where "
    "the class is given more probability than it has, − and blue where less. The stronger the colour, the "
    "larger the error. The headings sort."
)
#: From too little over none to too much.
DIVERGING = LinearSegmentedColormap.from_list("gap", [UNDER, MIDDLE, OVER])


def table(comparison: Comparison, method: Method, anchor: str) -> Table | None:
    """Return how each class is predicted, the one furthest off first; None where nothing is known."""
    if RAW not in method.classes:
        return None
    raw, stages, names = method.classes[RAW], list(method.classes), class_names(comparison)
    kept = _kept(raw.error.numpy(), _TABLE_CELLS // (len(comparison.methods) * (4 + len(stages))))
    made = Table(
        f"classes-{anchor}",
        f"Classes as {method.name} predicts them" + _cut(len(kept), len(raw.error)),
        "Class",
        "classes-note",
    )
    for stage in stages:
        made.column("error %", when(stage), better="lower")
    made.column("probability %", "says")
    made.column("probability %", "are")
    made.column("", "found %", better="higher")
    made.column("", "pixels" if comparison.maps else "samples")
    scale = max(float(facts.error.max()) for facts in method.classes.values()) or 1.0
    for k in kept:
        cells = []
        for stage in stages:
            facts = method.classes[stage]
            error, above = float(facts.error[k]), float(facts.said[k] - facts.share[k])
            cells.append(number(error, f"{100 * error:.2f}", tint=_tint(error, above, scale)))
        cells += [
            number(float(values[k]), f"{100 * float(values[k]):.2f}")
            for values in (raw.said, raw.share, raw.found)
        ]
        cells.append(number(float(raw.count[k]), f"{float(raw.count[k]):,.0f}"))
        made.add(names[k], cells)
    return made


def heat(comparison: Comparison, stage: str, names: Sequence[str]) -> Table | None:
    """Return the errors of all classes by all methods at a stage, the class furthest off first."""
    methods = [method for method in comparison.methods if stage in method.classes]
    if not methods:
        return None
    errors, above = _errors(methods, stage)
    stages = len([s for s in comparison.stages if any(s in m.classes for m in comparison.methods)])
    kept = _kept(errors.mean(0), _HEAT_CELLS // (len(methods) * stages))
    made = Table(
        f"heat-{stage}",
        f"Calibration error of each class {when(stage)}, percentage points" + _cut(len(kept), errors.shape[1]),
        "Class",
        "heat-note",
    )
    for method in methods:
        made.column("", method.name)
    scale = float(errors.max()) or 1.0
    for k in kept:
        cells = []
        for error, over in zip(errors[:, k], above[:, k], strict=True):
            sign = "+" if over > 0 else "−"
            cells.append(number(error, f"{sign}{100 * error:.2f}", tint=_tint(error, over, scale)))
        made.add(names[k], cells)
    return made


@styled
def draw(comparison: Comparison, stage: str, names: Sequence[str]) -> Drawing | None:
    """Draw the heat map of `heat`, the classes furthest off at the top."""
    methods = [method for method in comparison.methods if stage in method.classes]
    if not methods:
        return None
    errors, above = _errors(methods, stage)
    kept = _kept(errors.mean(0), _DRAWN)
    signed = 100 * (np.where(above > 0, errors, -errors)[:, kept]).T
    figure = Figure(figsize=(2.2 + 0.62 * len(methods), 1.5 + 0.17 * len(kept)), layout="constrained")
    axes = figure.subplots()
    limit = float(abs(signed).max()) or 1.0
    image = axes.imshow(signed, aspect="auto", interpolation="none", cmap=DIVERGING, vmin=-limit, vmax=limit)
    axes.set_xticks(
        range(len(methods)),
        [method.name for method in methods],
        rotation=40,
        ha="right",
        rotation_mode="anchor",
    )
    axes.set_yticks(range(len(kept)), [names[k] for k in kept])
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(
        image, ax=axes, pad=0.02, aspect=30, label="calibration error, percentage points"
    ).outline.set_visible(False)
    worst = np.unravel_index(np.argmax(abs(signed)), signed.shape)
    words = (
        f"Furthest off: {names[kept[int(worst[0])]]} by {methods[int(worst[1])].name}, "
        f"{signed[worst]:+.2f} percentage points."
    )
    return Drawing(figure, f"Calibration error of each class {when(stage)}", words)


def heats(comparison: Comparison) -> list[dict[str, Any]]:
    """Return the heat map of each stage that has one, as the page switches between them."""
    names = class_names(comparison)
    found = []
    for stage in comparison.stages:
        made = heat(comparison, stage, names)
        if made is not None:
            found.append({"anchor": f"classes-{stage}", "name": when(stage), "table": made})
    return found


def class_names(comparison: Comparison) -> Sequence[str]:
    """Return the names of the classes, or their numbers."""
    known = [method.classes[RAW] for method in comparison.methods if RAW in method.classes]
    count = len(known[0].error) if known else len(comparison.class_names)
    names = comparison.class_names
    return names if len(names) == count else [str(k) for k in range(count)]


def _errors(methods: Sequence[Method], stage: str) -> tuple[Array, Array]:
    """Return (M, C) the errors, and how much more probability the classes are given than they have."""
    facts = [method.classes[stage] for method in methods]
    return np.stack([each.error.numpy() for each in facts]), np.stack(
        [(each.said - each.share).numpy() for each in facts]
    )


def _kept(errors: Array, most: int) -> list[int]:
    order: list[int] = np.argsort(-errors, kind="stable")[: max(most, _FEWEST)].tolist()
    return order


def _cut(kept: int, classes: int) -> str:
    return f": the {kept} furthest off of {classes:,}" if kept < classes else ""


def _tint(error: float, above: float, scale: float) -> float:
    return (1 if above > 0 else -1) * error / scale
