import csv
import io
import json
import math
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from calibrant.compare.columns import COLUMNS, GROUPS
from calibrant.compare.significance import against_leader, best, holm
from calibrant.compare.table import Table, tabulate
from calibrant.errors import InputError
from calibrant.metrics import PairedTest
from calibrant.training.judging import judge
from calibrant.training.run_folder import Predictions, RunFolder


def finished(
    path,
    method: str,
    seed: int,
    logits: Tensor,
    target: Tensor,
    recipe: str = "made",
    *,
    stages: tuple[str, ...] = ("temperature",),
    selected_on_test: bool = False,
    groups: dict[str, float | None] | None = None,
) -> RunFolder:
    run = RunFolder(path / recipe / method / f"seed{seed}")
    predictions = Predictions(logits, target, torch.arange(len(target)), ["a", "b", "c"])
    run.write_predictions("val", predictions)
    run.write_predictions("test", predictions)
    data = {"name": "made", "train": 1, "val": len(target), "test": len(target), "note": ""}
    judged = judge({"val": predictions, "test": predictions}, stages, folder=run.path / "calibrators")
    for stage in judged["metrics"]["test"].values():
        stage |= {name: {"value": value, "low": None, "high": None} for name, value in (groups or {}).items()}
    run.write_result(
        {
            "recipe": recipe,
            "method": method,
            "seed": seed,
            "data": data,
            "selected_on_test": selected_on_test,
            **judged,
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


def test_a_method_that_says_one_class_of_everything_is_named_and_not_ranked(tmp_path):
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 2, (300,), generator=generator)
    logits = torch.nn.functional.one_hot(target, 3) + torch.randn(300, 3, generator=generator)
    # Right half of the time, and says so: no error of calibration at all.
    same = torch.tensor([9.0, 9.0, -9.0]).expand(300, 3) + torch.tensor([1e-3, 0.0, 0.0])
    table = tabulate(
        [finished(tmp_path, "learned", 0, 5 * logits, target), finished(tmp_path, "fallen", 0, same, target)]
    )
    learned, fallen = (row.cells["ece"]["none"] for row in table.rows)
    assert fallen.mean < learned.mean
    assert not fallen.best
    assert fallen.against is None
    assert "untested" not in table.explanations[0]
    said = "fallen gives every test sample the class 'a' (seed 0)"
    assert said in " ".join(table.explanations)
    assert said in " ".join(table.to_text().split())
    assert table.rows[0].collapsed == ""


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


def drawn_in_120_columns(table: Table) -> str:
    from rich.console import Console

    console = Console(width=120, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(table.to_rich())
    return console.file.getvalue()


def test_the_drawn_table_fits_a_terminal_of_120_columns(table):
    drawn = drawn_in_120_columns(table)
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


@pytest.fixture(scope="module")
def long_tailed(tmp_path_factory) -> Table:
    """Two methods with two seeds and accuracies of groups of classes; test images chose the epochs of one."""
    path = tmp_path_factory.mktemp("lt")
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(400, 3, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    return tabulate(
        [
            finished(
                path,
                method,
                seed,
                (1 + seed) * sharpness * logits,
                target,
                selected_on_test=method == "mbls:margin=6",
                groups={"many": 0.91 - 0.02 * seed, "medium": 0.5, "few": None},
            )
            for method, sharpness in (("balanced_softmax", 1.0), ("mbls:margin=6", 3.0))
            for seed in (0, 1)
        ]
    )


def test_accuracies_of_groups_of_classes_are_shown_where_every_run_has_them(long_tailed):
    cells = long_tailed.rows[0].cells
    assert cells["many"]["none"].values == [0.91, 0.89]
    assert cells["many"]["none"].text("many") == "90.0 ± 1.4"
    assert cells["few"]["none"].text("few") == "–"
    for text in (long_tailed.to_text(), drawn_in_120_columns(long_tailed)):
        assert max(map(len, text.splitlines())) <= 120
        assert "…" not in text
        heads = ["accuracy %", "many %", "medium %", "few %", "ECE %", "class-wise %", "NLL"]
        head = next(line for line in text.splitlines() if "many %" in line)
        assert [head.index(name) for name in heads] == sorted(head.index(name) for name in heads)
        assert "90.0 ± 1.4" in text
        assert "untested" in text
    tree = json.loads(long_tailed.to_json())
    assert set(tree["rows"][0]["cells"]) == set(COLUMNS) | set(GROUPS)
    lines = list(csv.DictReader(io.StringIO(long_tailed.to_csv())))
    assert len(lines) == 2 * 2 * (len(COLUMNS) + len(GROUPS))


def test_groups_that_a_run_lacks_are_left_out(tmp_path):
    target = torch.arange(30) % 3
    groups = {"many": 0.9, "medium": 0.5, "few": 0.1}
    runs = [
        finished(tmp_path, name, 0, torch.randn(30, 3), target, groups=groups if name == "a" else None)
        for name in "ab"
    ]
    assert tabulate(runs).metrics == list(COLUMNS)
    assert "untested" not in tabulate(runs).to_text()
    assert "many" in tabulate(runs[:1]).metrics


def test_an_epoch_that_test_images_chose_is_marked_and_explained(long_tailed, table):
    assert [row.label for row in long_tailed.rows] == ["balanced_softmax", "mbls:margin=6†"]
    for text in (long_tailed.to_text(), drawn_in_120_columns(long_tailed)):
        assert "mbls:margin=6†" in text
        assert "† the epoch was chosen by the accuracy on the test samples" in text
    assert [row["selected_on_test"] for row in json.loads(long_tailed.to_json())["rows"]] == [False, True]
    lines = csv.DictReader(io.StringIO(long_tailed.to_csv()))
    assert {(line["method"], line["selected_on_test"]) for line in lines} == {
        ("balanced_softmax", "False"),
        ("mbls:margin=6", "True"),
    }
    assert "†" not in table.to_text()


def test_a_long_name_has_a_line_for_itself(tmp_path):
    target = torch.arange(30) % 3
    name = "mbls:margin=6,class_reduction=sum,alpha=0.05"
    runs = [finished(tmp_path, name, seed, 5 * torch.randn(30, 3), target) for seed in (0, 1)]
    text = tabulate(runs).to_text()
    assert max(map(len, text.splitlines())) <= 120
    lines = text.splitlines()
    at = lines.index(name)
    assert lines[at + 1].startswith("  as trained ")
    assert lines[at + 2].startswith("  temperature ")


def test_runs_without_a_calibrator_have_one_line_each(tmp_path):
    target = torch.arange(30) % 3
    plain = finished(tmp_path, "plain", 0, torch.randn(30, 3), target, stages=())
    scaled = finished(tmp_path, "scaled", 0, torch.randn(30, 3), target)
    table = tabulate([plain])
    assert table.stages == ["none"]
    assert "temperature" not in table.to_text() + drawn_in_120_columns(table)
    table = tabulate([plain, scaled])
    assert table.stages == ["none", "temperature"]
    assert table.rows[0].cells["ece"]["temperature"].text("ece") == "–"
    for text in (table.to_text(), drawn_in_120_columns(table)):
        assert text.count("temperature") == 1
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert {(line["method"], line["calibrated"]) for line in lines} == {
        ("plain", "none"),
        ("scaled", "none"),
        ("scaled", "temperature"),
    }


@pytest.fixture(scope="module")
def staged(tmp_path_factory) -> Table:
    """Two methods with three calibrators each; one has its classes off, which a vector mends."""
    path = tmp_path_factory.mktemp("staged")
    generator = torch.Generator().manual_seed(0)
    logits = 1.5 * torch.randn(600, 3, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    stages = ("histogram", "vector", "temperature")
    biased = logits + torch.tensor([2.0, 0.0, -2.0])
    return tabulate(
        [
            finished(path, name, 0, z, target, stages=stages)
            for name, z in (("fair", logits), ("biased", biased))
        ]
    )


def test_every_stage_that_the_runs_hold_is_shown_with_temperature_first(staged):
    assert staged.stages == ["none", "temperature", "histogram", "vector"]
    fair, biased = (row.cells for row in staged.rows)
    for text in (staged.to_text(), drawn_in_120_columns(staged)):
        assert text.count("vector") == text.count("histogram") == 2
    assert fair["nll"]["temperature"].best
    assert not biased["nll"]["temperature"].best
    assert abs(fair["nll"]["vector"].mean - biased["nll"]["vector"].mean) < 1e-3


def test_a_difference_from_the_leader_is_that_of_the_means_after_the_calibrator(staged):
    fair, biased = (row.cells for row in staged.rows)
    for metric in ("nll", "accuracy", "brier"):
        for stage in staged.stages:
            cell, leader = (each[metric][stage] for each in (biased, fair))
            if cell.against is None:
                cell, leader = leader, cell
            if cell.against is None:
                # An infinite NLL takes no part.
                assert (metric, stage) == ("nll", "histogram")
                continue
            assert cell.against.difference == pytest.approx(cell.mean - leader.mean, abs=1e-6)
            assert cell.against.low <= cell.against.difference <= cell.against.high
            assert cell.against.worse == (leader.best and not cell.best)


def test_data_of_another_kind_has_a_table_of_its_own(runs, tmp_path):
    changed = []
    for run in runs[:2]:
        other = RunFolder(tmp_path / run.path.parent.name)
        result = run.result()
        result["metrics"]["far"] = result["metrics"]["test"]
        other.write_result(result)
        changed.append(other)
    table = tabulate(changed)
    (far,) = table.others
    assert (far.split, far.stages, far.metrics) == ("far", table.stages, table.metrics)
    assert "\nOn far\n" in table.to_text()
    assert "untested" in drawn_in_120_columns(far)
    splits = [line["split"] for line in csv.DictReader(io.StringIO(table.to_csv()))]
    assert splits.count("far") == splits.count("test") == len(splits) // 2
    assert json.loads(table.to_json())["others"][0]["split"] == "far"


def test_a_method_that_the_test_finds_better_than_the_leader_is_not_worse():
    differences = {"b": -0.06, "c": 0.06}
    shared = SimpleNamespace(test=lambda name, *_: PairedTest(differences[name], math.nan, math.nan, 0.0005))
    found = against_leader({"a": 0.07, "b": 0.11, "c": 0.12}, "ece", "none", shared)
    assert {name: each.worse for name, each in found.items()} == {"b": False, "c": True}
    assert best(found) == {"a", "b"}


def test_nothing_to_tabulate_is_refused():
    with pytest.raises(InputError, match="no run is finished"):
        tabulate([])


def test_holm_steps_down():
    assert holm({"a": 0.001, "b": 0.02, "c": 0.03, "d": 0.9}, 0.05) == {"a"}
    assert holm({"a": 0.001, "b": 0.012, "c": 0.02, "d": 0.9}, 0.05) == {"a", "b", "c"}
    assert holm({}, 0.05) == set()
