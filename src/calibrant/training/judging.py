"""What a result says: every metric of each split, before and after each calibrator."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from calibrant import metrics
from calibrant.data import FileImageTask, ImageTask, TextTask
from calibrant.posthoc import ConvergenceWarning, TemperatureScaling
from calibrant.training.run_folder import Predictions, Split


def judge(
    predictions: Mapping[Split, Predictions],
    calibrators: Sequence[str],
    task: ImageTask | FileImageTask | TextTask | None = None,
) -> dict[str, Any]:
    """Return the metrics of each split before and after each calibrator that validation could fit.

    Args:
        predictions: by split.
        calibrators: names.
        task: gives the groups of many-, medium- and few-shot classes.
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
    for name in calibrators if "val" in predictions else []:
        fitted[name] = fitted_temperature(predictions["val"].logits, predictions["val"].targets)
        for split, p in predictions.items():
            after[split][name] = measure(p.logits / fitted[name]["temperature"], split)
    return {"metrics": after, "posthoc": fitted}


def fitted_temperature(logits: Tensor, targets: Tensor) -> dict[str, float | bool]:
    """Return the temperature of (N, C) logits, and whether it is certified."""
    with warnings.catch_warnings():
        # The result says whether it converged.
        warnings.simplefilter("ignore", ConvergenceWarning)
        scaling = TemperatureScaling().fit(logits, targets)
    return {"temperature": float(scaling.temperature_), "converged": bool(scaling.converged_)}


def in_json(estimates: Mapping[str, metrics.Estimate]) -> dict[str, dict[str, float | None]]:
    """Return values and intervals as a result keeps them: null for what there is not."""
    return {
        name: {key: None if math.isnan(v) else v for key, v in estimate._asdict().items()}
        for name, estimate in estimates.items()
    }
