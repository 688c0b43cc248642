from pathlib import Path

import pytest
from markupsafe import Markup

from calibrant.report import write_report
from calibrant.report.evidence import gather
from calibrant.report.summary import summarise
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import MakeRun


def said(runs: list[RunFolder]) -> dict[str, str]:
    return {point.head: Markup(point.text).striptags() for point in summarise(gather(runs))}


def test_planted_truth_is_found(three: list[RunFolder]) -> None:
    points = said(three)
    assert points["Trust most, as trained"].startswith("mbls: its confidence is off by")
    assert points["Trust most, as trained"].endswith("less than every other method by the paired test.")
    worst = points["Trust least, as trained"]
    assert worst.startswith(("ce", "ls"))
    assert "times as much" in worst
    lean = points["Too sure or not sure enough, as trained"]
    assert "Over-confident: ce (" in lean
    assert "Under-confident: ls (" in lean
    assert "On balance neither: mbls." in lean


@pytest.mark.parametrize(("learned", "most"), [(["ce", "ls"], "ls: "), (["ce"], "ce: "), ([], "No method is")])
def test_a_method_that_says_one_class_of_everything_is_not_trusted(
    make_run: MakeRun, tmp_path: Path, unsaved: None, learned: list[str], most: str
) -> None:
    runs = [
        make_run(name, sharpness=sharpness, only_class=None if name in learned else "cat")
        for name, sharpness in (("ce", 3.0), ("ls", 2.0), ("mbls", 1.0))
    ]
    points = said(runs)
    first = points.get("Trust most, as trained") or points["As trained"]
    assert first.startswith(most)
    after = points["What temperature scaling changes"].partition("After it, ")[2]
    assert "mbls" not in after
    assert bool(after) == bool(learned)
    page = write_report(runs, tmp_path / "page.html", "Toy").read_text(encoding="utf-8")
    for name in ("ce", "ls", "mbls"):
        assert (f"<li>{name} gives every test sample the class" in page) == (name not in learned)


def test_temperature_is_credited_where_the_test_supports_it(three: list[RunFolder]) -> None:
    text = said(three)["What temperature scaling changes"]
    assert "Fitted on 50 validation samples, it lowers the ECE of" in text
    assert "no difference that the test supports for mbls" in text
    lowered = text.partition("lowers the ECE of ")[2].partition(";")[0]
    assert set(lowered.split(" and ")) == {"ce", "ls"}


def test_temperature_that_harms_is_said_to(make_run: MakeRun) -> None:
    runs = [make_run("mbls", seed, temperature=0.3) for seed in (0, 1)]
    text = said(runs)["What temperature scaling changes"]
    assert "not shown to lower the ECE" in text
    assert "It raises that of mbls." in text


def test_softening_and_sharpening(make_run: MakeRun) -> None:
    assert (
        "T = 3.00, which softens" in said([make_run("ce", sharpness=3.0)])["What temperature scaling changes"]
    )
    assert (
        "T = 0.40, which sharpens" in said([make_run("ls", sharpness=0.4)])["What temperature scaling changes"]
    )


def test_losses_that_the_test_does_not_tell_apart_are_named_together(make_run: MakeRun) -> None:
    runs = [make_run(name, k) for k, name in enumerate("ab")] + [make_run("ce", sharpness=3.0)]
    for run in runs:
        run.write_result(run.result() | {"seed": 0})
    text = said(runs)["Trust most, as trained"]
    assert text.endswith(
        ("The paired test does not tell it from a.", "The paired test does not tell it from b.")
    )


def test_equals_are_not_ranked(make_run: MakeRun) -> None:
    runs = [make_run(name, seed) for name, seeds in (("a", (0, 1)), ("b", (2, 3))) for seed in seeds]
    untested = said(runs)
    for at, run in enumerate(runs):
        run.write_result(run.result() | {"seed": at % 2})
    for points in (untested, said(runs)):
        assert points["Trust most, as trained"].startswith(
            "No method is shown to be better calibrated than another."
        )
        assert "Trust least, as trained" not in points
    assert "does not tell it from any other" in points["Trust most, as trained"]
    assert "tells none apart" in points["Accuracy"]
    # Without a seed in common nothing can be tested.
    assert untested["Trust most, as trained"].endswith(", untested.")
    assert untested["Accuracy"].endswith("; untested.")


def test_one_loss_alone_is_not_compared(make_run: MakeRun) -> None:
    points = said([make_run("ce", sharpness=3.0)])
    assert points["As trained"].startswith("ce: its confidence is off by")
    assert not {"Trust most, as trained", "Trust least, as trained", "Accuracy"} & set(points)


@pytest.mark.parametrize(("seeds", "words"), [(1, "one seed"), (2, "two seeds"), (3, "3 seeds")])
def test_few_seeds_are_said_to_be_few(make_run: MakeRun, seeds: int, words: str) -> None:
    reach = said([make_run("ce", seed) for seed in range(seeds)])["How far this carries"]
    assert f"{words}, 400 test samples" in reach
    assert ("With so few seeds" in reach) == (seeds < 3)


def test_without_predictions_only_what_is_known_is_said(copies: list[RunFolder]) -> None:
    for run in copies:
        run.predictions_path("test").unlink()
    points = said(copies)
    assert points["Trust most, as trained"].startswith("No method is shown to be better calibrated")
    assert "Too sure or not sure enough, as trained" not in points
    assert "After it," in points["What temperature scaling changes"]
