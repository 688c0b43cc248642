"""`calibrant apply CALIBRATOR PREDICTIONS --out FILE`."""

from pathlib import Path
from typing import Any

import torch

from calibrant.cli.calibrate import opened
from calibrant.cli.outputs import refuse_overwriting
from calibrant.posthoc import ConformalSets, load_calibrator
from calibrant.predictions.mended import MendedFile, write_predictions


def execute(options: dict[str, Any]) -> None:
    """Write predictions as a calibrator mends them, or with the sets that it gives."""
    path = options["calibrator"]
    saved = load_calibrator(path)
    calibrator = saved.calibrator
    refuse_overwriting(options, [path, options["predictions"]])
    file = opened(options["predictions"], options, unlabelled=True)
    saved.refuse_other_classes(path, file.class_names, str(file.path))
    sets = calibrator if isinstance(calibrator, ConformalSets) else None
    with torch.no_grad():
        mended = MendedFile(file, lambda logits, _: logits if sets is not None else calibrator(logits))
        out = write_predictions(mended, Path(options["out"]), file.inputs, sets)
    what = f"sets, set_sizes and the {file.inputs} as they were" if sets is not None else file.inputs
    without = "" if file.labelled else ", and no labels, as there were none"
    rows = f"{file.rows:,} {'maps' if file.dense else 'rows'}"
    print(f"{saved.method} applied to {rows}: {out} holds {what}{without}.")
    if file.ignore_index is not None:
        print("Labels that do not count are -1 there: calibrant evaluate --ignore-index -1.")
