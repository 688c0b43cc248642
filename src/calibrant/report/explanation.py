"""What `calibrant explain` writes: a figure with its table as a page, or the figure alone."""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from calibrant import __version__
from calibrant.errors import InputError
from calibrant.report.figures import Drawing
from calibrant.report.style import dark_css
from calibrant.training.files import replacing

ENDINGS = (".html", ".svg", ".png", ".pdf")


def check_ending(path: Path) -> None:
    """Raise `InputError` for a file that `write_explanation` could not write."""
    if path.suffix not in ENDINGS:
        raise InputError(f"An explanation is written as {', '.join(ENDINGS)}, not as {path.name!r}.")


def write_explanation(
    drawings: Sequence[Drawing],
    figure_caption: str,
    path: Path,
    *,
    title: str,
    lede: str,
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    caption: str,
    notes: Sequence[str] = (),
) -> Path:
    """Write a figure, or a self-contained page of figures and their table that loads nothing.

    Args:
        drawings: the figure; for a page one or several.
        figure_caption: what stands under the last of them on the page.
        path: the file; its ending says what becomes of it.
        title: the heading of the page.
        lede: the line under that.
        heads: the headings of the table.
        rows: its cells, as text.
        caption: its caption.
        notes: sentences below it.

    Raises:
        InputError: another ending than those of `ENDINGS`, or a folder.
    """
    check_ending(path)
    if path.suffix != ".html":
        (drawing,) = drawings
        return drawing.save(path)
    environment = Environment(
        loader=PackageLoader("calibrant.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    assert environment.loader is not None
    sheet = environment.loader.get_source(environment, "page.css")[0].strip()
    dark = f"\n@media screen and (prefers-color-scheme: dark){{{dark_css('svg')}}}"
    page = environment.get_template("explanation.html.j2").render(
        title=title,
        lede=lede,
        version=__version__,
        css=Markup(sheet + dark),
        figures=[Markup(drawing.svg(f"explanation-{k}")) for k, drawing in enumerate(drawings)],
        caption=figure_caption,
        table_caption=caption,
        heads=heads,
        rows=rows,
        notes=notes,
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path
