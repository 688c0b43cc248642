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
from calibrant.metrics.definitions import Groups, class_groups
from calibrant.posthoc import (
    AutoCalibration,
    Calibrator,
    ConvergenceWarning,
    TemperatureScaling,
    create,
    save_calibrator,
)
from calibrant.training.run_folder import Predictions, Split

#: Logits (N, C) and labels (N,).
Judged = tuple[Tensor, Tensor]
#: What the parts of the test samples are called, where the classes are grouped by their frequency.
BY_FREQUENCY = ("many-shot classes", "medium-shot classes", "few-shot classes")


def judge(
    predictions: Mapping[Split, Predictions],
    calibrators: Sequence[str],
    task: ImageTask | FileImageTask | TextTask | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Return the metrics of each split before and after each calibrator that validation could fit.

    Of classes in groups by their frequency, those of the test samples of each group too; and under "only_class"
    the class that every test sample is given, None if there are several or if it is that of most samples.

    Args:
        predictions: by split.
        calibrators: names.
        task: gives the groups of many-, medium- and few-shot classes, and how often each was trained on.
        folder: where each fitted calibrator is kept, as NAME.safetensors.
    """
    groups = task.groups if task else None
    counts = task.class_counts.tolist() if task else None
    judged: dict[str, Judged] = {name: (p.logits, p.targets) for name, p in predictions.items()}
    if groups and "test" in judged:
        judged |= _by_frequency(judged["test"], counts, groups)

    def measure(name: str, logits: Tensor) -> dict[str, dict[str, float | None]]:
        whole = name in predictions
        estimates = metrics.evaluate(
            logits,
            judged[name][1],
            inputs="logits",
            class_counts=counts if groups and whole else None,
            groups=groups or "counts",
            # Validation fits the calibrators: its values describe, they prove nothing that needs an interval.
            intervals=name != "val",
        )
        return in_json(estimates)

    after = {name: {"none": measure(name, logits)} for name, (logits, _) in judged.items()}
    fitted: dict[str, Any] = {}
    for name in calibrators if "val" in predictions else []:
        val = predictions["val"]
        calibrator, fitted[name] = fit_calibrator(name, val.logits, val.targets, counts)
        if calibrator is None:
            continue
        if folder is not None:
            save_calibrator(calibrator, folder / f"{name}.safetensors", val.class_names)
        for part, (logits, _) in judged.items():
            with torch.no_grad():
                after[part][name] = measure(part, calibrator(logits))
    only = _only_class(predictions["test"]) if "test" in predictions else None
    return {"metrics": after, "posthoc": fitted, "only_class": only}


def _only_class(predictions: Predictions) -> str | None:
    said = predictions.logits.argmax(1)
    # Of two classes one may well be the likelier for every sample, and the probabilities worth having.
    one = bool((said == said[0]).all() and (said == predictions.targets).double().mean() <= 0.5)
    return predictions.class_names[int(said[0])] if one else None


def _by_frequency(test: Judged, counts: Sequence[int] | None, groups: Groups) -> dict[str, Judged]:
    """Return what was said of the test samples of classes with many, medium and few training samples."""
    logits, targets = test
    members = class_groups(logits.shape[1], counts, groups)
    masks = zip(BY_FREQUENCY, (torch.isin(targets, group) for group in members), strict=True)
    return {name: (logits[mask], targets[mask]) for name, mask in masks if mask.any()}


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
