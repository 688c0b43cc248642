import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from calibrant.errors import InputError
from calibrant.metrics import reliability
from calibrant.report.bins import Bins, pool
from calibrant.report.figures import Curve, Drawing, Dumbbell, Panel, curves, diagrams, overlay, overview
from calibrant.report.style import looks

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def bins() -> Bins:
    """All fifteen bins filled: the largest figure there is."""
    confidence = torch.linspace(0.01, 0.99, 600)
    logits = torch.stack([confidence.log(), *[((1 - confidence) / 99).log()] * 99], 1)
    target = (torch.rand(600, generator=torch.Generator().manual_seed(0)) > confidence).long()
    pooled = pool([reliability(logits, target, inputs="logits")])
    assert pooled.filled.sum() >= 14
    return pooled


@pytest.fixture(scope="module")
def drawing(bins: Bins) -> Drawing:
    panels = [Panel("as trained", bins, ("ECE 3.00 %", "over")), Panel("after", bins)]
    return diagrams(panels, "Reliability of x")


def test_svg_names_and_describes_itself(drawing: Drawing) -> None:
    root = ET.fromstring(drawing.svg("one"))
    labels = {element.get("id"): element.text for element in root if element.tag in ("title", "desc")}
    assert root.get("role") == "img"
    assert [labels[name] for name in root.get("aria-labelledby", "").split()] == [
        drawing.title,
        drawing.description,
    ]
    assert "ECE 3.00 %" in drawing.description
    assert "accuracy" in drawing.description


def test_svg_keeps_text_as_text_and_is_small(drawing: Drawing) -> None:
    svg = drawing.svg("one")
    texts = [element.text for element in ET.fromstring(svg).iter("text")]
    assert {"as trained", "ECE 3.00 %", "confidence", "accuracy"} <= set(texts)
    assert len(svg.encode()) < 60_000


def test_ids_of_two_figures_do_not_clash_and_all_references_resolve(drawing: Drawing) -> None:
    found = []
    for name in ("one", "two"):
        svg = drawing.svg(name)
        ids = re.findall(r'\bid="([^"]+)"', svg)
        targets = re.findall(r'url\(#([^)]+)\)|href="#([^"]+)"', svg)
        assert {a or b for a, b in targets} <= set(ids)
        assert all(i.startswith(f"{name}-") for i in ids)
        found += ids
    assert len(found) == len(set(found))


def test_svg_file_stands_alone_with_a_dark_theme(drawing: Drawing, tmp_path: Path) -> None:
    root = ET.parse(drawing.save(tmp_path / "a.svg")).getroot()
    assert root.tag == f"{SVG}svg"
    assert float(root.get("width", "0")) > 300
    assert "prefers-color-scheme:dark" in (root.findtext(f"{SVG}style") or "")


@pytest.mark.parametrize("ending", [".svg", ".png", ".pdf"])
def test_files_are_the_same_each_time(bins: Bins, tmp_path: Path, ending: str) -> None:
    first, second = (
        diagrams([Panel("a", bins)], "A").save(tmp_path / f"{name}{ending}").read_bytes() for name in "ab"
    )
    assert first == second
    assert len(first) > 2000
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_another_ending_is_refused(drawing: Drawing, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"'a\.jpg'"):
        drawing.save(tmp_path / "a.jpg")


def test_settings_of_the_user_change_nothing(bins: Bins) -> None:
    plain = diagrams([Panel("a", bins)], "A").svg("a")
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.facecolor": "red", "axes.grid": True}):
        assert diagrams([Panel("a", bins)], "A").svg("a") == plain


@pytest.mark.parametrize("name", ["$x_1$", "<b>&amp;", "a_b^c", "\\frac", "-->", "]]>"])
def test_a_name_is_never_markup(bins: Bins, name: str) -> None:
    drawing = overlay({name: bins}, looks([name]), name)
    root = ET.fromstring(drawing.svg("a"))
    assert root.findtext("title") == name
    assert name in [element.text for element in root.iter("text")]


