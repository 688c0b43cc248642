"""`calibrant calibrate PREDICTIONS`."""

import json
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from calibrant.cli.outputs import refuse_overwriting
from calibrant.cli.sets import calibrate_sets, read_as
from calibrant.errors import InputError
from calibrant.metrics import PairedTest
from calibrant.posthoc import (
    AutoCalibration,
    Calibrator,
    ConvergenceWarning,
    create,
    cross_validated,
    save_calibrator,
)
from calibrant.posthoc.files import CONFORMAL, first_other
from calibrant.predictions import PredictionFile, open_predictions
from calibrant.predictions.judgement import Judgement, compare, judge
from calibrant.predictions.mended import MendedFile, as_logits
from calibrant.predictions.shown import MEASURES, as_json, cell, change, tests_as_json
from calibrant.registry import parse_named

#: Width of what is printed where there is no terminal.
_WIDTH = 120
_FOLDS = 5


def execute(options: dict[str, Any]) -> None:
    """Fit a calibrator to predictions, write it, and judge them before and after."""
    name, arguments = parse_named(options.get("method", "auto"), "method", "histogram:n_bins=10")
    counts = options.get("class_counts")
    file = opened(options["predictions"], options)
    test = opened(options["test"], options) if "test" in options else None
    if test is not None and test.classes != file.classes:
        raise InputError(
            f"{test.path} holds predictions of {test.classes} classes, {file.path} of {file.classes}."
        )
    if test is not None:
        if (k := first_other(file.class_names, test.class_names)) is not None:
            raise InputError(
                f"Class {k} is {file.class_names[k]!r} in {file.path} and {test.class_names[k]!r} in "
                f"{test.path}: bring the columns into the same order."
            )
        if Path(test.path).resolve() == Path(file.path).resolve():
            raise InputError(
                f"--test names {test.path}, to which the calibrator is fitted: leave it out to measure by "
                "cross-validation, or name other predictions."
            )
    if "out" in options:
        refuse_overwriting(options, [file.path, *([] if test is None else [test.path])])
    if name == CONFORMAL:
        calibrate_sets(file, test, arguments, options)
        return

    def make() -> Calibrator:
        return create(name, num_classes=file.classes, class_counts=counts, **arguments)

    try:
        fitted = make()
    except TypeError as error:
        raise InputError(f"The options of --method {options['method']!r} do not fit: {error}.") from None
    if counts is not None and not hasattr(fitted, "class_counts"):
        raise InputError(f"The method {name!r} takes no --class-counts; leave them out.")
    if counts is not None and len(counts) != file.classes:
        raise InputError(f"--class-counts lists {len(counts)} classes, and {file.path} holds {file.classes}.")
    values, target = file.read()
    logits = as_logits(values, file.inputs)
    start = time.perf_counter()
    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always", ConvergenceWarning)
        fitted.fit(logits, target, file.ignore_index)
    seconds = time.perf_counter() - start
    for complaint in complaints:
        print(f"calibrant: {complaint.message}", file=sys.stderr)
    before, after = _judged(file, test, fitted, make, logits, target)
    tests = compare(before, [after]).get(after.name, {})
    saved = save_calibrator(fitted, options["out"], file.class_names) if "out" in options else None
    if options.get("json"):
        print(_json(name, fitted, before, after, tests, crossed=test is None))
        return
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    say(read_as(file, logits))
    what = fitted.calibrator if isinstance(fitted, AutoCalibration) else fitted
    say(f"{name} fitted in {seconds:.2f} s: {' '.join(repr(what).split())}")
    if isinstance(fitted, AutoCalibration):
        say(f"\nCross-validated NLL, {fitted.folds} folds; {fitted.chosen_} is lowest:\n{fitted.table()}\n")
    _show(console, before, after, tests, _where(file, test, fitted))
    if saved is not None:
        say(f"Calibrator: {saved}  (calibrant apply {saved} PREDICTIONS --out FILE)")


def opened(path: str, options: dict[str, Any], *, unlabelled: bool = False) -> PredictionFile:
    """Open predictions as the options of the commands say; `unlabelled`, without labels too."""
    return open_predictions(
        path,
        options.get("inputs"),
        columns=options.get("columns"),
        label=options.get("label"),
        ignore_index=options.get("ignore_index"),
        unlabelled=unlabelled,
    )


def _judged(
    file: PredictionFile,
    test: PredictionFile | None,
    fitted: Calibrator,
    make: Callable[[], Calibrator],
    logits: Tensor,
    target: Tensor,
) -> tuple[Judgement, Judgement]:
    """Return what is said before and after: of the test file, or of the file itself, cross-validated."""
    if test is not None:
        with torch.no_grad():
            return judge(test, "before"), judge(MendedFile(test, lambda given, _: fitted(given)), "after")
    if isinstance(fitted, AutoCalibration):
        build = fitted.build
        folds, seed = fitted.folds, fitted.seed
    else:
        build, folds, seed = make, _FOLDS, 0
    held = cross_validated(build, logits, target, ignore_index=file.ignore_index, folds=folds, seed=seed)
    mended = MendedFile(file, lambda given, start: held[start : start + len(given)])
    return judge(file, "before"), judge(mended, "after")


def _where(file: PredictionFile, test: PredictionFile | None, fitted: Calibrator) -> str:
    if test is not None:
        return f"Measured on {test.path}, which the calibrator has not seen."
    words = f"Measured on {file.path}, each row mended by a calibrator that was fitted to the other folds."
    if isinstance(fitted, AutoCalibration):
        words += " The method was chosen on these folds too, which flatters it a little; --test does not."
    return words


def _show(
    console: Console, before: Judgement, after: Judgement, tests: dict[str, PairedTest], caption: str
) -> None:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    for head in ("", "before", "after", "change"):
        shown.add_column(Text(head))
    for metric, measure in MEASURES.items():
        cells = [cell(found.estimates[metric], measure) for found in (before, after)]
        shown.add_row(*map(Text, [measure.head, *cells, change(tests.get(metric), measure)]))
    console.print(shown)


def _json(
    name: str,
    fitted: Calibrator,
    before: Judgement,
    after: Judgement,
    tests: dict[str, PairedTest],
    *,
    crossed: bool,
) -> str:
    facts: dict[str, Any] = {
        "method": name,
        "converged": fitted.converged_,
        "measured": "cross-validated" if crossed else "test",
        "before": as_json(before),
        "after": as_json(after),
        "change": tests_as_json(tests),
    }
    if isinstance(fitted, AutoCalibration):
        facts |= {"chosen": fitted.chosen_, "nll": fitted.nll_}
        facts |= {"scores": fitted.scores_, "excluded": fitted.excluded_}
    return json.dumps(facts, indent=1)
