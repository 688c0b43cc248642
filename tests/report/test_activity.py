"""Where the regulariser was active, in the report."""

import csv

import pytest

from calibrant.report.activity import CAPTION, drawing
from calibrant.report.evidence import gather
from calibrant.report.page import render
from calibrant.report.style import looks


def test_the_methods_that_tell_are_drawn_as_means_over_their_seeds(make_run):
    runs = [make_run("mbls", 0), make_run("mbls", 1), make_run("ce", 0)]
    comparison = gather(runs)
    look = looks(["mbls", "ce"])
    assert drawing(comparison, look) is None
    assert CAPTION not in render(comparison, "toy")
    for run, share in zip(runs[:2], (0.25, 0.75), strict=True):
        with run.history_path.open("w", newline="") as file:
            csv.writer(file).writerows(
                [["epoch", "active_samples", "active_classes"], [0, 0, 0], [1, share, 0.5]]
            )
    drawn = drawing(comparison, look)
    samples, classes = drawn.figure.axes[:2]
    # Two faint lines of the seeds, then their mean.
    assert [line.get_ydata()[-1] for line in samples.lines] == pytest.approx([25.0, 75.0, 50.0])
    assert [line.get_ydata()[-1] for line in classes.lines] == pytest.approx([50.0, 50.0, 50.0])
    assert "mbls" in drawn.description
    assert "ce" not in drawn.description.split("for ")[1]
    page = render(gather(runs), "toy")
    assert CAPTION in page
    assert drawn.title in page
