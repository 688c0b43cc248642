"""The parts of the page: each function turns evidence into what one section of the template shows."""

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from calibrant.compare.columns import EXPLANATION, METRICS
from calibrant.compare.table import Cell, Row
from calibrant.report.bins import Bins
from calibrant.report.evidence import RAW, SCALED, Comparison, Method, Spread, differing_settings
from calibrant.report.figures import Drawing, Dumbbell, Panel, curves, diagrams, overview
from calibrant.report.style import Look
from calibrant.report.summary import extremes, percent

View = dict[str, Any]
STAGE_TITLES = {RAW: "as trained", SCALED: "after temperature scaling"}
_STAGE_HEADS = {RAW: "trained", SCALED: "scaled"}
#: Column of `metrics.csv`: title of its panel, and the factor it is shown with.
_CURVES = {"train_loss": ("training loss", 1.0), "val_ece": ("ECE on validation, %", 100.0)}
#: Classes and names beyond this many are counted, not listed.
_LISTED = 20


def slug(name: str, taken: Sequence[str] = ()) -> str:
    """Return a name as an id or a file name can hold it, different from those that are taken.

    Example:
        >>> slug("mbls:margin=6"), slug("a/b", ["a-b"])
        ('mbls-margin-6', 'a-b-2')
    """
    base = re.sub(r"[^A-Za-z0-9_.]+", "-", name).strip("-.") or "method"
    used = {other.lower() for other in taken}
    candidates = (base if k == 1 else f"{base}-{k}" for k in range(1, len(used) + 2))
    return next(c for c in candidates if c.lower() not in used)


def slugs(methods: Sequence[Method]) -> dict[str, str]:
    """Return a slug of each method by its name, all different."""
    made: dict[str, str] = {}
    for method in methods:
        made[method.name] = slug(method.name, list(made.values()))
    return made


def diagram(method: Method) -> Drawing:
    """Draw the reliability of a method, before and after temperature scaling."""
    panels = [Panel(STAGE_TITLES[stage], bins, notes(method, stage)) for stage, bins in method.bins.items()]
    return diagrams(panels, f"Reliability of {method.name}")


def headline(comparison: Comparison) -> Drawing | None:
    """Draw the least and the most trusted method as trained; None without their bins."""
    names = dict.fromkeys(row.method for row in reversed(extremes(comparison)))
    methods = [comparison.method(name) for name in names]
    if not all(RAW in method.bins for method in methods):
        return None
    panels = [Panel(method.name, method.bins[RAW], notes(method, RAW)) for method in methods]
    return diagrams(panels, f"Reliability of {' and '.join(names)}, as trained")


def notes(method: Method, stage: str) -> tuple[str, ...]:
    """Return the lines that stand in a diagram: the ECE, its interval, the direction of the error."""
    lines = []
    ece = method.spread("ece", stage)
    if ece:
        lines.append(f"ECE {percent(ece.mean, ece.std)}")
        if not math.isnan(ece.low):
            lines.append(f"95 % interval {_interval(ece)}")
    gap = method.gaps[stage]
    lines.append(
        f"{gap.verdict} by {abs(gap.value) * 100:.1f} points"
        if gap.verdict
        else "neither over- nor under-confident"
    )
    return tuple(lines)


def _interval(spread: Spread) -> str:
    return f"{100 * spread.low:.2f} to {100 * spread.high:.2f} %"


def training(comparison: Comparison, look: dict[str, Look]) -> Drawing | None:
    """Draw the training curves of the methods that have any."""
    panels = {
        title: {m.name: m.curves[column].times(factor) for m in comparison.methods if column in m.curves}
        for column, (title, factor) in _CURVES.items()
    }
    shown = {title: lines for title, lines in panels.items() if lines}
    return curves(shown, look, "Training curves") if shown else None


def ladder(comparison: Comparison, look: dict[str, Look]) -> Drawing | None:
    """Draw the ECE of each method before and after temperature scaling, the lowest first."""
    rows = sorted(comparison.table.rows, key=lambda row: row.cells["ece"][RAW].mean)
    if len(rows) < 2:
        return None
    scaled = SCALED in comparison.table.stages
    bells = [
        Dumbbell(
            row.method,
            [100 * value for value in row.cells["ece"][RAW].values],
            [100 * value for value in row.cells["ece"][SCALED].values] if scaled else (),
        )
        for row in rows
    ]
    return overview(bells, look, "expected calibration error on test, %", "ECE of each method")


