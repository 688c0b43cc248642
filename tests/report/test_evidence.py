from dataclasses import replace

import numpy as np
import pytest
import torch

from calibrant.compare.stages import DEFAULT as SCALED
from calibrant.compare.stages import RAW
from calibrant.errors import InputError
from calibrant.report import sections
from calibrant.report.evidence import gather
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import MakeRun


def test_methods_come_in_the_order_of_the_runs_each_by_seed(make_run: MakeRun) -> None:
    runs = [make_run("mbls", 1), make_run("ce", 0), make_run("mbls", 0), make_run("ce", 1)]
    found = gather(runs)
    assert [(method.name, method.seeds) for method in found.methods] == [("mbls", [0, 1]), ("ce", [0, 1])]
    assert [row.method for row in found.table.rows] == ["mbls", "ce"]
    assert found.notices == []


def test_gap_tells_over_from_under_confidence(three: list[RunFolder]) -> None:
    gaps = {method.name: method.gaps for method in gather(three).methods}
    assert gaps["ce"][RAW].verdict == "over-confident"
    assert gaps["mbls"][RAW].verdict == ""
    assert gaps["ls"][RAW].verdict == "under-confident"
    assert [gaps[name][SCALED].verdict for name in gaps] == ["", "", ""]


def test_gap_is_mean_confidence_minus_accuracy(three: list[RunFolder]) -> None:
    for method in gather(three).methods:
        bins = method.bins[RAW]
        np.testing.assert_allclose(method.gaps[RAW].value, bins.mean_confidence - bins.mean_accuracy, rtol=1e-6)


def test_spread_is_that_of_the_table(three: list[RunFolder]) -> None:
    found = gather(three)
    for row in found.table.rows:
        for stage in (RAW, SCALED):
            spread = found.method(row.method).spread("ece", stage)
            assert spread is not None
            np.testing.assert_allclose(
                [spread.mean, spread.std], [row.cells["ece"][stage].mean, row.cells["ece"][stage].std]
            )
            np.testing.assert_allclose([spread.low, spread.high], [0.9 * spread.mean, 1.1 * spread.mean])


def test_one_seed_has_no_deviation(make_run: MakeRun) -> None:
    spread = gather([make_run("ce")]).method("ce").spread("ece", RAW)
    assert spread is not None
    assert np.isnan(spread.std)


def test_order_of_the_samples_in_a_file_does_not_matter(make_run: MakeRun) -> None:
    straight, turned = make_run("ce", 0), make_run("mbls", 0)
    before = gather([straight, turned])
    said = turned.predictions("test")
    order = torch.randperm(len(said.ids), generator=torch.Generator().manual_seed(3))
    turned.write_predictions(
        "test", replace(said, logits=said.logits[order], targets=said.targets[order], ids=said.ids[order])
    )
    after = gather([straight, turned], before.table)
    assert torch.equal(before.method("mbls").logits(RAW)[0], after.method("mbls").logits(RAW)[0])
    np.testing.assert_allclose(
        before.method("mbls").bins[RAW].accuracy, after.method("mbls").bins[RAW].accuracy
    )


def test_runs_of_several_recipes_stand_side_by_side(make_run: MakeRun) -> None:
    first, second = make_run("ce"), make_run("ce", recipe="toy/other")
    second.recipe_path.write_text("name: toy/other\ndecouple:\n  method: crt\n  from_run: there\nseed: 0\n")
    comparison = gather([first, second])
    assert [method.name for method in comparison.methods] == ["toy", "toy/other"]
    assert comparison.recipe == "toy, toy/other"
    # That recipes differ is what is compared; that runs of one do is a doubt.
    assert comparison.notices == []
    facts = {fact["head"]: fact["text"] for fact in sections.facts(comparison)}
    said = "2: toy, toy/other; beside loss and seed they differ in decouple.method, train.epochs."
    assert facts["Recipes"] == said
    third = make_run("ce", 1, recipe="toy/other")
    third.recipe_path.write_text("name: toy/other\ndecouple:\n  method: lws\nseed: 1\n")
    assert gather([first, second, third]).notices[-1] == (
        "The runs of toy/other differ in more than the loss and the seed: decouple.method."
    )


@pytest.mark.parametrize("change", [{"name": "cifar10"}, {"test": 10}, {"class_counts": [1, 2, 3, 4]}])
def test_runs_on_other_data_are_refused(make_run: MakeRun, change: dict[str, object]) -> None:
    first = make_run("ce")
    second = make_run("mbls", data=first.result()["data"] | change)
    with pytest.raises(InputError, match=f"different data \\({next(iter(change))}"):
        gather([first, second])


