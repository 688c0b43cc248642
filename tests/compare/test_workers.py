"""A comparison in real processes: killed without warning, it leaves no orphan, and ends with the same table."""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from calibrant.compare.methods import plan
from calibrant.compare.table import tabulate
from calibrant.compare.workers import failures
from calibrant.errors import InputError
from calibrant.training.recipe import Recipe
from calibrant.training.runner import run

FIELDS = {"train.epochs": 24, "train.validate_every": 12, "trainer.threads": 1, "trainer.checkpoint_every": 1}
LOSSES = ["ce", "mbls:margin=4"]


def start(folder: Path) -> subprocess.Popen[str]:
    fields = [text for key, value in FIELDS.items() for text in (f"--{key}", str(value))]
    chosen = ["--losses", *LOSSES, "--seeds", "0", "--jobs", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "calibrant.cli", "compare", "digits", *chosen, *fields],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def wait_until(what, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


def epochs(run_folder: Path) -> int:
    history = run_folder / "metrics.csv"
    return len(history.read_text().splitlines()) - 1 if history.is_file() else 0


def test_killed_in_the_middle_and_run_again_it_ends_with_the_table_of_an_undisturbed_one(tmp_path):
    second = tmp_path / "runs/digits/mbls-margin=4/seed0"
    process = start(tmp_path)
    wait_until(lambda: epochs(second) >= 4)
    children = [
        int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert children
    wait_until(lambda: not any(map(alive, children)), 20)
    assert (tmp_path / "runs/digits/ce/seed0/result.json").is_file()
    assert not (second / "result.json").is_file()
    reached = epochs(second)
    assert 4 <= reached < 24

    again = start(tmp_path)
    output, _ = again.communicate(timeout=300)
    assert again.returncode == 0, output
    assert "1 of 2 runs are finished already" in output
    assert "Traceback" not in output
    assert (tmp_path / "runs/digits/report.html").stat().st_size > 10_000

    tree: dict[str, dict[str, int]] = {}
    for key, value in FIELDS.items():
        part, name = key.split(".")
        tree.setdefault(part, {})[name] = value
    undisturbed = [
        run(recipe, folder)
        for recipe, folder in plan(["digits"], tree, losses=LOSSES, seeds=[0], root=tmp_path / "u")
    ]
    table = tabulate(undisturbed)
    assert json.loads((tmp_path / "runs/digits/table.json").read_text()) == json.loads(table.to_json())
    assert table.to_text() in output


def ended(error: BaseException | None) -> Future[None]:
    future: Future[None] = Future()
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
    return future


def test_a_mistake_of_the_user_fails_its_own_run_only():
    runs = [(Recipe(), Path(name)) for name in "abc"]
    said = failures(runs, [ended(None), ended(InputError("lower the rate")), ended(None)])
    assert said == {Path("b"): "lower the rate"}


def test_an_error_of_our_own_is_raised_and_a_killed_worker_explained():
    runs = [(Recipe(), Path("a"))]
    with pytest.raises(ZeroDivisionError):
        failures(runs, [ended(ZeroDivisionError())])
    with pytest.raises(InputError, match="goes on from here"):
        failures(runs, [ended(BrokenProcessPool())])
