import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import LogNorm

from calibrant.metrics import evaluate
from calibrant.report import write_figures, write_report
from calibrant.report.classes import ClassCourse, course, draw
from calibrant.report.evidence import gather
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import CLASSES, MakeRun


def learn(run: RunFolder, values: dict[str, np.ndarray]) -> None:
    """Write what a loss learned, (E, C) by name."""
    with run.stage("train").classes.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "name", *range(CLASSES)])
        for epoch in range(len(next(iter(values.values())))):
            writer.writerows([epoch, name, *rows[epoch]] for name, rows in values.items())


def growing(start: float = 1.0) -> np.ndarray:
    return start * np.arange(1, 3 * CLASSES + 1, dtype=np.float64).reshape(3, CLASSES)


def test_the_course_is_the_mean_over_the_seeds_without_what_never_moved(make_run: MakeRun) -> None:
    runs = [make_run("cals", seed) for seed in (0, 1)]
    for run, factor in zip(runs, (1.0, 3.0), strict=True):
        learn(run, {"multipliers": growing(factor), "rho": np.ones((3, CLASSES))})
    comparison = gather([*runs, make_run("ce"), make_run("ce", 1)])
    seen = course(comparison.method("cals"), comparison)
    assert seen is not None
    assert list(seen.learned) == ["multipliers"]
    assert seen.still == {"rho": 1.0}
    np.testing.assert_allclose(seen.learned["multipliers"], growing(2.0))
    np.testing.assert_array_equal(seen.counts, [25] * CLASSES)
    assert course(comparison.method("ce"), comparison) is None


def test_the_errors_of_the_classes_average_to_the_class_wise_error(make_run: MakeRun) -> None:
    run = make_run("cals", sharpness=3.0)
    learn(run, {"multipliers": growing()})
    comparison = gather([run])
    seen = course(comparison.methods[0], comparison)
    assert seen is not None
    said = run.predictions("test")
    whole = evaluate(said.logits, said.targets, inputs="logits", intervals=False)["classwise_ece"].value
    assert seen.errors is not None
    assert seen.errors.shape == (CLASSES,)
    assert seen.errors.mean() == pytest.approx(whole)


def test_heat_map_and_bars_have_the_classes_in_the_same_order() -> None:
    counts, errors = np.array([90.0, 9.0, 1.0]), np.array([0.01, 0.02, 0.04])
    learned = np.array([[1e-6, 1e-3, 1.0], [1e-5, 1e-2, 2.0]])
    drawing = draw(ClassCourse({"multipliers": learned}, {}, counts, errors, ["a", "b", "c"]), "T")
    heat, samples, error, scale = drawing.figure.axes
    np.testing.assert_array_equal(heat.images[0].get_array(), learned.T)
    assert isinstance(heat.images[0].norm, LogNorm)
    assert [label.get_text() for label in heat.get_yticklabels()] == ["a", "b", "c"]
    for axes, values in ((samples, counts), (error, 100 * errors)):
        np.testing.assert_allclose([bar.get_width() for bar in axes.patches], values)
        assert axes.get_ylim() == heat.get_ylim() == (2.5, -0.5)
    assert len(scale.collections) > 0
    assert samples.get_xlabel() == "training samples"
    assert "mathdefault" not in drawing.svg("a")
    assert drawing.description == "multipliers after 2 epochs: highest for c (2), lowest for a (1e-05)."


def test_values_of_one_order_of_magnitude_are_coloured_linearly() -> None:
    drawing = draw(ClassCourse({"rho": np.array([[1.0, 2.0]])}, {}, None, None, ["a", "b"]), "T")
    assert len(drawing.figure.axes) == 2
    assert not isinstance(drawing.figure.axes[0].images[0].norm, LogNorm)


def test_a_hundred_classes_stay_on_one_page_each_with_its_name() -> None:
    generator = np.random.default_rng(0)
    names = [f"class {k}" for k in range(100)]
    seen = ClassCourse({"multipliers": generator.random((200, 100))}, {}, generator.random(100), None, names)
    drawing = draw(seen, "T")
    assert drawing.figure.get_size_inches()[1] < 12
    svg = drawing.svg("a")
    assert all(f">{name}<" in svg for name in names)
    assert len(svg) < 200_000


@pytest.mark.usefixtures("unsaved")
def test_page_and_figures_show_the_methods_that_learn(make_run: MakeRun, tmp_path: Path) -> None:
    cals, ce = make_run("cals"), make_run("ce", sharpness=2.0)
    learn(cals, {"multipliers": growing(), "rho": growing(0.1)})
    html = write_report([cals, ce], tmp_path / "a.html", "T").read_text(encoding="utf-8")
    assert "What cals learned for each class" in html
    assert "What ce learned" not in html
    assert html.count("What was learned for each class") == 1
    figures = [path.name for path in write_figures([cals, ce], tmp_path / "f")]
    assert [name for name in figures if "classes" in name] == [
        f"classes-cals.{e}" for e in ("svg", "png", "pdf")
    ]
    without = write_report([ce], tmp_path / "b.html", "T").read_text(encoding="utf-8")
    assert "What was learned for each class" not in without


def test_the_figure_of_a_run_is_the_same_each_time(make_run: MakeRun) -> None:
    run = make_run("cals")
    learn(run, {"multipliers": growing()})
    comparison = gather([run])
    seen = course(comparison.methods[0], comparison)
    assert seen is not None
    assert draw(seen, "T").svg("a") == draw(seen, "T").svg("a")


@pytest.mark.usefixtures("unsaved")
def test_what_never_moved_is_said_in_words(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("cals")
    learn(run, {"multipliers": np.full((3, CLASSES), 1e-6), "rho": np.ones((3, CLASSES))})
    html = write_report([run], tmp_path / "a.html", "T").read_text(encoding="utf-8")
    assert "Multipliers stayed at 1e-06 for every class; rho stayed at 1 for every class." in html
    assert "What cals learned for each class" not in html
    assert not [path for path in write_figures([run], tmp_path / "f") if "classes" in path.name]
