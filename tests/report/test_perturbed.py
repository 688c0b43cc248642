import csv

import numpy as np
import pytest
from PIL import Image

from calibrant.report import write_figures, write_report
from calibrant.report.evidence import gather
from calibrant.report.perturbed import drawings
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import MakeRun


def learn(run: RunFolder, levels: list[float]) -> None:
    """Write levels that fall, and pictures of as many shades."""
    with run.levels_path.open("w", newline="") as file:
        csv.writer(file).writerows([("name", "level"), *((f"image{i}", x) for i, x in enumerate(levels))])
    (run.path / "levels").mkdir()
    for end, order in (("most", range(6)), ("least", range(len(levels) - 1, -1, -1))):
        for place, i in zip(range(1, 7), order, strict=False):
            photograph = np.full((20, 30, 3), 10 * i, np.uint8)
            Image.fromarray(photograph).save(run.path / "levels" / f"{end}-{place}.jpg")
            label = np.zeros((20, 30), np.uint8)
            label[5:15, 5:15] = 255 * (i > 0)
            Image.fromarray(label).save(run.path / "levels" / f"{end}-{place}.png")


def test_both_ends_are_shown_the_outermost_first(make_run: MakeRun) -> None:
    run = make_run("aslp_mc")
    learn(run, [0.4, 0.3, 0.2, 0.15, 0.12, 0.11, 0.1, 0.05])
    drawn = drawings(gather([run, make_run("bce")]))
    assert list(drawn) == ["aslp_mc"]
    figure = drawn["aslp_mc"].figure
    histogram, *pictures = figure.axes
    assert sum(bar.get_height() for bar in histogram.patches) == 8
    shown = [axes.get_title(loc="left") for axes in pictures]
    assert shown == ["0.4", "0.3", "0.2", "0.15", "0.12", "0.11", "0.05", "0.1", "0.11", "0.12", "0.15", "0.2"]
    shades = [int(axes.images[0].get_array().mean().round()) for axes in pictures]
    assert shades == [0, 10, 20, 30, 40, 50, 70, 60, 50, 40, 30, 20]
    # An image without an object has no outline.
    assert [len(axes.collections) for axes in pictures] == [0] + 11 * [1]
    assert "Most perturbed: image0 (0.4), image1 (0.3)" in drawn["aslp_mc"].description


def test_levels_that_never_moved_have_no_picture(make_run: MakeRun) -> None:
    run = make_run("aslp_mc")
    learn(run, [0.1, 0.1])
    assert drawings(gather([run])) == {}


@pytest.mark.usefixtures("unsaved")
def test_page_and_files_show_them(make_run: MakeRun, tmp_path) -> None:
    run = make_run("aslp_mc")
    learn(run, [0.4, 0.1])
    page = write_report([run], tmp_path / "r.html", "T").read_text()
    assert "What was learned for each image" in page
    assert page.count("data:image/png;base64") == 4
    names = [path.name for path in write_figures([run], tmp_path / "figures")]
    assert "levels-aslp_mc.svg" in names
    page = write_report([make_run("ce")], tmp_path / "other.html", "T").read_text()
    assert "What was learned for each image" not in page
