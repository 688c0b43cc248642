"""The parts of the page: each function turns evidence into what one section of the template shows."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from calibrant.compare.columns import METRICS
from calibrant.compare.stages import DEFAULT, RAW, calibration, short, when
from calibrant.compare.table import Cell as Measured
from calibrant.compare.table import Table as Measurements
from calibrant.report.bins import Bins
from calibrant.report.doubts import differing_settings
from calibrant.report.figures import ACROSS, Drawing, Dumbbell, Panel, curves, diagrams, overview
from calibrant.report.leading import extremes
from calibrant.report.method import Comparison, Method, Spread
from calibrant.report.style import Look
from calibrant.report.tables import Cell, Table, number
from calibrant.report.text import percent

View = dict[str, Any]
#: Column of `metrics.csv`: title of its panel, and the factor it is shown with.
_CURVES = {"train_loss": ("training loss", 1.0), "val_ece": ("ECE on validation, %", 100.0)}
#: Classes and names beyond this many are counted, not listed.
_LISTED = 20
#: Stages beyond this many have rows of their own in the table: their columns would not fit.
_SIDE_BY_SIDE = 2
#: Width of one reliability diagram in a page, and of what stands beside them, in rem.
_PANEL, _MARGIN = 16.0, 2.0


def diagram(method: Method) -> Drawing:
    """Draw the reliability of a method, as trained and after each calibrator."""
    panels = [Panel(when(stage), bins, notes(method, stage)) for stage, bins in method.bins.items()]
    return diagrams(panels, f"Reliability of {method.name}")


def elsewhere(method: Method, split: str) -> Drawing:
    """Draw the reliability of a method on data of another kind."""
    panels = []
    for stage, bins in method.elsewhere[split].items():
        ece = method.spread("ece", stage, split)
        panels.append(Panel(when(stage), bins, (f"ECE {percent(ece.mean, ece.std)}",) if ece else ()))
    return diagrams(panels, f"Reliability of {method.name} on {split}")


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
    """Draw the ECE of each method as trained and after each calibrator, the lowest first."""
    rows = sorted(comparison.table.rows, key=lambda row: row.cells["ece"][RAW].mean)
    if len(rows) < 2 and len(comparison.stages) < 3:
        return None
    bells = [
        Dumbbell(
            row.method,
            [100 * value for value in row.cells["ece"][RAW].values],
            {
                when(stage): [100 * value for value in row.cells["ece"][stage].values]
                for stage in comparison.stages
                if stage != RAW
            },
        )
        for row in rows
    ]
    return overview(bells, look, "expected calibration error on test, %", "ECE of each method")


def metrics_table(
    comparison: Comparison,
    shown: Measurements,
    look: Mapping[str, Look],
    anchors: Mapping[str, str],
    anchor: str = "numbers",
) -> Table:
    """Return the metrics of each method, as `Cell.text` writes them.

    Where there are few stages of calibration they stand side by side, else each has a row.
    """
    on_test = shown.split == "test"
    made = Table(anchor, f"Metrics on {'the test samples' if on_test else shown.split}", "Method")
    made.note = "table-note" if on_test else "elsewhere-note"
    if len(shown.stages) > _SIDE_BY_SIDE:
        _stacked(made, shown, look, anchors)
        return made
    columns = [(metric, stage) for metric in shown.metrics for stage in _shown_stages(shown, metric)]
    for metric, stage in columns:
        label, _, _, more = METRICS[metric]
        better = "higher" if more else "lower"
        if len(_shown_stages(shown, metric)) > 1:
            made.column(label, _HEADS.get(stage, stage), better=better)
        else:
            made.column("", label, better=better)
    temperatures = on_test and any(method.temperatures for method in comparison.methods)
    if temperatures:
        made.column("", "T")
    for row in shown.rows:
        cells = [_cell(row.cells[metric][stage], metric) for metric, stage in columns]
        if temperatures:
            cells.append(_temperature_cell(comparison.method(row.method)))
        made.add(
            row.method, cells, anchor=anchors.get(row.method, ""), colour=look[row.method].colour, mark=row.mark
        )
    return made


_HEADS = {RAW: "trained", DEFAULT: "scaled"}


def _stacked(made: Table, shown: Measurements, look: Mapping[str, Look], anchors: Mapping[str, str]) -> None:
    made.column("", "calibrated", text=True)
    for metric in shown.metrics:
        label, _, _, more = METRICS[metric]
        made.column("", label, better="higher" if more else "lower")
    for row in shown.rows:
        for place, stage in enumerate(shown.stages):
            if row.cells[shown.metrics[0]][stage].values:
                # The stages keep their order where they are sorted by name.
                cells = [Cell(short(stage), f"{place:02d}")]
                cells += [_cell(row.cells[metric][stage], metric) for metric in shown.metrics]
                made.add(
                    row.method,
                    cells,
                    anchor=anchors.get(row.method, ""),
                    colour=look[row.method].colour,
                    mark=row.mark,
                )


def table_note(comparison: Comparison) -> str:
    """Return what a reader of the table must know."""
    shown = comparison.table
    stages = ""
    if comparison.after and len(shown.stages) <= _SIDE_BY_SIDE:
        head = _HEADS.get(comparison.after, comparison.after)
        stages = f" Trained: as trained; {head}: {when(comparison.after)}."
    return f"{' '.join(shown.explanations).replace('* best:', 'Marked best:')}{stages} The headings sort."


def _shown_stages(shown: Measurements, metric: str) -> list[str]:
    """Return the stages that need a column: one where scaling changed nothing, as it must for the accuracy."""
    changed = any(
        row.cells[metric][stage].values not in ([], row.cells[metric][RAW].values)
        for row in shown.rows
        for stage in shown.stages
    )
    return shown.stages if changed else shown.stages[:1]


def _cell(cell: Measured, metric: str) -> Cell:
    if not cell.values:
        return Cell("–")
    mean, _, std = cell.text(metric).removesuffix("*").partition(" ± ")
    sort = "" if math.isnan(cell.mean) else repr(cell.mean)
    return Cell(mean, sort, std and f"± {std}", cell.best)


def _temperature_cell(method: Method) -> Cell:
    values = method.temperatures
    if not values:
        return Cell("–")
    std = f"± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return number(float(np.mean(values)), f"{np.mean(values):.2f}", below=std)


def lede(comparison: Comparison) -> str:
    """Return the line under the title."""
    data, counts = comparison.data, sorted({len(method.runs) for method in comparison.methods})
    methods = f"{len(comparison.methods)} {'method' if len(comparison.methods) == 1 else 'methods'}"
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    word = "Recipes" if ", " in comparison.recipe else "Recipe"
    parts = [f"{word} {comparison.recipe}", f"{methods} × {seeds} {'seed' if counts == [1] else 'seeds'}"]
    if isinstance(data.get("test"), int):
        samples = "images" if comparison.maps else "samples"
        parts.append(f"tested on {data['test']:,} {samples} of {data.get('classes', '?')} classes")
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
        ("Intervals", _intervals(bins, comparison.maps)),
        ("Calibrators", _calibrators(comparison)),
        ("Comparison", comparison.table.explanations[0].replace("* best:", "Marked as best:")),
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
        of = "pixels" if comparison.maps else "samples"
        parts.append(f"Training {of} per class: {min(counts):,} to {max(counts):,}.")
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


def _intervals(bins: Bins | None, maps: bool) -> str:
    if maps:
        return (
            "95 %, by drawing the test images again (a percentile bootstrap): pixels of an image depend on one "
            "another. Means of the ends of the single runs. Over- or under-confident is said where the "
            "interval of mean confidence − accuracy excludes 0."
        )
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


def _calibrators(comparison: Comparison) -> str:
    after = [stage for stage in comparison.stages if stage != RAW]
    if not after:
        return ""
    temperature = " One temperature T a run minimises their NLL; the logits are divided by it."
    return (
        f"{', '.join(map(calibration, after)).capitalize()}: fitted on the validation samples of each run, "
        f"judged on test.{temperature if DEFAULT in after else ''}{_chosen(comparison)}"
    )


def _chosen(comparison: Comparison) -> str:
    """Return what the automatic choice chose."""
    chosen: dict[str, list[str]] = {}
    for method in comparison.methods:
        for seed, result in zip(method.seeds, method.results, strict=True):
            name = (result.get("posthoc", {}).get("auto") or {}).get("chosen")
            if name:
                chosen.setdefault(str(name), []).append(f"{method.name} (seed {seed})")
    each = [f"{calibration(name)} for {', '.join(whose)}" for name, whose in chosen.items()]
    return f" Cross-validation chose {'; '.join(each)}." if each else ""


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


def figure_view(
    drawing: Drawing | None, name: str, caption: str, width: float = 0.0, *, wide: bool = False
) -> View | None:
    """Return a figure inlined.

    Args:
        drawing: the figure.
        name: that of no other figure of the page.
        caption: what stands under it.
        width: how wide it may become, in rem; 0 for any width.
        wide: whether a narrow screen scrolls it, where it would be illegible shrunk.
    """
    if drawing is None:
        return None
    return {
        "svg": Markup(drawing.svg(name)),
        "caption": caption,
        "width": f"{width:g}" if width else "",
        "wide": wide,
    }


def width_of(panels: int) -> float:
    """Return how wide so many reliability diagrams side by side should become in a page, in rem."""
    return _PANEL * min(panels, ACROSS) + _MARGIN
