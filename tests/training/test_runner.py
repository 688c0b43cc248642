"""Runs in this process: their files, and that an interruption changes nothing."""

import errno
import json
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from calibrant.errors import InputError
from calibrant.losses import Loss
from calibrant.losses.registry import LOSSES
from calibrant.training.recipe_files import load_recipe
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import run
from tests.training.tiny import tiny_recipe


class Killed(Exception):
    pass


def kill_at(step: int):
    def listener(done: int, steps: int, epoch: int) -> None:
        if done >= step:
            raise Killed

    return listener


def run_with_interruptions(recipe, folder: Path, steps: list[int], monkeypatch) -> RunFolder:
    monkeypatch.setattr("calibrant.training.callbacks.PAUSE", 0.0)
    for step in steps:
        with pytest.raises(Killed):
            run(recipe, folder, listener=kill_at(step))
    return run(recipe, folder)


def facts(target: RunFolder) -> dict:
    result = target.result()
    return {key: result[key] for key in ("metrics", "posthoc", "loss", "seed", "data")}


def test_a_run_leaves_everything_that_a_report_needs(tmp_path):
    recipe = tiny_recipe(train__validate_every=2, train__loss__name="mbls", train__loss__args={"margin": 1.0})
    target = run(recipe, tmp_path / "run")
    result = target.result()
    assert result["schema"] == 1
    assert (result["recipe"], result["method"], result["seed"]) == ("tiny", "mbls:margin=1.0", 0)
    counts = result["data"].pop("class_counts")
    assert (len(counts), sum(counts)) == (3, 40)
    sizes = {"train": 40, "val": 30, "test": 50, "classes": 3}
    assert result["data"] == {"name": "tiny_images", **sizes, "note": "for tests"}
    for split in ("val", "test"):
        assert set(result["metrics"][split]) == {"none", "temperature"}
        assert {"accuracy", "ece", "aece", "classwise_ece", "nll", "brier"} <= set(
            result["metrics"][split]["none"]
        )
    ece = {split: result["metrics"][split]["none"]["ece"] for split in ("val", "test")}
    assert ece["test"]["low"] <= ece["test"]["high"]
    assert ece["val"]["low"] is None
    assert result["posthoc"]["temperature"]["temperature"] > 0
    assert result["wall_seconds"] > 0
    test = target.predictions("test")
    assert test.logits.shape == (50, 3)
    assert test.logits.dtype == torch.float32
    accuracy = (test.logits.argmax(1) == test.targets).double().mean().item()
    assert result["metrics"]["test"]["none"]["accuracy"]["value"] == pytest.approx(accuracy)
    assert load_recipe(str(target.recipe_path)) == recipe
    history = target.history()
    assert history["epoch"] == [0, 1, 2, 3]
    assert {"train_loss", "train_ce", "train_margin", "val_accuracy", "val_ece", "val_nll", "lr"} <= set(
        history
    )
    assert [value == value for value in history["val_ece"]] == [False, True, False, True]
    assert history["lr"][0] == pytest.approx(0.1)
    assert not [path for path in target.path.rglob(".*") if path.name != ".lock"]


@pytest.mark.parametrize(
    "changes",
    [
        {"train__loss__name": "cals", "train__loss__args": {"margin": 1.0}},
        {"train__select": "best", "train__clip": 0.5, "trainer__checkpoint_every": 3},
        {
            "train__optimizer__name": "adamw",
            "train__optimizer__lr": 0.01,
            "train__schedule__name": "multistep",
            "train__schedule__milestones": [1, 3],
            "trainer__precision": "bf16-mixed",
            "trainer__channels_last": True,
        },
    ],
    ids=["learning-loss", "best", "adamw-bf16"],
)
def test_an_interrupted_run_ends_with_the_same_numbers_as_an_undisturbed_one(tmp_path, monkeypatch, changes):
    recipe = tiny_recipe(**changes)
    whole = run(recipe, tmp_path / "whole")
    torch.rand(17)
    broken = run_with_interruptions(recipe, tmp_path / "broken", [2, 5, 11], monkeypatch)
    assert facts(broken) == facts(whole)
    for split in ("val", "test"):
        assert torch.equal(broken.predictions(split).logits, whole.predictions(split).logits)
    assert broken.history_path.read_text() == whole.history_path.read_text()


