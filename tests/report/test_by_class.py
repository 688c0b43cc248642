"""The classes: the table of a method, and the heat map of all methods."""

import numpy as np
import pytest

from calibrant.metrics import evaluate
from calibrant.report import by_class
from calibrant.report.evidence import gather
from calibrant.report.method import Comparison
from calibrant.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def comparison(three: list[RunFolder]) -> Comparison:
    return gather(three)


def test_errors_of_the_classes_average_to_the_class_wise_error(
    comparison: Comparison, three: list[RunFolder]
) -> None:
    said = [run.predictions("test") for run in three[:2]]
    whole = [
        evaluate(p.logits, p.targets, inputs="logits", intervals=False)["classwise_ece"].value for p in said
    ]
    table = by_class.table(comparison, comparison.method("ce"), "ce")
    assert table is not None
    errors = [float(row.cells[0].sort) for row in table.rows]
    assert errors == sorted(errors, reverse=True)
    assert np.mean(errors) == pytest.approx(np.mean(whole), rel=1e-4)
    facts = comparison.method("ce").classes["none"]
    for row in table.rows:
        k = int(row.name[-1])
        assert row.cells[2].text == f"{100 * float(facts.said[k]):.2f}"
        assert row.cells[5].text == str(int((said[0].targets == k).sum()))
        assert (row.cells[0].tint > 0) == bool(facts.said[k] > facts.share[k])
    assert max(abs(row.cells[0].tint) for row in table.rows) == pytest.approx(1.0)


def test_the_heat_map_has_every_class_by_every_method(comparison: Comparison) -> None:
    (raw, after) = by_class.heats(comparison)
    assert (raw["name"], after["name"]) == ("as trained", "after temperature scaling")
    table = raw["table"]
    assert [column.label for column in table.columns] == ["ce", "mbls", "ls"]
    assert sorted(row.name for row in table.rows) == [f"class {k}" for k in range(4)]
    means = [np.mean([float(cell.sort) for cell in row.cells]) for row in table.rows]
    assert means == sorted(means, reverse=True)
    drawing = by_class.draw(comparison, "none", by_class.class_names(comparison))
    assert drawing is not None
    values = drawing.figure.axes[0].images[0].get_array()
    for row, line in zip(table.rows, values, strict=True):
        shown = [float(cell.text.replace("−", "-")) for cell in row.cells]
        np.testing.assert_allclose(line, shown, atol=0.0051)


def test_of_many_classes_the_worst_are_kept(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_HEAT_CELLS", "_TABLE_CELLS"):
        monkeypatch.setattr(by_class, name, 1)
    monkeypatch.setattr(by_class, "_FEWEST", 2)
    table = by_class.table(comparison, comparison.method("ls"), "ls")
    assert table is not None
    errors = comparison.method("ls").classes["none"].error
    assert [row.name for row in table.rows] == [
        f"class {k}" for k in errors.argsort(descending=True)[:2].tolist()
    ]
    assert table.caption.endswith(": the 2 furthest off of 4")