def table_view(comparison: Comparison, look: dict[str, Look], anchors: dict[str, str]) -> View:
    """Return the table: groups of columns, rows of cells as `Cell.text` writes them."""
    table = comparison.table
    columns = [(metric, stage) for metric in table.metrics for stage in _shown_stages(comparison, metric)]
    temperatures = any(method.temperatures for method in comparison.methods)
    rows = []
    for row in table.rows:
        cells = [
            _cell(row.cells[metric][stage], metric, first=stage == table.stages[0]) for metric, stage in columns
        ]
        if temperatures:
            cells.append(_temperature_cell(comparison.method(row.method)))
        rows.append(
            {
                "name": row.method,
                "mark": row.label.removeprefix(row.method),
                "anchor": anchors.get(row.method),
                "colour": look[row.method].colour,
                "cells": cells,
            }
        )
    groups = [
        {
            "label": METRICS[metric][0],
            "better": "higher" if METRICS[metric][3] else "lower",
            "stages": [_STAGE_HEADS[stage] for stage in _shown_stages(comparison, metric)],
        }
        for metric in table.metrics
    ]
    stages = " Trained: as trained; scaled: after temperature scaling." if SCALED in table.stages else ""
    note = f"{' '.join(table.explanations).replace('* best:', 'Marked best:')}{stages} The headings sort."
    return {"of": "Method", "groups": groups, "rows": rows, "temperatures": temperatures, "note": note}


def _shown_stages(comparison: Comparison, metric: str) -> list[str]:
    """Return the stages that need a column: one where scaling changed nothing, as it must for the accuracy."""
    stages = comparison.table.stages
    changed = any(
        _values(row, metric, RAW) != _values(row, metric, stage)
        for row in comparison.table.rows
        for stage in stages
    )
    return stages if changed else stages[:1]


def _values(row: Row, metric: str, stage: str) -> list[float]:
    return row.cells[metric][stage].values


def _cell(cell: Cell, metric: str, *, first: bool) -> View:
    mean, _, std = cell.text(metric).removesuffix("*").partition(" ± ")
    sort = "" if math.isnan(cell.mean) else repr(cell.mean)
    return {"mean": mean, "std": std and f"± {std}", "sort": sort, "best": cell.best, "first": first}


def _temperature_cell(method: Method) -> View:
    values = method.temperatures
    if not values:
        return {"mean": "–", "std": "", "sort": "", "best": False, "first": True}
    std = f"± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return {
        "mean": f"{np.mean(values):.2f}",
        "std": std,
        "sort": repr(float(np.mean(values))),
        "best": False,
        "first": True,
    }


def lede(comparison: Comparison) -> str:
    """Return the line under the title."""
    data, counts = comparison.data, sorted({len(method.runs) for method in comparison.methods})
    methods = f"{len(comparison.methods)} {'method' if len(comparison.methods) == 1 else 'methods'}"
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    word = "Recipes" if ", " in comparison.recipe else "Recipe"
    parts = [f"{word} {comparison.recipe}", f"{methods} × {seeds} {'seed' if counts == [1] else 'seeds'}"]
    if isinstance(data.get("test"), int):
        parts.append(f"tested on {data['test']:,} samples of {data.get('classes', '?')} classes")
    return " · ".join(parts)


def facts(comparison: Comparison) -> list[View]:
    """Return how the numbers were made, a fact each."""
    bins = next((bins for method in comparison.methods for bins in method.bins.values()), None)
    found = [
        ("Recipes", _recipes(comparison)),
        ("Data", _data(comparison)),
        ("Classes", _classes(comparison)),
        ("Seeds", _seeds(comparison)),
        ("Calibration error", _errors(bins)),
        ("Intervals", _intervals(bins)),
        ("Temperature scaling", _scaling(comparison)),
        ("Comparison", EXPLANATION.replace("* best:", "Marked as best:")),
        ("Versions", _versions(comparison)),
        ("Time", _time(comparison)),
    ]
    return [{"head": head, "text": text} for head, text in found if text]


