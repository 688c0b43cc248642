"""Run folders of made-up networks whose calibration is known: their labels are drawn from what they know."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from calibrant.metrics import evaluate
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
        run = RunFolder(tmp_path / "runs" / (folder or f"m{len(list(tmp_path.glob('runs/*')))}-seed{seed}"))
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


def _metrics(logits: torch.Tensor, target: torch.Tensor) -> dict[str, dict[str, float]]:
    found = evaluate(logits, target, inputs="logits", intervals=False)
    return {name: {"value": e.value, "low": 0.9 * e.value, "high": 1.1 * e.value} for name, e in found.items()}


@pytest.fixture
def three(make_run: MakeRun) -> list[RunFolder]:
    """Two seeds each of an over-confident, a calibrated and an under-confident method."""
    return [
        make_run(method, seed, sharpness=sharpness)
        for method, sharpness in (("ce", 3.0), ("mbls", 1.0), ("ls", 0.4))
        for seed in (0, 1)
    ]
