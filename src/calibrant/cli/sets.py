"""`calibrant calibrate PREDICTIONS --method conformal`: sets of classes in place of mended probabilities."""

import json
import time
from typing import Any

from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc import ConformalSets, cross_validated, save_calibrator
from calibrant.predictions import PredictionFile
from calibrant.predictions.mended import as_logits
from calibrant.predictions.sets import SetFacts, judge_sets
from calibrant.predictions.shown import Measure, cell


def calibrate_sets(
    file: PredictionFile, test: PredictionFile | None, arguments: dict[str, Any], options: dict[str, Any]
) -> None:
    """Find the quantile of conformal sets, write it, and say how often sets hold the label, and their sizes."""
    if "class_counts" in options:
        raise InputError("The method 'conformal' takes no --class-counts; leave them out.")
    try:
        fitted = ConformalSets(**arguments)
    except TypeError as error:
        raise InputError(f"The options of --method {options['method']!r} do not fit: {error}.") from None
    values, target = file.read()
    logits = as_logits(values, file.inputs)
    start = time.perf_counter()
    fitted.fit(logits, target, file.ignore_index)
    seconds = time.perf_counter() - start
    if test is not None:
        found = judge_sets(test, lambda given, _: fitted(given))
    else:
        ignore = file.ignore_index
        try:
            held = cross_validated(
                lambda: ConformalSets(**arguments), logits, target, ignore_index=ignore
            ).bool()
        except InputError as error:
            raise InputError(
                f"All rows of {file.path} make sets, but the folds that they would be measured by are too small"
                f" ({str(error).rstrip('.')}); name other predictions with --test."
            ) from None
        found = judge_sets(file, lambda given, first: held[first : first + len(given)])
    saved = save_calibrator(fitted, options["out"], file.class_names) if "out" in options else None
    if options.get("json"):
        print(_json(fitted, found, crossed=test is None))
        return
    print(read_as(file, logits))
    print(f"conformal fitted in {seconds:.2f} s: {fitted}\n")
    print("\n".join(_lines(found, fitted)))
    print(
        f"\nMeasured on {test.path}, which the sets have not seen."
        if test is not None
        else f"\nMeasured on {file.path}, the set of each row by the quantile of the other folds."
    )
    if saved is not None:
        print(f"Sets: {saved}  (calibrant apply {saved} PREDICTIONS --out FILE)")


def read_as(file: PredictionFile, logits: Tensor) -> str:
    """Return what was read from a file, in words."""
    shape = " x ".join(map(str, logits.shape[2:]))
    rows = f"{len(logits):,} {f'maps of {shape}' if file.dense else 'rows'} read as {file.inputs}"
    return f"{file.path}: {rows}, {file.classes} classes."


def _lines(found: SetFacts, fitted: ConformalSets) -> list[str]:
    percent = Measure("", 100.0, 2, True)
    sizes = {size: count / sum(found.sizes) for size, count in enumerate(found.sizes) if count}
    return [
        f"coverage %   {cell(found.coverage, percent)}, of {100 * fitted.confidence:g} asked for",
        f"mean size    {found.mean_size:.3f} of {len(found.sizes) - 1} classes",
        "sizes        " + ", ".join(f"{size}: {100 * share:.1f} %" for size, share in sizes.items()),
    ]


def _json(fitted: ConformalSets, found: SetFacts, *, crossed: bool) -> str:
    coverage = {key: None if value != value else value for key, value in found.coverage._asdict().items()}
    facts = {
        "method": "conformal",
        "confidence": fitted.confidence,
        "score": fitted.score,
        "quantile": float(fitted.quantile_),
        "measured": "cross-validated" if crossed else "test",
        "coverage": coverage,
        "mean_size": found.mean_size,
        "sizes": found.sizes,
    }
    return json.dumps(facts, indent=1)