def test_an_interrupted_prediction_is_made_again(tmp_path, monkeypatch):
    recipe = tiny_recipe(train__epochs=2)
    whole = run(recipe, tmp_path / "whole")
    broken = RunFolder(tmp_path / "broken")
    with monkeypatch.context() as patched:
        patched.setattr(RunFolder, "write_result", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            run(recipe, broken.path)
    assert not broken.finished
    assert facts(run(recipe, broken.path)) == facts(whole)


def test_seeds_differ_and_a_seed_repeats_itself(tmp_path):
    logits = [
        run(tiny_recipe(seed=seed, train__epochs=1), tmp_path / str(i)).predictions("test").logits
        for i, seed in enumerate((0, 0, 1))
    ]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_a_finished_run_is_left_alone(tmp_path):
    recipe = tiny_recipe(train__epochs=1)
    target = run(recipe, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.name != ".lock"}
    run(recipe, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert target.finished


def test_a_folder_of_another_recipe_is_refused(tmp_path):
    run(tiny_recipe(train__epochs=1), tmp_path)
    with pytest.raises(InputError, match=r"another recipe \(train\.epochs 1, not 2\)"):
        run(tiny_recipe(train__epochs=2), tmp_path)


def test_a_run_that_another_process_writes_is_refused(tmp_path):
    with FileLock(RunFolder(tmp_path).lock_path), pytest.raises(InputError, match="another process"):
        run(tiny_recipe(), tmp_path)


def test_what_a_killed_process_left_unfinished_is_removed(tmp_path):
    left = tmp_path / "checkpoints" / ".last.ckpt.17.unfinished"
    left.parent.mkdir()
    left.write_bytes(b"half")
    target = run(tiny_recipe(train__epochs=1), tmp_path)
    assert target.finished
    assert not left.exists()


def test_a_truncated_checkpoint_is_one_clear_sentence(tmp_path):
    recipe = tiny_recipe(train__epochs=2)
    target = run(recipe, tmp_path)
    target.result_path.unlink()
    target.stage("train").weights.unlink()
    whole = target.checkpoint_path.read_bytes()
    for size in (0, 100, len(whole) // 2, len(whole) - 10):
        target.checkpoint_path.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"last\.ckpt is truncated or damaged; delete .*checkpoints to"):
            run(recipe, tmp_path)


def test_a_checkpoint_that_the_disk_does_not_give_is_not_called_damaged(tmp_path, monkeypatch):
    recipe = tiny_recipe(train__epochs=2)
    target = run(recipe, tmp_path)
    target.result_path.unlink()
    target.stage("train").weights.unlink()

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", fail)
        with pytest.raises(OSError, match="Input/output error"):
            run(recipe, tmp_path)
    assert run(recipe, tmp_path).finished


def test_one_process_writes_whatever_number_a_cluster_gave_it(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert run(tiny_recipe(train__epochs=1), tmp_path).finished


def test_a_finished_run_is_returned_where_nothing_can_be_written(tmp_path, monkeypatch):
    recipe = tiny_recipe(train__epochs=1)
    run(recipe, tmp_path)

    def refuse(_: RunFolder) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(RunFolder, "locked", refuse)
    assert run(recipe, tmp_path).finished


def test_a_new_run_takes_nothing_of_an_earlier_one_in_its_folder(tmp_path):
    target = run(tiny_recipe(train__epochs=1, train__loss__name="cals", posthoc=["temperature"]), tmp_path)
    assert target.class_history()
    for path in (target.result_path, target.stage("train").weights, target.checkpoint_path):
        path.unlink()
    (tmp_path / "corruptions").mkdir()
    (tmp_path / "corruptions" / "made-all-seed0.json").write_text("{}")
    (tmp_path / "notes.txt").write_text("mine")
    run(tiny_recipe(train__epochs=1, posthoc=[]), tmp_path)
    assert not target.class_history()
    assert not list(tmp_path.glob("calibrators/*")) + list(tmp_path.glob("corruptions/*"))
    assert (tmp_path / "notes.txt").read_text() == "mine"


class NanFrom(Loss):
    """A loss that is NaN from a given call on."""

    def __init__(self, num_classes: int, call: int = 4) -> None:
        super().__init__()
        self.call, self.calls = call, 0

    def formula(self, batch):
        self.calls += 1
        return {"nan": batch.logits.sum(1) * (float("nan") if self.calls > self.call else 0.0)}


def test_a_loss_that_is_not_finite_stops_the_run_and_names_epoch_and_batch(tmp_path, monkeypatch):
    # For this test alone: others test every loss that has a name.
    monkeypatch.setitem(LOSSES._factories, "nan_from", NanFrom)
    recipe = tiny_recipe(train__loss__name="nan_from", train__batch_size=16)
    with pytest.raises(InputError, match="no longer finite in epoch 1, batch 1") as caught:
        run(recipe, tmp_path)
    assert "train.optimizer.lr" in str(caught.value)


def test_nan_logits_stop_the_run_and_name_epoch_and_batch(tmp_path):
    recipe = tiny_recipe(train__optimizer__lr=1e38)
    with pytest.raises(InputError, match=r"epoch \d+, batch \d+"):
        run(recipe, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__loss__name": "mblz"}, "did you mean 'mbls'"),
        ({"train__loss__name": "mbls", "train__loss__args": {"margni": 3}}, "did you mean 'margin'"),
        ({"model__name": "tiny_nut"}, "did you mean 'tiny_net'"),
        ({"data__name": "tiny_image"}, "did you mean 'tiny_images'"),
        ({"data__args": {"colour": 1}}, "no option 'colour'"),
        ({"data__imbalance": 50.0}, "no option 'imbalance'"),
        ({"data__val": 30, "data__args": {"val": 20}}, "data.val 30 and data.args.val 20 are the same option"),
    ],
)
def test_what_cannot_be_built_is_one_sentence(tmp_path, changes, said):
    with pytest.raises(InputError) as caught:
        run(tiny_recipe(**changes), tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_batch_that_cannot_be_filled_is_refused(tmp_path):
    recipe = tiny_recipe(train__batch_size=64, train__drop_last=True)
    with pytest.raises(InputError, match="40 training images make no whole batch of 64"):
        run(recipe, tmp_path)


def test_a_gpu_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="PyTorch sees no GPU"):
        run(tiny_recipe(trainer__accelerator="cuda"), tmp_path)
    with pytest.raises(InputError, match=r"trainer\.devices is 9999, but this machine has \d+ processors"):
        run(tiny_recipe(trainer__devices=9999), tmp_path)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(InputError, match=r"trainer\.devices is 3, but this machine has 2 GPUs"):
        run(tiny_recipe(trainer__accelerator="auto", trainer__devices=3), tmp_path)


def test_an_interruption_by_hand_reaches_the_caller(tmp_path):
    def press(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tiny_recipe(), tmp_path, listener=press)


def test_the_result_is_strict_json(tmp_path):
    target = run(tiny_recipe(train__epochs=1), tmp_path)

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    json.loads(target.result_path.read_text(), parse_constant=refuse)
