"""The report: one HTML file that holds everything it shows."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from calibrant import __version__
from calibrant.compare.table import Table
from calibrant.report import classes, perturbed, sections
from calibrant.report.evidence import Comparison, gather, printable
from calibrant.report.style import Look, dark_css, looks
from calibrant.report.summary import summarise
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


def write_report(runs: Sequence[RunFolder], path: Path, title: str, *, table: Table | None = None) -> Path:
    """Write the report of a comparison.

    It is made from the files of the runs alone, loads nothing, and is the same, byte for byte, for the same
    files.

    Args:
        runs: runs of one recipe on the same data, any number of methods and seeds; unfinished ones are left
            out, and the report says so.
        path: the HTML file to write; it is replaced when it exists.
        title: the heading of the page.
        table: what `tabulate` returned for these runs, if it is at hand: the tests in it take a while.

    Returns:
        `path`.

    Raises:
        InputError: no finished run, runs of different recipes or data, a file that cannot be read.
    """
    html = render(gather(runs, table), title)
    write_text(path, html)
    return path


def render(comparison: Comparison, title: str) -> str:
    """Return the page of a comparison."""
    look = looks([method.name for method in comparison.methods])
    anchors = sections.slugs([method for method in comparison.methods if method.bins])
    diagrams = [_card(comparison, name, anchor, look[name]) for name, anchor in anchors.items()]
    training = sections.figure_view(sections.training(comparison, look), "training", _TRAINING)
    learned = classes.views(comparison)
    levels = perturbed.views(comparison)
    shown = {
        "summary": "In short",
        "table": "The numbers",
        "diagrams": "Reliability" if diagrams else "",
        "training": "Training" if training else "",
        "classes": "Classes" if learned else "",
        "levels": "Images" if levels else "",
        "made": "How they were made",
    }
    return compose(
        title,
        [(anchor, name) for anchor, name in shown.items() if name],
        lede=sections.lede(comparison),
        points=summarise(comparison),
        pictures=[picture for picture in _pictures(comparison, look) if picture],
        notices=comparison.notices,
        table=sections.table_view(comparison, look, {n: f"method-{a}" for n, a in anchors.items()}),
        diagrams=diagrams,
        training=training,
        learned=learned,
        learned_caption=classes.CAPTION,
        levels=levels,
        levels_caption=perturbed.CAPTION,
        facts=sections.facts(comparison),
        recipe=sections.recipe(comparison),
    )


#: What a page shows that says nothing of it.
_PARTS: dict[str, Any] = {
    "notices": [],
    "diagrams": [],
    "diagrams_head": "Reliability of each method",
    "reading": _READING,
    "training": None,
    "learned": [],
    "learned_caption": "",
    "levels": [],
    "levels_caption": "",
    "by_class": [],
    "by_class_caption": "",
    "recipe": None,
    "made_from": "the files of the runs",
}


def compose(title: str, named: Sequence[tuple[str, str]], **parts: Any) -> str:
    """Return a page.

    Args:
        title: its heading.
        named: ids and names of its sections, in order.
        parts: what the template shows: `lede`, `points`, `pictures`, `table` and `facts`; by choice the others.
    """
    environment = Environment(
        loader=PackageLoader("calibrant.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
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
    if len(comparison.methods) == 1:
        which = "As trained"
    else:
        which = "The method with the highest ECE and the one with the lowest, as trained"
    return [
        sections.figure_view(
            sections.headline(comparison),
            "headline",
            f"{which}: accuracy in bins of confidence. On the dashed line the two agree.",
        ),
        sections.figure_view(
            sections.ladder(comparison, look),
            "overview",
            "ECE of each method on test: large marks are means over the seeds, ticks the seeds.",
        ),
    ]


def _card(comparison: Comparison, name: str, anchor: str, look: Look) -> sections.View:
    method = comparison.method(name)
    drawing = sections.diagram(method)
    temperatures = ", ".join(f"{value:.2f}" for value in method.temperatures)
    pooled = f"{len(method.runs)} seeds pooled" if len(method.runs) > 1 else f"seed {method.seeds[0]}"
    caption = f"{pooled[0].upper()}{pooled[1:]}." + (f" T = {temperatures}." if temperatures else "")
    return {
        "anchor": f"method-{anchor}",
        "name": name,
        "settings": method.settings,
        "colour": look.colour,
        "svg": Markup(drawing.svg(f"f-{anchor}")),
        "caption": caption,
    }
