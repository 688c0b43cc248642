"""`calibrant apply CALIBRATOR PREDICTIONS --out FILE`."""

from pathlib import Path
from typing import Any

import torch

from calibrant.cli.calibrate import opened
from calibrant.errors import InputError
from calibrant.posthoc import load_calibrator
from calibrant.predictions import PredictionFile
from calibrant.predictions.mended import MendedFile, write_predictions


def execute(options: dict[str, Any]) -> None:
    """Write predictions as a calibrator mends them."""
    path = options["calibrator"]
    calibrator, method, class_names = load_calibrator(path)
    file = opened(options["predictions"], options)
    if class_names is not None:
        _refuse_other_classes(path, class_names, file)
    with torch.no_grad():
        mended = MendedFile(file, lambda logits, _: calibrator(logits))
        out = write_predictions(mended, Path(options["out"]), file.inputs)
    print(f"{method} applied to {file.rows:,} {'maps' if file.dense else 'rows'}: {out} holds {file.inputs}.")
    if file.ignore_index is not None:
        print("Labels that do not count are -1 there: calibrant evaluate --ignore-index -1.")


def _refuse_other_classes(path: str, names: list[str], file: PredictionFile) -> None:
    if len(names) != file.classes:
        raise InputError(f"{path} was fitted to {len(names)} classes, {file.path} holds {file.classes}.")
    # Indices are what classes without names are called.
    indices = [str(k) for k in range(len(names))]
    if indices not in (names, file.class_names) and names != file.class_names:
        k = next(k for k in range(len(names)) if names[k] != file.class_names[k])
        raise InputError(
            f"{path} was fitted to classes in another order or of other names: class {k} is {names[k]!r} there "
            f"and {file.class_names[k]!r} in {file.path}."
        )
