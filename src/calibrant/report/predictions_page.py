"""The page of `calibrant evaluate`: predictions of any origin, judged, in the layout of the report."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from calibrant import __version__
from calibrant.metrics import Estimate, PairedTest, Reliability
from calibrant.predictions.judgement import Judgement
from calibrant.predictions.shown import MEASURES, Measure, interval, short_names
from calibrant.predictions.words import called, statements, verdict
from calibrant.report.bins import Bins, pool
from calibrant.report.figures import Drawing, Dumbbell, Panel, diagrams, overview
from calibrant.report.page import compose
from calibrant.report.panels import EMPTY
from calibrant.report.sections import View, figure_view, width_of
from calibrant.report.style import Look, looks
from calibrant.report.summary import Point
from calibrant.report.tables import Cell, Table, number
from calibrant.report.text import percent, printable, slugs
from calibrant.training.files import write_text

#: Classes of a file that the page lists, those furthest off.
_LISTED = 1000
_SHORT = {"classwise_ece": "class-wise %", "smooth_ece": "smooth %"}
_SHARE = Measure("share", 100.0, 2)


def write_predictions_report(
    found: Sequence[Judgement], tests: Mapping[str, Mapping[str, PairedTest]], path: Path
) -> Path:
    """Write the page of judged predictions: one self-contained file that loads nothing.

    Args:
        found: what `judge` returned, a file each.
        tests: what `compare` returned for them.
        path: the HTML file to write; it is replaced when it exists.

    Returns:
        `path`.
    """
    write_text(path, render_predictions(found, tests))
    return path


def render_predictions(found: Sequence[Judgement], tests: Mapping[str, Mapping[str, PairedTest]]) -> str:
    """Return the page of judged predictions."""
    names = [printable(each.name) for each in found]
    look, anchors = looks(names), list(slugs(names).values())
    single = len(found) == 1
    panels = [
        _panel(each, name, anchor, look[name], single=single)
        for each, name, anchor in zip(found, names, anchors, strict=True)
    ]
    return compose(
        f"Can {names[0]} be trusted?" if single else "Which predictions can be trusted?",
        [
            ("summary", "In short"),
            ("table", "The numbers"),
            ("methods", "Classes" if single else "Each file"),
            ("made", "How they were made"),
        ],
        lede=" · ".join(_lede(each, name) for each, name in zip(found, names, strict=True)),
        points=_points(found, names) + _compared(found[0], tests),
        pictures=[picture for picture in _pictures(found, names, look) if picture],
        notices=[printable(notice) for each in found for notice in each.notices],
        tables=[_table(found, names, [] if single else anchors, look)],
        table_note=_NOTE,
        panels=panels,
        panels_head="Classes" if single else "Each file",
        reading="" if single else _DIAGRAM,
        classes_note=_CLASSES,
        facts=_facts(found, names),
        made_from="files of predictions",
        what="files",
    )


def _panel(found: Judgement, name: str, anchor: str, look: Look, *, single: bool) -> View:
    """Return what is switched between files: the diagram, which a single file has above, and the classes."""
    figure = None
    if not single:
        figure = figure_view(
            _diagram(found, name), f"f-{anchor}", f"{found.rows:,} {_rows(found)}.", width_of(2)
        )
    return EMPTY | {
        "anchor": f"file-{anchor}",
        "name": name,
        "colour": look.colour,
        "figure": figure,
        "classes": _class_table(found, name, anchor),
    }


_NOTE = (
    "Under each value its 95 % interval. Class-wise and smooth: ECE. p: how probable errors as large are if "
    "the model is calibrated. The headings sort."
)
_DIAGRAM = (
    "Left: accuracy in bins of the confidence. Right: how frequent a class is in bins of its probability; of "
    "two classes the second, of more the one furthest off. On the dashed line the two agree; the coloured "
    "part of a bar is the gap, the line on it (not for maps) the 95 % interval. Below, the histogram."
)
_CLASSES = (
    "Error: how far the probability of the class is from its frequency, in bins of equal width, averaged over "
    "all rows; a calibrated model stays below the second number by chance in 95 % of cases. Says: mean "
    "probability of the class; are: share of the rows that have it. Found: share of its rows that are "
    "predicted as it. Coloured where it is not chance: orange where the class is given more probability than "
    "it has, blue where less. The headings sort."
)


def _rows(found: Judgement) -> str:
    return f"pixels of {found.maps:,} maps" if found.maps else "rows"


def _lede(found: Judgement, name: str) -> str:
    kind = "logits" if found.inputs == "logits" else "probabilities"
    return f"{name}: {found.rows:,} {_rows(found)}, {len(found.class_names)} classes, read as {kind}"


def _points(found: Sequence[Judgement], names: Sequence[str]) -> list[Point]:
    if len(found) == 1:
        return [Point(each.head, Markup("{}").format(each.text)) for each in statements(found[0])]
    return [
        Point(name, Markup("{}").format(" ".join(said.text for said in statements(each))))
        for each, name in zip(found, names, strict=True)
    ]


def _compared(first: Judgement, tests: Mapping[str, Mapping[str, PairedTest]]) -> list[Point]:
    points = []
    for name, by_metric in tests.items():
        said = [
            f"{MEASURES[metric].head} {MEASURES[metric].factor * test.difference:+.{MEASURES[metric].digits}f} "
            f"({interval(Estimate(*test[:3]), MEASURES[metric])}; p = {test.p_value:.2g})"
            for metric, test in by_metric.items()
        ]
        head = f"{printable(name)} less {printable(first.name)}, on the same labels"
        points.append(Point(head, Markup("{}").format("; ".join(said) + ".")))
    return points


def _pictures(found: Sequence[Judgement], names: Sequence[str], look: Mapping[str, Look]) -> list[View | None]:
    if len(found) == 1:
        return [figure_view(_diagram(found[0], names[0]), "headline", _DIAGRAM)]
    order = sorted(range(len(found)), key=lambda k: found[k].estimates["ece"].value)
    short = short_names(names)
    panels = [
        Panel(short[k], _bins(found[k], found[k].reliability), _notes(found[k])) for k in (order[-1], order[0])
    ]
    headline = diagrams(panels, f"Reliability of {names[order[-1]]} and {names[order[0]]}")
    bells = [Dumbbell(short[k], [100 * found[k].estimates["ece"].value]) for k in order]
    shown = dict(zip(short, (look[name] for name in names), strict=True))
    ladder = overview(bells, shown, "expected calibration error, %", "ECE of each file")
    return [
        figure_view(
            headline,
            "headline",
            "The file with the highest ECE and the one with the lowest: accuracy in bins of confidence. On the "
            "dashed line the two agree.",
        ),
        figure_view(ladder, "overview", "ECE of each file."),
    ]


def _diagram(found: Judgement, name: str) -> Drawing:
    """Draw the reliability of the predicted class, and that of the probability of the class furthest off."""
    facts = found.classes[found.shown_class]
    panels = [
        Panel("predicted class", _bins(found, found.reliability), _notes(found)),
        Panel(
            f"probability of {called(facts)}",
            _bins(found, found.class_reliability),
            (f"error {percent(facts.error)}", f"by chance below {percent(facts.limit)}"),
            ("probability", "frequency"),
        ),
    ]
    return diagrams(
        [replace(panel, title=printable(panel.title)) for panel in panels], f"Reliability of {name}"
    )


def _bins(found: Judgement, shown: Reliability) -> Bins:
    """Return the bins of a diagram; of maps without intervals, which would take pixels for independent."""
    bins = pool([shown])
    if not found.maps:
        return bins
    nan = np.full_like(bins.low, np.nan)
    return replace(bins, low=nan, high=nan)


def _notes(found: Judgement) -> tuple[str, ...]:
    ece = found.estimates["ece"]
    ends = interval(ece, _SHARE)
    lean = verdict(found)
    return (
        f"ECE {percent(ece.value)}",
        *([f"95 % interval {ends} %"] if ends else []),
        f"{lean} by {abs(found.gap.value) * 100:.1f} points" if lean else "neither over- nor under-confident",
    )


def _table(
    found: Sequence[Judgement], names: Sequence[str], anchors: Sequence[str], look: Mapping[str, Look]
) -> Table:
    made = Table("numbers", "Metrics of the predictions", "Predictions", "table-note")
    for metric, measure in MEASURES.items():
        made.column("", _SHORT.get(metric, measure.head), better="higher" if measure.higher else "lower")
    for label in ("ECE", "class-wise"):
        made.column("p if calibrated", label)
    for each, name, anchor in zip_longest(found, names, anchors):
        cells = [_cell(each.estimates[metric], measure) for metric, measure in MEASURES.items()]
        cells += [number(test.p_value, f"{test.p_value:.2g}") for test in each.tests.values()]
        made.add(name, cells, anchor=f"file-{anchor}" if anchor else "", colour=look[name].colour)
    return made


def _cell(estimate: Estimate, measure: Measure) -> Cell:
    sort = repr(estimate.value) if math.isfinite(estimate.value) else ""
    return Cell(measure.text(estimate.value), sort, interval(estimate, measure))


def _class_table(found: Judgement, name: str, anchor: str) -> Table:
    order = sorted(found.classes, key=lambda each: each.limit - each.error)[:_LISTED]
    scale = max((each.error for each in order), default=0.0) or 1.0
    classes = len(found.classes)
    cut = f": the {_LISTED:,} furthest off of {classes:,}" if classes > _LISTED else ""
    made = Table(f"classes-{anchor}", f"Classes of {name}{cut}", "Class", "classes-note")
    made.column("error %", "value", better="lower")
    made.column("error %", "by chance below")
    made.column("probability %", "says")
    made.column("probability %", "are")
    made.column("", "found %", better="higher")
    made.column("", _rows(found).partition(" ")[0])
    for each in order:
        # Coloured where it is not chance.
        tint = each.error / scale if each.error > each.limit else 0.0
        cells = [
            number(each.error, _SHARE.text(each.error), tint=tint if each.said > each.share else -tint),
            *(number(x, _SHARE.text(x)) for x in (each.limit, each.said, each.share, each.recall)),
            number(each.count, f"{each.count:,}"),
        ]
        made.add(printable(each.name), cells)
    return made


def _facts(found: Sequence[Judgement], names: Sequence[str]) -> list[dict[str, Any]]:
    bins = len(found[0].reliability.count)
    maps = any(each.maps for each in found)
    drawn = any(each.drawn_labels for each in found)
    facts = [
        ("Files", "; ".join(_lede(each, name) for each, name in zip(found, names, strict=True)) + "."),
        (
            "Calibration error",
            f"ECE: the confidence of the predicted class in {bins} bins of equal width, (lower, upper], and "
            "the mean over the rows of |accuracy − mean confidence| of their bin. AECE: bins of equal mass. "
            "Class-wise: the same for the probability of each class, averaged over the classes. MCE: the bin "
            "that is furthest off. Smooth ECE: a kernel instead of bins.",
        ),
        (
            "Proper scores",
            "NLL: mean of −log of the probability of the label, in nats. Brier: mean of the squared distance "
            "from the one-hot label, summed over the classes. " + _parts(found, names),
        ),
        (
            "Intervals",
            "95 %: Wilson's of the accuracy, the normal one of NLL and Brier, by inverting a test of the "
            "calibration errors."
            + (" Of maps: the maps are drawn again, since their pixels depend on one another." if maps else ""),
        ),
        (
            "Is it calibrated?",
            (
                "Labels are drawn from the probabilities themselves, and the errors that these show are "
                "compared with those of the labels that there are (consistency resampling)."
                if drawn
                else "Signs of the residuals of groups are turned at random, and the errors that these show "
                "are compared with those that there are."
            ),
        ),
        ("Version", f"calibrant {__version__}, torch {torch.__version__}"),
    ]
    return [{"head": head, "text": text} for head, text in facts]


def _parts(found: Sequence[Judgement], names: Sequence[str]) -> str:
    each = [
        f"{f'{name}: ' if len(found) > 1 else ''}Brier = {p['reliability']:.4f} reliability − "
        f"{p['resolution']:.4f} resolution + {p['uncertainty']:.4f} uncertainty {p['within_bins']:+.4f} within "
        "the bins."
        for name, p in zip(names, (judgement.brier_parts for judgement in found), strict=True)
    ]
    return " ".join(each)
