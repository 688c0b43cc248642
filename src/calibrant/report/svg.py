"""Small, accessible SVG out of matplotlib's."""

import base64
import io
import re
import warnings
from collections.abc import Iterator
from itertools import groupby
from xml.etree import ElementTree as ET

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from calibrant.report.style import dark_css

_NUMBER = re.compile(r"-?\d*\.\d+(?:e-?\d+)?|-?\d+e-?\d+")
_REFERENCE = re.compile(r"url\(#([^)]+)\)|^#(.+)$")
_NUMERIC = ("d", "x", "y", "width", "height", "transform", "stroke-width", "stroke-dasharray", "points")
#: What holds anyway, being inherited from the root or the default of SVG.
_DEFAULTS = {
    "stroke-linejoin": "round",
    "stroke-linecap": "butt",
    "stroke-dashoffset": "0",
    "stroke-miterlimit": "100000",
    "text-anchor": "start",
}
#: Bytes of a PNG that may be a photograph.
_PHOTOGRAPH = 5000
#: What children inherit, clipping aside, which a group does for all of them.
_INHERITED = (
    "fill",
    "stroke",
    "stroke-width",
    "stroke-linecap",
    "stroke-linejoin",
    "stroke-dasharray",
    "font-size",
    "font-weight",
    "text-anchor",
    "clip-path",
)
#: What is drawn over lines and surfaces, in this order.
_LAYERS = {"use": 1, "text": 2}
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue','DejaVu Sans',sans-serif"


def to_svg(figure: Figure, *, name: str, title: str, description: str, standalone: bool = False) -> str:
    """Return a figure as SVG text.

    Text stays text, numbers are rounded to 1/100 point, what nothing refers to loses its id and the other ids
    begin with `name`, so that several figures can be inlined in one page.

    Args:
        figure: the figure.
        name: prefix of the ids; letters, digits, hyphens.
        title: read out as the name of the picture.
        description: read out as what it shows.
        standalone: whether it becomes a file of its own: with its size, its font and its dark theme.
    """
    buffer = io.BytesIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with warnings.catch_warnings():
        # The reader's own fonts draw the text, whatever matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata=nothing)
    root = ET.fromstring(buffer.getvalue())
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = dict(_attributes(element))
        if element.tag != "text":
            element.text = None
        if element.tag == "image":
            element.set("href", _lighter(element.get("href", "")))
        element.tail = None
    _drop_styles(root)
    _rename_ids(root, name)
    _unwrap(root)
    _gather(root)
    _frame(root, name, title, description, standalone)
    return ET.tostring(root, encoding="unicode", short_empty_elements=True)


def _lighter(href: str) -> str:
    """Return an inlined PNG as a JPEG where that takes much less, as for photographs."""
    kind, _, data = href.partition("base64,")
    raw = base64.b64decode(data)
    if "image/png" not in kind or len(raw) < _PHOTOGRAPH:
        return href
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(raw)) as picture:
        if "A" in picture.getbands() and np.asarray(picture.getchannel("A")).min() < 255:
            return href
        picture.convert("RGB").save(buffer, format="jpeg", quality=80)
    if 2 * buffer.tell() > len(raw):
        return href
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _attributes(element: ET.Element) -> Iterator[tuple[str, str]]:
    """Yield what is needed of the attributes, with the declarations of `style` as attributes of their own."""
    declared = (part.partition(":")[::2] for part in element.get("style", "").split(";") if part.strip())
    pairs = [(key.rpartition("}")[2], value) for key, value in element.items() if key != "style"]
    for key, value in [*pairs, *((key.strip(), value.strip()) for key, value in declared)]:
        if key in _NUMERIC:
            value = _tidy(key, value)
        if not value or _DEFAULTS.get(key) == value or key == "font-family":
            continue
        yield key, value.removesuffix("px") if key == "font-size" else value


def _tidy(key: str, value: str) -> str:
    value = " ".join(_NUMBER.sub(_rounded, value).split())
    if key == "d":
        value = re.sub(r" ?([A-Za-z]) ?", r"\1", value)
    if key == "transform":
        value = re.sub(r"rotate\(-?0 [^)]*\)", "", value)
    return value.strip()


