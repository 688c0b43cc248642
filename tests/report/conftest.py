"""Run folders of made-up networks whose calibration is known: their labels are drawn from what they know."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from calibrant.data import ImageSet, ImageTask
from calibrant.metrics import evaluate
from calibrant.report import write_report
from calibrant.report.figures import Drawing
from calibrant.training.errors import write_errors
from calibrant.training.run_folder import Predictions, RunFolder

MakeRun = Callable[..., RunFolder]
CLASSES = 4


def knowledge(samples: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return calibrated logits and the labels drawn from them."""
    generator = torch.Generator().manual_seed(0)
    logits = 2.0 * torch.randn(samples, CLASSES, generator=generator)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Write the folder of a run: calibrated at sharpness 1, over-confident above, under-confident below."""
    return writer(tmp_path)


def writer(root: Path) -> MakeRun:
    """Return what writes runs into a folder."""

    def make(
        method: str,
        seed: int = 0,
        *,
        sharpness: float = 1.0,
        temperature: float | None = None,
        samples: int = 400,
        folder: str | None = None,
        class_names: list[str] | None = None,
        **changes: Any,
    ) -> RunFolder:
        run = RunFolder(root / "runs" / (folder or f"m{len(list(root.glob('runs/*')))}-seed{seed}"))
        run.path.mkdir(parents=True, exist_ok=True)
        logits, target = knowledge(samples)
        noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(100 + seed))
        logits = sharpness * (logits + 0.05 * noise)
        t = sharpness if temperature is None else temperature
        names = class_names or [f"class {c}" for c in range(CLASSES)]
        run.write_predictions("test", Predictions(logits, target, torch.arange(samples), names))
        run.recipe_path.write_text(
            f"name: toy\ntrain:\n  loss:\n    name: {json.dumps(method)}\n  epochs: 3\nseed: {seed}\n"
        )
        with run.history_path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", "train_loss", "val_ece"])
            writer.writerows([[0, 2.0, ""], [1, 1.0, 0.3], [2, 0.5, 0.1]])
        result = {
            "schema": 1,
            "recipe": "toy",
            "method": method,
            "loss": {"name": method, "args": {"margin": 6}},
            "seed": seed,
            "metrics": {
                "test": {"none": _metrics(logits, target), "temperature": _metrics(logits / t, target)}
            },
            "posthoc": {"temperature": {"temperature": t, "converged": True}},
            "data": {
                "name": "toy",
                "train": 100,
                "val": 50,
                "test": samples,
                "classes": CLASSES,
                "class_counts": [25] * CLASSES,
                "note": "made up",
            },
            "versions": {"calibrant": "0.1.0", "torch": "2.11.0", "python": "3.11.7"},
            "git_commit": None,
            "wall_seconds": 1.5,
        } | changes
        run.write_result(result)
        return run

    return make


def keep_errors(run: RunFolder) -> None:
    """Keep the images of the most confident errors, noise of 32 x 32 in colour."""
    said = run.predictions("test")
    pixels = torch.randint(256, (len(said.targets), 3, 32, 32), generator=torch.Generator().manual_seed(1))
    images = ImageSet(pixels.byte(), said.targets, said.ids)
    write_errors(run, said, ImageTask(images, images, images, said.class_names))


def _metrics(logits: torch.Tensor, target: torch.Tensor) -> dict[str, dict[str, float]]:
    found = evaluate(logits, target, inputs="logits", intervals=False)
    return {name: {"value": e.value, "low": 0.9 * e.value, "high": 1.1 * e.value} for name, e in found.items()}


@pytest.fixture(scope="session")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two seeds each of an over-confident, a calibrated and an under-confident method; to be read only."""
    make_run = writer(tmp_path_factory.mktemp("three"))
    return [
        make_run(method, seed, sharpness=sharpness)
        for method, sharpness in (("ce", 3.0), ("mbls", 1.0), ("ls", 0.4))
        for seed in (0, 1)
    ]


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let figures be drawn, but not saved, which takes a while in three formats."""
    monkeypatch.setattr(Drawing, "save", lambda self, path: path)


@pytest.fixture
def copies(three: list[RunFolder], tmp_path: Path) -> list[RunFolder]:
    """The same runs, to be changed."""
    return [RunFolder(shutil.copytree(run.path, tmp_path / "runs" / run.path.name)) for run in three]


@pytest.fixture(scope="session")
def html(three: list[RunFolder], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of the three methods."""
    path = write_report(three, tmp_path_factory.mktemp("page") / "out" / "report.html", "Toy")
    return path.read_text(encoding="utf-8")
