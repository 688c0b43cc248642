"""Words and numbers as a page can hold them."""

import math
import re
from collections.abc import Sequence

from markupsafe import Markup

#: Names that a sentence lists before it counts.
_MOST = 7


def printable(text: str) -> str:
    r"""Return a text without the characters that neither HTML nor SVG can hold.

    Example:
        >>> printable("a\x00b")
        'a\ufffdb'
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def shortened(name: str, most: int) -> str:
    """Return a name of at most so many letters, its middle left out.

    Example:
        >>> shortened("runs/digits/mbls-margin=6/seed0", 17)
        'runs/dig…=6/seed0'
    """
    if len(name) <= most:
        return name
    head = most // 2
    return f"{name[:head]}…{name[len(name) + head + 1 - most :]}"


def percent(value: float, std: float = float("nan")) -> str:
    """Return a share as "3.19 ± 0.54 %", in which no line breaks.

    Example:
        >>> percent(0.0319, 0.0054).replace("\N{NO-BREAK SPACE}", "_")
        '3.19_±_0.54_%'
    """
    text = f"{100 * value:.2f} %" if math.isnan(std) else f"{100 * value:.2f} ± {100 * std:.2f} %"
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def share(value: float) -> str:
    """Return a share with one digit."""
    return f"{100 * value:.1f}\N{NO-BREAK SPACE}%"


def points(value: float) -> str:
    """Return a difference of shares."""
    return f"{100 * value:.1f} percentage points"


def strong(name: str) -> Markup:
    """Return a name, stressed."""
    return Markup("<strong>{}</strong>").format(name)


def joined(parts: Sequence[Markup]) -> Markup:
    """Return "a, b and c".

    Example:
        >>> str(joined([Markup("a"), Markup("b"), Markup("c")]))
        'a, b and c'
    """
    if len(parts) < 2:
        return Markup("").join(parts)
    if len(parts) > _MOST:
        parts = [*parts[: _MOST - 1], Markup("{} more").format(len(parts) - _MOST + 1)]
    return Markup(", ").join(parts[:-1]) + " and " + parts[-1]


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


def slugs(names: Sequence[str]) -> dict[str, str]:
    """Return a slug of each name, all different."""
    made: dict[str, str] = {}
    for name in names:
        made[name] = slug(name, list(made.values()))
    return made