def _rounded(number: re.Match[str]) -> str:
    text = f"{float(number.group()):.2f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def _drop_styles(root: ET.Element) -> None:
    for parent in root.iter():
        for child in [c for c in parent if c.tag == "style" or (c.tag == "defs" and not len(c))]:
            parent.remove(child)
    for defs in [c for c in root if c.tag == "defs" and not len(c)]:
        root.remove(defs)


def _rename_ids(root: ET.Element, name: str) -> None:
    """Keep the ids that something refers to, under names that begin with `name`."""
    targets: dict[str, str] = {}
    for element in root.iter():
        for key, value in element.items():
            match = _REFERENCE.search(value) if key in ("href", "clip-path") else None
            if match:
                target = match.group(1) or match.group(2)
                new = targets.setdefault(target, f"{name}-{len(targets)}")
                element.set(key, value.replace(f"#{target}", f"#{new}"))
    for element in root.iter():
        old = element.attrib.pop("id", None)
        if old in targets:
            element.set("id", targets[old])


def _unwrap(element: ET.Element) -> None:
    """Put the children of bare groups in the place of the groups, and drop empty ones."""
    kept: list[ET.Element] = []
    for child in element:
        _unwrap(child)
        if child.tag == "g" and not child.attrib:
            kept += list(child)
        elif child.tag != "g" or len(child):
            kept.append(child)
    element[:] = kept


def _gather(element: ET.Element) -> None:
    """Say once what neighbours share; they meet where marks stand after lines and surfaces, and words last."""
    for child in element:
        _gather(child)
    if element.tag in ("svg", "g"):
        element[:] = _shared(_joined(sorted(element, key=lambda child: _LAYERS.get(child.tag, 0))))


def _joined(children: list[ET.Element]) -> list[ET.Element]:
    """Make one path of neighbouring opaque ones that look alike."""
    kept: list[ET.Element] = []
    for child in children:
        last = kept[-1] if kept else None
        if child.tag == "path" and last is not None and last.tag == "path" and _like(child) == _like(last):
            last.set("d", last.get("d", "") + child.get("d", ""))
        else:
            kept.append(child)
    return kept


def _like(path: ET.Element) -> object:
    """Return what must be equal of paths to be joined; never equal where they are seen through."""
    look = {key: value for key, value in path.items() if key != "d"}
    return path if any("opacity" in key or key in ("id", "transform") for key in look) else look


def _shared(children: list[ET.Element]) -> list[ET.Element]:
    """Put runs of neighbours with the same look into a group that has it."""
    kept: list[ET.Element] = []
    for (tag, look), run in groupby(children, _looks):
        members = list(run)
        if len(members) < 2 or not look or tag not in ("path", "use", "text"):
            kept += members
            continue
        group = ET.Element("g", dict(look))
        for member in members:
            for key, _ in look:
                del member.attrib[key]
        group.extend(members)
        kept.append(group)
    return kept


def _looks(child: ET.Element) -> tuple[str, tuple[tuple[str, str], ...]]:
    return child.tag, tuple((key, child.attrib[key]) for key in _INHERITED if key in child.attrib)


def _frame(root: ET.Element, name: str, title: str, description: str, standalone: bool) -> None:
    """Give the root its accessible name and what its children inherit."""
    size = {key: f"{float(root.attrib[key].removesuffix('pt')) * 4 / 3:.0f}" for key in ("width", "height")}
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-desc",
        "stroke-linejoin": "round",
        "stroke-miterlimit": "10",
    }
    labels = [ET.Element("title", id=f"{name}-title"), ET.Element("desc", id=f"{name}-desc")]
    labels[0].text, labels[1].text = title, description
    if standalone:
        root.attrib |= {"xmlns": "http://www.w3.org/2000/svg", "font-family": _FONT, **size}
        sheet = ET.Element("style")
        sheet.text = f"@media (prefers-color-scheme:dark){{{dark_css()}}}"
        labels.append(sheet)
    root[:] = [*labels, *root]
