"""What is done to every page when the site is built."""

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.pages import Page

_FORMULA = re.compile(r'<(span|div) class="arithmatex">\s*\\[(\[](.*?)\\[)\]]\s*</\1>', re.DOTALL)


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
