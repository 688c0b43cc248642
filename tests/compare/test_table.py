import csv
import io
import json
import math

import pytest
import torch
from torch import Tensor

from calibrant.compare.table import COLUMNS, holm, tabulate
from calibrant.errors import InputError
from calibrant.training.judging import judge
from calibrant.training.run_folder import Predictions, RunFolder


def finished(path, method: str, seed: int, logits: Tensor, target: Tensor, recipe: str = "made") -> RunFolder:
    run = RunFolder(path / recipe / method / f"seed{seed}")
    predictions = Predictions(logits, target, torch.arange(len(target)), ["a", "b", "c"])
    run.write_predictions("val", predictions)
    run.write_predictions("test", predictions)
    data = {"name": "made", "train": 1, "val": len(target), "test": len(target), "note": ""}
    run.write_result(
        {
            "recipe": recipe,
            "method": method,
            "seed": seed,
            "data": data,
            **judge({"val": predictions, "test": predictions}, ["temperature"]),
        }
    )
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[RunFolder]:
    """Three methods on the same 1,000 samples: two alike and calibrated, one overconfident."""
    path = tmp_path_factory.mktemp("runs")
    generator = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(1000, 3, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    made = []
    for seed in range(3):
        noise = 0.05 * torch.randn(2, 1000, 3, generator=generator)
        made.append(finished(path, "good", seed, logits + noise[0], target))
        made.append(finished(path, "twin", seed, logits + noise[1], target))
        made.append(finished(path, "sharp", seed, 3 * (logits + noise[0]), target))
    return made


@pytest.fixture(scope="module")
def table(runs):
    return tabulate(runs)


def test_mean_and_deviation_are_over_the_seeds(runs, table):
    row = table.rows[0]
    assert (row.method, row.seeds) == ("good", [0, 1, 2])
    for metric in COLUMNS:
        for stage in ("none", "temperature"):
            values = [run.result()["metrics"]["test"][stage][metric]["value"] for run in runs[::3]]
            cell = row.cells[metric][stage]
            assert cell.values == values
            assert cell.mean == pytest.approx(sum(values) / 3)
            assert cell.std == pytest.approx(torch.tensor(values, dtype=torch.float64).std().item())


def test_best_is_marked_only_where_the_test_tells_methods_apart(table):
    marks = {row.method: row.cells for row in table.rows}
    for metric in ("ece", "aece", "nll", "brier", "classwise_ece"):
        assert marks["good"][metric]["none"].best, metric
        assert marks["twin"][metric]["none"].best, metric
        assert not marks["sharp"][metric]["none"].best, metric
    # The sharp one differs by a temperature alone: nothing to mark in accuracy, nor once it is calibrated.
    assert not any(cells["accuracy"]["none"].best for cells in marks.values())
    assert not any(cells["nll"]["temperature"].best for cells in marks.values())


def test_one_method_or_one_seed_has_no_mark_and_no_deviation(runs):
    (row,) = tabulate(runs[:1]).rows
    assert math.isnan(row.cells["ece"]["none"].std)
    assert "±" not in tabulate(runs[:1]).to_text().split("Mean")[0]
    assert not any(cell.best for cells in row.cells.values() for cell in cells.values())


def test_methods_judged_on_other_samples_are_not_compared(runs, tmp_path):
    generator = torch.Generator().manual_seed(1)
    target = torch.randint(0, 3, (1000,), generator=generator)
    other = finished(tmp_path, "other", 0, torch.randn(1000, 3, generator=generator), target)
    rows = tabulate([runs[0], other]).rows
    assert not any(cell.best for row in rows for cells in row.cells.values() for cell in cells.values())


def test_several_recipes_are_told_apart_by_name(runs, tmp_path):
    target = torch.arange(30) % 3
    other = finished(tmp_path, "good", 0, torch.randn(30, 3), target, recipe="made/2")
    assert [row.method for row in tabulate([runs[0], other]).rows] == ["made", "made/2"]


def test_the_text_fits_a_terminal_and_says_what_is_marked(table):
    text = table.to_text()
    assert max(map(len, text.splitlines())) <= 120
    line = next(line for line in text.splitlines() if line.startswith("good"))
    cell = table.rows[0].cells["ece"]["none"]
    assert f"{100 * cell.mean:.2f} ± {100 * cell.std:.2f}*" in line


def test_the_drawn_table_fits_a_terminal_of_120_columns(table):
    from rich.console import Console

    console = Console(width=120, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(table.to_rich())
    drawn = console.file.getvalue()
    assert "…" not in drawn
    for row in table.rows:
        for metric in COLUMNS:
            assert row.cells[metric]["none"].text(metric) in drawn


def test_json_and_csv_hold_every_number(table, runs):
    tree = json.loads(table.to_json())
    assert tree["rows"][2]["cells"]["nll"]["none"]["values"] == table.rows[2].cells["nll"]["none"].values
    single = json.loads(tabulate(runs[:1]).to_json())
    assert single["rows"][0]["cells"]["ece"]["none"]["std"] is None
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert len(lines) == 3 * 2 * len(COLUMNS)
    assert float(lines[0]["mean"]) == table.rows[0].cells["accuracy"]["none"].mean


def test_nothing_to_tabulate_is_refused():
    with pytest.raises(InputError, match="no run is finished"):
        tabulate([])


def test_holm_steps_down():
    assert holm({"a": 0.001, "b": 0.02, "c": 0.03, "d": 0.9}, 0.05) == {"a"}
    assert holm({"a": 0.001, "b": 0.012, "c": 0.02, "d": 0.9}, 0.05) == {"a", "b", "c"}
    assert holm({}, 0.05) == set()
