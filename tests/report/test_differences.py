"""Differences from the leading method, and the table where there are many stages of calibration."""

import numpy as np
import pytest

from calibrant.report import differences, sections
from calibrant.report.evidence import gather
from calibrant.report.method import Comparison
from calibrant.report.style import looks
from calibrant.training.judging import judge
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import writer

STAGES = ["none", "temperature", "vector", "histogram"]


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """A calibrated and an over-confident run with three calibrators, fitted to the test samples themselves."""
    make_run = writer(tmp_path_factory.mktemp("staged"))
    runs = [make_run(name, sharpness=sharpness) for name, sharpness in (("fair", 1.0), ("sure", 3.0))]
    for run in runs:
        said = run.predictions("test")
        judged = judge({"val": said, "test": said}, STAGES[1:], folder=run.path / "calibrators")
        run.write_result(run.result() | judged)
    return runs


@pytest.fixture(scope="module")
def comparison(staged: list[RunFolder]) -> Comparison:
    return gather(staged)


def test_every_stage_of_the_runs_has_a_diagram_and_a_row(comparison: Comparison) -> None:
    assert comparison.stages == STAGES
    table = sections.metrics_table(comparison, comparison.table, looks(["fair", "sure"]), {})
    assert [(row.name, row.cells[0].text) for row in table.rows] == [
        (name, stage) for name in ("fair", "sure") for stage in ("as trained", *STAGES[1:])
    ]
    assert not table.grouped
    for method in comparison.methods:
        assert list(method.bins) == list(method.gaps) == STAGES
        for stage in STAGES:
            bins, ece = method.bins[stage], method.spread("ece", stage)
            assert ece is not None
            gap = np.nansum(bins.share * abs(bins.confidence - bins.accuracy))
            assert gap == pytest.approx(ece.mean, abs=1e-6)
        titles = [axes.get_title(loc="left") for axes in sections.diagram(method).figure.axes]
        assert len(titles) == 2 * len(STAGES)


def test_every_calibrator_is_spoken_of(comparison: Comparison) -> None:
    from calibrant.report.summary import summarise

    heads = [point.head for point in summarise(comparison)]
    for what in ("temperature scaling", "vector scaling", "histogram binning"):
        assert f"What {what} changes" in heads
    facts = {fact["head"]: fact["text"] for fact in sections.facts(comparison)}
    assert facts["Calibrators"].startswith("Temperature scaling, vector scaling, histogram binning: fitted")


def test_a_difference_is_that_of_the_table_and_the_leader_has_none(comparison: Comparison) -> None:
    assert differences.stages_tested(comparison) == ["none", "temperature"]
    table = differences.table(comparison, "none", looks(["fair", "sure"]), {})
    heads = [(column.group, column.label) for column in table.columns]
    at = heads.index(("ECE %", "difference"))
    fair, sure = table.rows
    assert (fair.cells[at].text, fair.cells[at + 1].text) == ("leads", "–")
    means = [row.cells["ece"]["none"].mean for row in comparison.table.rows]
    assert float(sure.cells[at].sort) == pytest.approx(means[1] - means[0], rel=1e-4)
    assert sure.cells[at].strong
    low, _, high = sure.cells[at].below.partition(" to ")
    assert float(low) < float(sure.cells[at].text) < float(high)


def test_the_figure_has_a_diamond_at_the_leader_and_a_filled_mark_at_what_is_worse(
    comparison: Comparison,
) -> None:
    drawing = differences.draw(comparison, looks(["fair", "sure"]))
    assert drawing is not None
    trained, after = drawing.figure.axes
    for axes, stage in ((trained, "none"), (after, "temperature")):
        (found,) = [c.against for row in comparison.table.rows if (c := row.cells["ece"][stage]).against]
        marks = {line.get_marker(): line for line in axes.lines}
        assert list(marks["D"].get_xdata()) == [0]
        assert list(marks["o"].get_xdata()) == [100 * found.difference]
        assert (marks["o"].get_markerfacecolor() == marks["o"].get_color()) == found.worse
    assert "sure as trained: +" in drawing.description
    assert ", worse." in drawing.description