def _recipes(comparison: Comparison) -> str:
    names = dict.fromkeys(str(result["recipe"]) for result in comparison.results)
    if len(names) < 2:
        return ""
    differing = differing_settings([run for method in comparison.methods for run in method.runs])
    what = f"beside loss and seed they differ in {', '.join(differing)}" if differing else "with other losses"
    return f"{len(names)}: {', '.join(names)}; {what}."


def _data(comparison: Comparison) -> str:
    data = comparison.data
    named = (("train", "training"), ("val", "validation"), ("test", "test"))
    sizes = [f"{data[key]:,} {word}" for key, word in named if isinstance(data.get(key), int)]
    note = f"; {data['note']}" if data.get("note") else ""
    return f"{data.get('name', 'unnamed')}: {', '.join(sizes)} samples{note}."


def _classes(comparison: Comparison) -> str:
    names, counts = comparison.class_names, comparison.data.get("class_counts") or []
    listed = ", ".join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")
    parts = [f"{comparison.data.get('classes', len(names))} classes" + (f": {listed}." if listed else ".")]
    if counts:
        parts.append(f"Training samples per class: {min(counts):,} to {max(counts):,}.")
    return " ".join(parts)


def _seeds(comparison: Comparison) -> str:
    seeds = sorted({seed for method in comparison.methods for seed in method.seeds})
    return (
        f"{', '.join(map(str, seeds))}. A seed sets the initial weights and the order of the samples; the "
        "table gives mean ± standard deviation (n − 1) over the seeds."
    )


def _errors(bins: Bins | None) -> str:
    number = f"{len(bins.share)} bins" if bins else "bins"
    return (
        f"ECE: the confidence of the predicted class in {number} of equal width, (lower, upper], and the mean "
        "over the samples of |accuracy − mean confidence| of their bin. AECE: bins of equal mass. Class-wise: "
        "the same for the probability of each class, averaged over the classes."
    )


def _intervals(bins: Bins | None) -> str:
    text = (
        "95 %. Of the ECE: the mean ends of the intervals of the single runs, which see the choice of the test "
        "samples."
    )
    if bins is None:
        return text
    return text + (
        " In the diagrams: Wilson's interval of the accuracy of a bin, the seeds pooled but counted as one set "
        "of test samples. Over- or under-confident is said where the interval of mean confidence − accuracy, "
        "over samples and seeds, excludes 0."
    )


def _scaling(comparison: Comparison) -> str:
    if not any(method.temperatures for method in comparison.methods):
        return ""
    return (
        "One temperature T a run, fitted on the validation samples by their NLL; the logits are divided by it."
    )


def _versions(comparison: Comparison) -> str:
    found: dict[str, set[str]] = {}
    for result in comparison.results:
        for name, version in result.get("versions", {}).items():
            found.setdefault(name, set()).add(str(version))
    parts = [f"{name} {' and '.join(sorted(versions))}" for name, versions in found.items()]
    commits = sorted({result["git_commit"][:12] for result in comparison.results if result.get("git_commit")})
    if commits:
        parts.append(f"git {'commits' if len(commits) > 1 else 'commit'} {', '.join(commits)}")
    return ", ".join(parts)


def _time(comparison: Comparison) -> str:
    seconds = [
        result["wall_seconds"] for result in comparison.results if result.get("wall_seconds") is not None
    ]
    if not seconds:
        return ""
    each = sum(seconds) / len(seconds)
    return f"{sum(seconds):,.0f} s for {len(seconds)} runs, {each:,.1f} s each on average."


def recipe(comparison: Comparison) -> View | None:
    """Return the text of the first recipe there is, and whose it is."""
    for method in comparison.methods:
        for run, seed in zip(method.runs, method.seeds, strict=True):
            if run.recipe_path.is_file():
                return {"of": f"{method.name}, seed {seed}", "text": run.recipe_text()}
    return None


def figure_view(drawing: Drawing | None, name: str, caption: str) -> View | None:
    """Return a figure inlined."""
    return None if drawing is None else {"svg": Markup(drawing.svg(name)), "caption": caption}
