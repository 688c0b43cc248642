"""Colours and settings that every figure shares.

The colours of ink and paper are those of the light theme; a page or a file turns them dark by one CSS rule a
colour (`dark_css`). The colours of the methods keep a contrast of at least 3 on both papers.
"""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from matplotlib import style

P = ParamSpec("P")
R = TypeVar("R")

PAPER, INK, MUTED, GRID, BAR = "#ffffff", "#1f2429", "#626a73", "#dfe3e8", "#cfd6de"
#: The gap of a bin whose confidence lies above its accuracy, and below it.
OVER, UNDER = "#cf5c1b", "#2e7fc1"
#: Between them in a heat map: on both papers neither.
MIDDLE = "#dfe3e8"

#: What each colour of the light theme becomes on dark paper.
DARK = {
    PAPER: "#14181d",
    INK: "#e4e8ec",
    MUTED: "#9aa3ad",
    GRID: "#2f363e",
    BAR: "#434d58",
    OVER: "#ee8442",
    UNDER: "#58a6e0",
}

#: Hues that stay apart under the common colour blindnesses, when their line styles are seen too.
HUES = ("#0f7fb5", "#d2620e", "#a8478f", "#1f8a5f", "#a07a00", "#d1495b", "#6d6fd0", "#2a8c94")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 2)), (0, (1.5, 1.5)))
MARKERS = "osD^vPX*"

#: Methods that usually meet keep their place in the sequence of hues, whatever else is compared.
_PLACES = {"mbls": 0, "ls": 1, "focal": 2, "acls": 3, "mdca": 4, "mmce": 5, "cals": 6}
#: The baseline is grey.
_BASELINE = "ce"

_SETTINGS: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.dpi": 72,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    "svg.hashsalt": "calibrant",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8,
    "xtick.major.size": 3,
    "xtick.major.width": 0.7,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8,
    "ytick.major.size": 3,
    "ytick.major.width": 0.7,
}


def styled(function: Callable[P, R]) -> Callable[P, R]:
    """Run a function under the settings of the figures, whatever the user's own settings of matplotlib are."""

    @wraps(function)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with style.context(["default", _SETTINGS]):
            return function(*args, **kwargs)

    return inner


class Look:
    """Colour, dashes and marker of a method.

    Args:
        place: its place in the sequence of looks; None for the grey of the baseline.
    """

    def __init__(self, place: int | None) -> None:
        self.place = place
        self.colour = MUTED if place is None else HUES[place % len(HUES)]
        self.dashes = DASHES[0 if place is None else place // len(HUES) % len(DASHES)]
        self.marker = MARKERS[0 if place is None else place % len(MARKERS)]


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return the look of each method, in the order given: the same look in every figure of a report.

    Example:
        >>> chosen = looks(["mine", "ce", "mbls"])
        >>> [chosen[name].place for name in chosen]
        [1, None, 0]
    """
    places: dict[str, int | None] = {name: _PLACES[name] for name in methods if name in _PLACES}
    if _BASELINE in methods:
        places[_BASELINE] = None
    taken = {place for place in places.values() if place is not None}
    free = (place for place in range(len(methods) + len(_PLACES)) if place not in taken)
    return {name: Look(places[name] if name in places else next(free)) for name in methods}


def dark_css(scope: str = "") -> str:
    """Return the CSS rules that turn a figure dark, each selector preceded by `scope`."""
    prefix = f"{scope} " if scope else ""
    return "".join(
        f'{prefix}[{attribute}="{light}"]{{{attribute}:{dark}}}'
        for light, dark in DARK.items()
        for attribute in ("fill", "stroke")
    )
