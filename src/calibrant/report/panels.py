"""What the page shows of one method: the part that is switched."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from calibrant.report import by_class, classes, gaps, mistakes, perturbed, sections
from calibrant.report.figures import Drawing
from calibrant.report.method import Comparison, Method
from calibrant.report.style import Look
from calibrant.training.errors import read_errors

View = dict[str, Any]
#: Pictures of errors on a whole page, and the fewest of a method.
_SHOTS, _FEWEST = 100, 4
#: Images of a row of a figure; of more methods than these, half as many.
_IMAGES, _MANY = 6, 5
#: What is there of a method of which nothing is known.
EMPTY: View = {
    "settings": "",
    "figure": None,
    "elsewhere": [],
    "classes": None,
    "mistakes": None,
    "learned": None,
    "levels": None,
    "gaps": None,
}


def panels(comparison: Comparison, anchors: dict[str, str], look: dict[str, Look]) -> list[View]:
    """Return the panel of each method of which there is anything to show."""
    courses = classes.courses(comparison)
    images = _IMAGES if len(comparison.methods) <= _MANY else _IMAGES // 2
    made = []
    for k, method in enumerate(comparison.methods):
        anchor = anchors[method.name]
        parts = {
            "figure": _reliability(method, anchor),
            "elsewhere": _elsewhere(method, anchor),
            "classes": by_class.table(comparison, method, anchor),
            "mistakes": _mistakes(comparison, method, anchor),
            "learned": classes.view(method.name, courses[method.name], k) if method.name in courses else None,
            "levels": _inlined(perturbed.draw(method, images), f"levels-{k}"),
            "gaps": _inlined(gaps.draw(method, images), f"gaps-{k}"),
        }
        if any(parts.values()):
            made.append(
                EMPTY
                | {
                    "anchor": f"method-{anchor}",
                    "name": method.name,
                    "settings": method.settings,
                    "colour": look[method.name].colour,
                }
                | parts
            )
    return made


def _reliability(method: Method, anchor: str) -> View | None:
    if not method.bins:
        return None
    pooled = f"{len(method.runs)} seeds pooled" if len(method.runs) > 1 else f"seed {method.seeds[0]}"
    temperatures = ", ".join(f"{value:.2f}" for value in method.temperatures)
    caption = f"{pooled[0].upper()}{pooled[1:]}." + (f" T = {temperatures}." if temperatures else "")
    return sections.figure_view(
        sections.diagram(method),
        f"f-{anchor}",
        caption,
        sections.width_of(len(method.bins)),
        wide=len(method.bins) > 2,
    )


def _elsewhere(method: Method, anchor: str) -> list[View]:
    found = []
    for k, (split, bins) in enumerate(method.elsewhere.items()):
        view = sections.figure_view(
            sections.elsewhere(method, split),
            f"f-{anchor}-{k}",
            "",
            sections.width_of(len(bins)),
            wide=len(bins) > 2,
        )
        if view is not None:
            found.append(view | {"split": split})
    return found


def _mistakes(comparison: Comparison, method: Method, anchor: str) -> View | None:
    if not method.mistakes:
        return None
    names = by_class.class_names(comparison)
    kept = _kept(method, max(_FEWEST, _SHOTS // len(comparison.methods)))
    return {
        "text": mistakes.sentence(method.mistakes),
        "table": mistakes.pairs_table(method.mistakes, names, f"pairs-{anchor}", method.name),
        "shots": mistakes.shots(kept, names),
        "note": "" if kept else "The run keeps no pictures or texts of its errors.",
        "seed": method.seeds[0],
    }


def _kept(method: Method, most: int) -> Sequence[Any]:
    return read_errors(method.runs[0])[:most]


def _inlined(drawing: Drawing | None, name: str) -> Markup | None:
    return Markup(drawing.svg(name)) if drawing else None
