"""The report: one HTML file that holds everything it shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from calibrant import __version__
from calibrant.compare.stages import RAW, when
from calibrant.compare.table import Table
from calibrant.report import activity, by_class, classes, differences, gaps, perturbed, sections
from calibrant.report.evidence import gather
from calibrant.report.figures import overlay
from calibrant.report.leading import elsewhere_head, extremes
from calibrant.report.method import Comparison
from calibrant.report.panels import panels
from calibrant.report.style import Look, dark_css, looks
from calibrant.report.summary import summarise
from calibrant.report.text import printable, slugs
from calibrant.training.files import write_text
from calibrant.training.run_folder import RunFolder

_READING = (
    "Predictions are sorted into bins by their confidence. Where they can be trusted, accuracy equals "
    "confidence: the bars end on the dashed diagonal. The coloured part of a bar is the gap, stronger where "
    "more predictions lie; the line on it is the 95 % interval of the accuracy, the dot's area the share of "
    "predictions. Below, the histogram of the confidence, with its mean (dashed) and the accuracy (solid)."
)
_TRAINING = (
    "Mean over the seeds; faint lines are the seeds. Each method minimises in units of its own: compare the "
    "shape of these curves, not their height. The epochs of a second stage follow those of the first, where "
    "that was trained in the same run."
)
_DIFFERENCES = (
    "Difference in ECE from the leading method (diamond), with its 95 % interval. Filled: worse by the paired "
    "test, corrected for the number of methods; hollow: not told apart from the leader."
)
#: Lines of more methods cannot be told apart in one diagram.
_OVERLAID = 8


def write_report(runs: Sequence[RunFolder], path: Path, title: str, *, table: Table | None = None) -> Path:
    """Write the report of a comparison.

    It is made from the files of the runs alone, loads nothing, and is the same, byte for byte, for the same
    files.

    Args:
        runs: runs on the same data, any number of recipes, methods and seeds; unfinished ones are left out, and
            the report says so.
        path: the HTML file to write; it is replaced when it exists.
        title: the heading of the page.
        table: what `tabulate` returned for these runs, if it is at hand: the tests in it take a while.

    Returns:
        `path`.

    Raises:
        InputError: no finished run, runs on different data, two of one method and seed, a file that cannot be
            read.
    """
    html = render(gather(runs, table), title)
    write_text(path, html)
    return path


def render(comparison: Comparison, title: str) -> str:
    """Return the page of a comparison."""
    look = looks([method.name for method in comparison.methods])
    anchors = slugs([method.name for method in comparison.methods])
    shown = panels(comparison, anchors, look)
    linked = {each["name"]: each["anchor"] for each in shown}
    training = [
        sections.figure_view(drawing, name, caption, wide=True)
        for drawing, name, caption in (
            (sections.training(comparison, look), "training", _TRAINING),
            (activity.drawing(comparison, look), "activity", activity.CAPTION),
        )
        if drawing
    ]
    heats = by_class.heats(comparison)
    stages = differences.stages_tested(comparison)
    others = comparison.table.others
    names = {
        "summary": "In short",
        "table": "The numbers",
        "elsewhere": elsewhere_head(comparison) if others else "",
        "differences": "Differences" if stages else "",
        "methods": ("Each method" if len(shown) > 1 else "The method") if shown else "",
        "classes": "Classes" if heats else "",
        "training": "Training" if training else "",
        "made": "How they were made",
    }
    splits = slugs([other.split for other in others])
    return compose(
        title,
        [(anchor, name) for anchor, name in names.items() if name],
        lede=sections.lede(comparison),
        points=summarise(comparison),
        pictures=[picture for picture in _pictures(comparison, look) if picture],
        notices=comparison.notices,
        tables=[sections.metrics_table(comparison, comparison.table, look, linked)],
        table_note=sections.table_note(comparison),
        elsewhere=[
            sections.metrics_table(comparison, other, look, linked, f"on-{splits[other.split]}")
            for other in others
        ],
        elsewhere_head=names["elsewhere"],
        elsewhere_note=others[0].explanations[0] if others else "",
        differences=_differences(comparison, stages, look, linked),
        panels=shown,
        panels_head=names["methods"],
        reading=_READING,
        heats=heats,
        training=training,
        facts=sections.facts(comparison),
        recipe=sections.recipe(comparison),
        learned_caption=classes.CAPTION,
        levels_caption=perturbed.CAPTION,
        gaps_caption=gaps.CAPTION,
        classes_note=by_class.NOTE,
        heat_note=by_class.HEAT_NOTE,
    )


#: What a page shows that says nothing of it.
_PARTS: dict[str, Any] = {
    "notices": [],
    "elsewhere": [],
    "elsewhere_head": "",
    "elsewhere_note": "",
    "differences": None,
    "panels": [],
    "panels_head": "",
    "reading": _READING,
    "heats": [],
    "training": [],
    "recipe": None,
    "learned_caption": "",
    "levels_caption": "",
    "gaps_caption": "",
    "classes_note": "",
    "heat_note": "",
    "made_from": "the files of the runs",
    "what": "methods",
}


def compose(title: str, named: Sequence[tuple[str, str]], **parts: Any) -> str:
    """Return a page.

    Args:
        title: its heading.
        named: ids and names of its sections, in order.
        parts: what the template shows: `lede`, `points`, `pictures`, `tables`, `table_note` and `facts`; by
            choice the others.
    """
    environment = Environment(
        loader=PackageLoader("calibrant.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    page = environment.get_template("page.html.j2").render(
        title=title,
        version=__version__,
        css=Markup(_asset(environment, "page.css") + _dark()),
        js=Markup(_asset(environment, "page.js")),
        sections=named,
        **_PARTS | parts,
    )
    return printable(page)


def _asset(environment: Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _dark() -> str:
    return f"\n@media screen and (prefers-color-scheme: dark){{{dark_css('svg')}}}"


def _pictures(comparison: Comparison, look: dict[str, Look]) -> list[sections.View | None]:
    """Return the figures beside the summary."""
    ends = len({row.method for row in extremes(comparison)})
    which = "As trained"
    if ends > 1:
        among = "" if comparison.table.ranked == comparison.table.rows else " of those that tell classes apart"
        which = f"The method with the highest ECE and the one with the lowest{among}, as trained"
    return [
        sections.figure_view(
            sections.headline(comparison),
            "headline",
            f"{which}: accuracy in bins of confidence. On the dashed line the two agree.",
            sections.width_of(ends),
        ),
        sections.figure_view(
            sections.ladder(comparison, look),
            "overview",
            "ECE of each method on test: large marks are means over the seeds, ticks the seeds.",
        ),
    ]


def _differences(
    comparison: Comparison, stages: Sequence[str], look: dict[str, Look], anchors: dict[str, str]
) -> sections.View | None:
    if not stages:
        return None
    figure = sections.figure_view(
        differences.draw(comparison, look), "differences-figure", _DIFFERENCES, wide=True
    )
    bins = {method.name: method.bins[RAW] for method in comparison.methods if RAW in method.bins}
    together = None
    if 1 < len(bins) <= _OVERLAID:
        together = sections.figure_view(
            overlay(bins, look, "Reliability of all methods, as trained"),
            "overlay",
            "All methods in one diagram, as trained; bins with few samples are left out.",
            36,
        )
    tables = [
        {
            "anchor": f"differ-{stage}",
            "name": when(stage),
            "table": differences.table(comparison, stage, look, anchors),
        }
        for stage in stages
    ]
    return {"figure": figure, "overlay": together, "tables": tables, "note": differences.CAPTION}
