"""The stages of calibration that runs hold: their order, what they are called, and predictions after them."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from calibrant.posthoc import load_calibrator
from calibrant.training.run_folder import RunFolder

#: What a network says before any calibrator, and the calibrator that is shown first.
RAW, DEFAULT = "none", "temperature"
_NAMES = {
    "temperature": "temperature scaling",
    "vector": "vector scaling",
    "matrix": "matrix scaling",
    "dirichlet": "Dirichlet calibration",
    "platt": "Platt scaling",
    "beta": "beta calibration",
    "isotonic": "isotonic regression",
    "histogram": "histogram binning",
    "scaling_binning": "scaling-binning",
    "ensemble_temperature": "ensemble temperature scaling",
    "class_temperature": "class-wise temperatures",
    "local_temperature": "local temperature scaling",
    "spline": "spline calibration",
    "venn_abers": "Venn-Abers predictors",
    "auto": "the calibrator that cross-validation chose",
}


def calibration(stage: str) -> str:
    """Return what a stage does, in words.

    Example:
        >>> calibration("vector"), calibration("mine")
        ('vector scaling', 'mine')
    """
    return _NAMES.get(stage, stage)


def when(stage: str) -> str:
    """Return a stage as "as trained" or "after …".

    Example:
        >>> when("none"), when("temperature")
        ('as trained', 'after temperature scaling')
    """
    return "as trained" if stage == RAW else f"after {calibration(stage)}"


def short(stage: str) -> str:
    """Return a stage as a narrow column can hold it."""
    return "as trained" if stage == RAW else stage


def stages_of(results: Iterable[Mapping[str, Any]], split: str = "test") -> list[str]:
    """Return the stages that any of the runs holds: as trained, the default one, the others as they come.

    Example:
        >>> stages_of([{"metrics": {"test": {"none": {}, "vector": {}, "temperature": {}}}}])
        ['none', 'temperature', 'vector']
    """
    held = dict.fromkeys(stage for result in results for stage in result["metrics"].get(split, {}))
    first = [stage for stage in (RAW, DEFAULT) if stage in held]
    return first + [stage for stage in held if stage not in first]


@torch.no_grad()
def logits_after(run: RunFolder, stage: str, logits: Tensor) -> Tensor | None:
    """Return logits as the calibrator of a run makes them; None where the run does not keep it.

    Args:
        run: the run.
        stage: "none", or the name of a calibrator.
        logits: (N, C) of the network itself.
    """
    if stage == RAW:
        return logits
    path = run.calibrator_path(stage)
    if path.is_file():
        calibrated: Tensor = load_calibrator(path).calibrator(logits)
        return calibrated
    # Runs of versions that kept no calibrators say what their temperature was.
    fitted = run.result().get("posthoc", {}).get(stage) or {}
    return logits / float(fitted["temperature"]) if "temperature" in fitted else None