def test_runs_tested_on_other_samples_are_refused(make_run: MakeRun) -> None:
    first, second = make_run("ce"), make_run("mbls")
    said = second.predictions("test")
    second.write_predictions("test", replace(said, ids=said.ids + 1))
    with pytest.raises(InputError, match="other samples"):
        gather([first, second])


def test_the_same_run_twice_is_refused(make_run: MakeRun) -> None:
    with pytest.raises(InputError, match="both 'ce' with seed 0"):
        gather([make_run("ce", folder="a"), make_run("ce", folder="b")])


def test_no_finished_run_is_refused(tmp_path: object) -> None:
    with pytest.raises(InputError, match="no finished run"):
        gather([RunFolder(f"{tmp_path}/nothing")])


@pytest.mark.parametrize("key", ["method", "metrics", "data"])
def test_a_result_that_lacks_something_is_named(make_run: MakeRun, key: str) -> None:
    run = make_run("ce")
    run.write_result({k: v for k, v in run.result().items() if k != key})
    with pytest.raises(InputError, match=f"{run.result_path} says nothing of '{key}'"):
        gather([run])


def test_what_is_missing_is_said(make_run: MakeRun) -> None:
    whole, unfinished = make_run("ce"), make_run("ls", 0)
    bare = make_run(
        "mbls", posthoc={}, metrics={"test": {"none": make_run("x").result()["metrics"]["test"]["none"]}}
    )
    unfinished.result_path.unlink()
    bare.predictions_path("test").unlink()
    bare.history_path.unlink()
    bare.recipe_path.unlink()

    found = gather([whole, bare, unfinished])

    said = " ".join(found.notices)
    for words in (
        f"{unfinished.path} is not finished",
        f"{bare.path} holds no test predictions, so mbls has no diagrams",
        f"{bare.path} holds no metrics.csv, so mbls has no training curves",
        f"{bare.path} holds no recipe.yaml",
        "mbls has no metrics after temperature scaling",
    ):
        assert words in said
    assert found.table.stages == [RAW, SCALED]
    assert found.method("mbls").stages == [RAW]
    assert found.table.rows[1].cells["ece"][SCALED].values == []
    assert found.method("mbls").bins == {}
    assert list(found.method("ce").bins) == [RAW, SCALED]


def test_methods_that_lack_the_same_share_a_sentence(make_run: MakeRun) -> None:
    raw = {"test": {"none": make_run("x").result()["metrics"]["test"]["none"]}}
    runs = [make_run("ce"), *(make_run(name, posthoc={}, metrics=raw) for name in ("ls", "mbls"))]
    assert "ls, mbls have no metrics after temperature scaling." in gather(runs).notices


def test_what_is_unfair_is_said(make_run: MakeRun) -> None:
    first = make_run("ce", 0)
    second = make_run(
        "mbls",
        1,
        git_commit="abc",
        versions={"calibrant": "0.1.0", "torch": "2.12.0", "python": "3.11.7"},
        posthoc={"temperature": {"temperature": 1.0, "converged": False}},
    )
    second.recipe_path.write_text(second.recipe_path.read_text().replace("epochs: 3", "epochs: 30"))
    said = " ".join(gather([first, second]).notices)
    assert "different seeds: ce 0, mbls 1" in said
    assert "different versions of torch: 2.11.0, 2.12.0" in said
    assert "different commits of the code" in said
    assert "did not converge for mbls, seed 1" in said
    assert "more than the loss and the seed: train.epochs." in said


def test_epochs_of_a_second_stage_follow_those_of_the_first(make_run: MakeRun) -> None:
    run = make_run("crt")
    run.stage("decouple").history.write_text("epoch,train_loss\n0,0.4\n1,0.3\n")
    method = gather([run]).methods[0]
    np.testing.assert_allclose(method.curves["train_loss"].values, [[2.0, 1.0, 0.5, 0.4, 0.3]])
    np.testing.assert_allclose(method.curves["val_ece"].values, [[np.nan, 0.3, 0.1, np.nan, np.nan]])


def test_a_second_stage_without_training_on_the_first_of_another_run_lacks_nothing(make_run: MakeRun) -> None:
    run = make_run("tau")
    run.history_path.unlink()
    assert "no training curves" in gather([run]).notices[0]
    run.write_weights("decouple", {"w": torch.zeros(1)}, 0.0)
    found = gather([run])
    assert (found.notices, found.methods[0].curves) == ([], {})
