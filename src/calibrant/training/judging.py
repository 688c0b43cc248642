"""What a result says: every metric of each split, before and after each calibrator."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from calibrant import metrics
from calibrant.data import FileImageTask, ImageTask, TextTask
from calibrant.errors import InputError
from calibrant.posthoc import (
    AutoCalibration,
    Calibrator,
    ConvergenceWarning,
    TemperatureScaling,
    create,
    save_calibrator,
)
from calibrant.training.run_folder import Predictions, Split


def judge(
    predictions: Mapping[Split, Predictions],
    calibrators: Sequence[str],
    task: ImageTask | FileImageTask | TextTask | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Return the metrics of each split before and after each calibrator that validation could fit.

    Args:
        predictions: by split.
        calibrators: names.
        task: gives the groups of many-, medium- and few-shot classes, and how often each was trained on.
        folder: where each fitted calibrator is kept, as NAME.safetensors.
    """

    def measure(logits: Tensor, split: Split) -> dict[str, dict[str, float | None]]:
        estimates = metrics.evaluate(
            logits,
            predictions[split].targets,
            inputs="logits",
            class_counts=task.class_counts.tolist() if task and task.groups else None,
            groups=(task and task.groups) or "counts",
            # Validation fits the calibrators: its values describe, they prove nothing that needs an interval.
            intervals=split == "test",
        )
        return in_json(estimates)

    after = {split: {"none": measure(p.logits, split)} for split, p in predictions.items()}
    fitted: dict[str, Any] = {}
    counts = task.class_counts.tolist() if task else None
    for name in calibrators if "val" in predictions else []:
        val = predictions["val"]
        calibrator, fitted[name] = fit_calibrator(name, val.logits, val.targets, counts)
        if calibrator is None:
            continue
        if folder is not None:
            save_calibrator(calibrator, folder / f"{name}.safetensors", val.class_names)
        for split, p in predictions.items():
            with torch.no_grad():
                after[split][name] = measure(calibrator(p.logits), split)
    return {"metrics": after, "posthoc": fitted}


def fit_calibrator(
    name: str, logits: Tensor, targets: Tensor, class_counts: Sequence[int] | None = None
) -> tuple[Calibrator | None, dict[str, Any]]:
    """Return a calibrator fitted to (N, C) logits, and what a result says of it.

    That is whether it converged, the temperature if that is all that it is, and what was chosen and why; where
    the data cannot be fitted, no calibrator, and the reason: a run is not lost for it.
    """
    calibrator = create(name, num_classes=logits.shape[1], class_counts=class_counts)
    try:
        with warnings.catch_warnings():
            # The result says whether it converged.
            warnings.simplefilter("ignore", ConvergenceWarning)
            calibrator.fit(logits, targets)
    except InputError as error:
        return None, {"refused": str(error)}
    facts: dict[str, Any] = {"converged": bool(calibrator.converged_)}
    if isinstance(calibrator, TemperatureScaling):
        facts = {"temperature": float(calibrator.temperature_), **facts}
    if isinstance(calibrator, AutoCalibration):
        facts |= {"chosen": calibrator.chosen_, "nll": calibrator.scores_, "excluded": calibrator.excluded_}
    return calibrator, facts


def in_json(estimates: Mapping[str, metrics.Estimate]) -> dict[str, dict[str, float | None]]:
    """Return values and intervals as a result keeps them: null for what there is not."""
    return {
        name: {key: None if math.isnan(v) else v for key, v in estimate._asdict().items()}
        for name, estimate in estimates.items()
    }
