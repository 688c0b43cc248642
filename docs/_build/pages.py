"""What is done to the files and to every page when the site is built."""

import re
from html import unescape
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)

_RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def on_files(files: Files, *, config: MkDocsConfig) -> None:
    """Take in the figures that lie beside the tables of the results."""
    for path in sorted(_RESULTS.glob("*.svg")):
        files.append(File.generated(config, f"images/{path.name}", abs_src_path=str(path)))


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> None:
    """Give the room of the navigation to pages that have no neighbours in it."""
    if page.parent is None:
        page.meta.setdefault("hide", ["navigation"])


def on_page_content(html: str, **_: Any) -> str:
    """Make MathML of each formula, so that no script has to be fetched to read it."""
    return _FORMULA.sub(_mathml, html)


def _mathml(found: re.Match[str]) -> str:
    block = found[1] == "div"
    latex = re.sub(r"\\arg\b", r"\\mathrm{arg}", unescape(found[2]).strip())
    formula = convert(latex, display="block" if block else "inline")
    formula = re.sub(r"<mi>(log|tanh)</mi>(?!<mo[^>]*>&#x00028;)", r"\g<0><mspace width='0.167em' />", formula)
    return f'<div class="formula">{formula}</div>' if block else formula