def test_the_gap_is_drawn_between_accuracy_and_confidence(bins: Bins) -> None:
    axes = diagrams([Panel("a", bins)], "A").figure.axes[0]
    bars = [bar for container in axes.containers[:2] for bar in getattr(container, "patches", [])]
    kept = bins.filled
    accuracy, gap = bars[: kept.sum()], bars[kept.sum() :]
    np.testing.assert_allclose([bar.get_height() for bar in accuracy], bins.accuracy[kept])
    np.testing.assert_allclose([bar.get_height() for bar in gap], abs(bins.confidence - bins.accuracy)[kept])


def test_overlay_leaves_out_bins_of_few_samples(bins: Bins) -> None:
    few = Bins(bins.edges, bins.share, bins.confidence, bins.accuracy, bins.low, bins.high, samples=20, seeds=1)
    axes = overlay({"a": few}, looks(["a"]), "A").figure.axes[0]
    assert max(len(line.get_xdata()) for line in axes.lines) <= 2  # the diagonal alone


def test_overview_shows_every_seed_and_the_means() -> None:
    rows = [
        Dumbbell("a", [1.0, 3.0], {"after temperature scaling": [0.5, 0.7], "after vector scaling": []}),
        Dumbbell("b", [4.0, 4.0]),
    ]
    drawing = overview(rows, looks(["a", "b"]), "ECE", "ECE of each")
    drawn = {tuple(np.atleast_1d(line.get_xdata())) for line in drawing.figure.axes[0].lines}
    assert {(1.0, 3.0), (2.0,), (0.5, 0.7), (0.6,), (4.0,)} <= {tuple(np.round(d, 6)) for d in drawn}
    assert drawing.description == "a: 2.0000; a after temperature scaling: 0.6000; b: 4.0000."


def test_many_diagrams_stand_in_rows(bins: Bins) -> None:
    figure = diagrams([Panel(f"stage {k}", bins) for k in range(6)], "A").figure
    tops = sorted({round(axes.get_position().y1, 6) for axes in figure.axes}, reverse=True)
    assert len(figure.axes) == 12
    assert len(tops) == 4
    assert all(0 < axes.get_position().x0 < axes.get_position().x1 < 1 for axes in figure.axes)
    assert all(0 < axes.get_position().y0 < axes.get_position().y1 < 1 for axes in figure.axes)


def test_curves_skip_epochs_without_a_value() -> None:
    values = np.array([[np.nan, 1.0, np.nan, 3.0], [np.nan, 2.0, np.nan, 5.0]])
    drawing = curves({"ECE": {"a": Curve(np.arange(1.0, 5.0), values)}}, looks(["a"]), "T")
    mean = drawing.figure.axes[0].lines[-1]
    assert list(mean.get_xdata()) == [2.0, 4.0]
    assert list(mean.get_ydata()) == [1.5, 4.0]


def test_no_state_of_pyplot_is_touched() -> None:
    code = "import calibrant.report, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_photographs_become_jpeg_and_few_colours_stay_exact() -> None:
    figure = Figure(figsize=(4, 2))
    noise = np.random.default_rng(0).integers(0, 256, (140, 140, 3)).astype(np.uint8)
    for axes, pixels in zip(figure.subplots(1, 2), (noise, noise[:1, :1].repeat(90, 0)), strict=True):
        axes.imshow(pixels, interpolation="none")
    svg = Drawing(figure, "T", "D").svg("a")
    kinds = re.findall(r"data:image/(\w+);base64,", svg)
    assert sorted(kinds) == ["jpeg", "png"]


def test_paths_that_look_alike_are_one(drawing: Drawing) -> None:
    root = ET.fromstring(drawing.svg("one"))
    grey = [path for path in root.iter("path") if path.get("fill") == "#cfd6de"]
    # The bars of accuracy and of the histogram, in two diagrams.
    assert 2 <= len(grey) <= 4
    assert sum(path.get("d", "").count("M") for path in grey) > 2 * 14
