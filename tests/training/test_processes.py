"""Real processes: two that train together give what one gives; one that is killed goes on."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import run
from tests.training.tiny import tiny_recipe

#: Without what depends on which images share a process: batch statistics and random draws.
EVEN = {
    "data__train": 39,
    "model__args": {"norm": False, "dropout": 0.0},
    "train__augment": False,
    "decouple__augment": False,
    "trainer__eval_batch_size": 7,
}
JOBS = {
    "ce": {},
    "weighted": {"train__loss__args": {"weight": [1.0, 9.0, 2.0]}},
    "cals": {"train__loss__name": "cals", "train__loss__args": {"margin": 1.0}},
    "cals-apart": {
        "data__teach": 9,
        "train__loss__name": "cals",
        "train__loss__args": {"margin": 1.0},
    },
    "balanced": {
        "train__sampler__name": "class_balanced",
        "train__sampler__per_class": 2,
        "train__select": "best",
    },
    "aslp": {
        "data__name": "tiny_maps",
        "data__train": 10,
        "model": {"name": "tiny_dense_net", "args": {}},
        "train__loss__name": "aslp_mc",
        "train__loss__args": {"warmup": 1, "mode": "expected"},
        "train__batch_size": 4,
    },
    "crl": {"train__loss__name": "crl"},
    "two-stages": {"decouple__method": "mislas", "decouple__epochs": 2, "decouple__batch_size": 16},
}
TWO = {"trainer__devices": 2}


def even(name: str) -> dict[str, object]:
    """Return the changes of a job; what it says of the network goes before."""
    job = JOBS[name]
    kept = {key: value for key, value in EVEN.items() if not (key == "model__args" and "model" in job)}
    return {**kept, **job}


def start(folder: Path, jobs: list[dict]) -> subprocess.CompletedProcess[str]:
    """Run jobs in a process of its own, with those that it starts; all of them are gone afterwards."""
    path = folder / "jobs.json"
    path.write_text(json.dumps(jobs))
    with subprocess.Popen(
        [sys.executable, "-m", "tests.training.run_jobs", str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Sums over another number of threads are rounded otherwise.
        env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
    ) as process:
        # A process whose companion was killed may wait for it; the first one decides.
        status = process.wait(timeout=280)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, status, out, err)


@pytest.fixture(scope="module")
def in_two(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    jobs = [{"changes": {**even(name), **TWO}, "folder": str(folder / name)} for name in JOBS]
    done = start(folder, jobs)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("name", [name for name in JOBS if name != "crl"])
def test_two_processes_end_where_one_does(tmp_path, in_two, name):
    one, two = run(tiny_recipe(**even(name)), tmp_path), RunFolder(in_two / name)
    for stage in ("train", "decouple")[: 1 + (name == "two-stages")]:
        ours, theirs = (target.read_weights(stage) for target in (two, one))
        for key, value in theirs.items():
            torch.testing.assert_close(ours[key], value, atol=2e-5, rtol=1e-4)
    for split in ("none", "temperature"):
        ours, theirs = (target.result()["metrics"]["test"][split] for target in (two, one))
        for metric in ("accuracy", "nll", "brier"):
            assert ours[metric]["value"] == pytest.approx(theirs[metric]["value"], abs=1e-4)
    for stage in ("train", "decouple"):
        ours, theirs = (target.history(stage) for target in (two, one))
        assert ours.keys() == theirs.keys()
        for column in theirs:
            assert ours[column] == pytest.approx(theirs[column], abs=2e-5, nan_ok=True), column


def learned(target: RunFolder) -> dict[str, torch.Tensor]:
    state = torch.load(target.checkpoint_path, weights_only=True)["state_dict"]
    return {name: value for name, value in state.items() if name.startswith("loss.")}


@pytest.mark.parametrize(("name", "differs"), [("cals", "loss.lagrangian.multipliers"), ("aslp", "loss.alpha")])
def test_what_a_loss_has_learned_in_two_processes_is_what_it_learns_in_one(tmp_path, in_two, name, differs):
    one, two = (
        learned(target) for target in (run(tiny_recipe(**even(name)), tmp_path), RunFolder(in_two / name))
    )
    assert one.keys() == two.keys()
    assert one[differs].unique().numel() > 1
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=1e-4, equal_nan=True)


def test_no_sample_is_counted_twice_in_an_epoch_by_two_processes(in_two):
    # What this loss compares depends on the neighbours in a process; how often a sample was right does not.
    state = learned(RunFolder(in_two / "crl"))
    assert state["loss.epoch"] == 4
    assert state["loss.correct"].max() == 4
    assert state["loss.correct"].sum() > 39 * 2


@pytest.mark.parametrize(
    ("name", "before", "after"), [("cals", 2, 1), ("cals", 1, 2), ("aslp", 2, 1), ("two-stages", 2, 1)]
)
def test_a_killed_run_goes_on_with_another_number_of_processes(tmp_path, name, before, after):
    changes, epoch = even(name), 1 if name == "two-stages" else 2
    job = {"folder": str(tmp_path / "broken")}
    died = start(
        tmp_path, [{**job, "changes": {**changes, "trainer__devices": before}, "die": ["training", epoch]}]
    )
    assert died.returncode != 0
    assert len(RunFolder(job["folder"]).history()["epoch"]) == epoch
    done = start(tmp_path, [{**job, "changes": {**changes, "trainer__devices": after}}])
    assert done.returncode == 0, done.stderr
    broken, whole = RunFolder(job["folder"]), run(tiny_recipe(**changes), tmp_path / "whole")
    last = "decouple" if name == "two-stages" else "train"
    weights = broken.read_weights(last)
    for key, value in whole.read_weights(last).items():
        torch.testing.assert_close(weights[key], value, atol=2e-5, rtol=1e-4)
    for key, value in learned(whole).items():
        torch.testing.assert_close(learned(broken)[key], value, atol=1e-5, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("die", [["validation", 1], ["training", 2]], ids=lambda die: die[0])
@pytest.mark.parametrize("name", ["cals", "aslp"])
def test_a_run_that_is_killed_in_training_or_validation_ends_with_the_same_numbers(tmp_path, name, die):
    changes = {**JOBS[name], "trainer__eval_batch_size": 2, "train__select": "best"}
    broken = tmp_path / "broken"
    died = start(tmp_path, [{"changes": changes, "folder": str(broken), "die": die}])
    assert died.returncode == -signal.SIGKILL
    assert not RunFolder(broken).finished
    resumed, whole = run(tiny_recipe(**changes), broken), run(tiny_recipe(**changes), tmp_path / "whole")
    weights = resumed.read_weights("train")
    assert all(torch.equal(weights[key], value) for key, value in whole.read_weights("train").items())
    assert resumed.history_path.read_text() == whole.history_path.read_text()
    assert resumed.result()["metrics"] == whole.result()["metrics"]


@pytest.mark.parametrize("die", [["validation", 1], ["training", 1]], ids=lambda die: die[0])
def test_a_run_that_is_killed_in_its_second_stage_ends_with_the_same_numbers(tmp_path, die):
    changes = {**JOBS["two-stages"], "decouple__shift_bn": True, "trainer__eval_batch_size": 7}
    broken = tmp_path / "broken"
    first = run(tiny_recipe(), tmp_path / "first")
    changes |= {"decouple__from_run": str(first.path)}
    died = start(tmp_path, [{"changes": changes, "folder": str(broken), "die": die}])
    assert died.returncode == -signal.SIGKILL
    assert not RunFolder(broken).finished
    resumed, whole = run(tiny_recipe(**changes), broken), run(tiny_recipe(**changes), tmp_path / "whole")
    assert torch.equal(resumed.predictions("test").logits, whole.predictions("test").logits)
    assert resumed.result()["metrics"] == whole.result()["metrics"]
