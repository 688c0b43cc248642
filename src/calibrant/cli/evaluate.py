"""`calibrant evaluate PREDICTIONS…`."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from calibrant.cli.outputs import refuse_overwriting
from calibrant.errors import InputError, nearest
from calibrant.metrics import PairedTest
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.evaluation import STANDARD
from calibrant.predictions import open_predictions
from calibrant.predictions.judgement import Judgement, compare, judge
from calibrant.predictions.shown import MEASURES, as_json, change, lines, short_names, tests_as_json
from calibrant.predictions.words import statements

#: What may fail above a bound: metrics of which less is better.
BOUNDED = tuple(name for name in STANDARD if DEFINITIONS[name].lower_is_better)
#: Width of what is printed where there is no terminal.
_WIDTH = 120


def execute(options: dict[str, Any]) -> int:
    """Judge files of predictions; return 1 where a bound of `--fail-above` is broken."""
    bounds = [_bound(text) for text in options.get("fail_above", [])]
    paths = list(dict.fromkeys(options["predictions"]))
    out = Path(options["out"]) if "out" in options else None
    if out is not None:
        # An extra that is missing is told before the work, not after it.
        from calibrant.report.predictions_page import write_predictions_report

        refuse_overwriting(options, paths)
        if out.suffix not in (".html", ".htm"):
            raise InputError(f"The page is written as .html, not as {out.name!r}.")
    files = [
        open_predictions(
            path,
            options.get("inputs"),
            columns=options.get("columns"),
            label=options.get("label"),
            ignore_index=options.get("ignore_index"),
        )
        for path in paths
    ]
    found = [judge(file, path, n_bins=options.get("bins", 15)) for file, path in zip(files, paths, strict=True)]
    tests = compare(found[0], found[1:])
    for notice in (notice for each in found for notice in each.notices):
        print(f"calibrant: {notice}", file=sys.stderr)
    if out is not None:
        write_predictions_report(found, tests, out)
    if options.get("json"):
        print(_json(found, tests))
    else:
        _print(found, tests, out)
    broken = [sentence for each in found for bound in bounds for sentence in _broken(each, *bound)]
    for sentence in broken:
        print(f"calibrant: {sentence}", file=sys.stderr)
    return 1 if broken else 0


def _bound(text: str) -> tuple[str, float]:
    """Return the metric and the bound of "ece=0.05"."""
    name, equals, number = text.partition("=")
    if name not in BOUNDED:
        if name in DEFINITIONS:
            raise InputError(f"Of {name} more is better; bounds are known for {', '.join(BOUNDED)}.")
        raise InputError(f"There is no bound on a metric {name!r}; {nearest(name, BOUNDED)}")
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if not equals or math.isnan(bound):
        raise InputError(f"--fail-above takes METRIC=NUMBER, such as {name}=0.05, not {text!r}.")
    least, most = DEFINITIONS[name].range
    if not least <= bound <= most:
        percent = f"; for {number} % write {name}={bound / 100:g}" if most < bound <= 100 * most else ""
        raise InputError(f"{name} lies in {least:g} to {most:g}, and {text} would guard nothing{percent}.")
    return name, bound


def _broken(found: Judgement, metric: str, bound: float) -> list[str]:
    value = found.estimates[metric].value
    # What cannot be computed is within no bound.
    if value <= bound:
        return []
    return [f"{metric} of {found.name} is {value:.4g}, above the bound of {bound:g}."]


def _json(found: Sequence[Judgement], tests: dict[str, dict[str, PairedTest]]) -> str:
    if len(found) == 1:
        return json.dumps(as_json(found[0]), indent=1)
    paired = [
        {"file": name, "less": found[0].name, "metrics": tests_as_json(each)} for name, each in tests.items()
    ]
    return json.dumps({"files": [as_json(each) for each in found], "paired": paired}, indent=1)


def _print(found: Sequence[Judgement], tests: dict[str, dict[str, PairedTest]], out: Path | None) -> None:
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)
    for each in found:
        maps = f" of {each.maps:,} maps" if each.maps else ""
        console.print(
            f"{each.name}: {each.rows:,} {'pixels' if maps else 'rows'}{maps}, {len(each.class_names)} classes,"
            f" read as {'logits' if each.inputs == 'logits' else 'probabilities'}.",
            highlight=False,
            markup=False,
        )
    heads = short_names([each.name for each in found]) if len(found) > 1 else ["value"]
    _show(console, ["", *heads], lines(found), "In brackets: the 95 % interval.")
    for each in found:
        if len(found) > 1:
            console.print(f"{each.name}:", style="bold", highlight=False, markup=False)
        for statement in statements(each):
            head = statement.head if statement.head.endswith("?") else f"{statement.head}."
            # Unlike rich, it keeps a number and its unit, joined by a no-break space, on one line.
            text = Text(fill(f"{head} {statement.text}", console.width))
            text.stylize("bold", 0, len(head))
            console.print(text, soft_wrap=True)
        console.print()
    _print_tests(console, found, tests)
    if out is not None:
        console.print(f"Report: {out}", highlight=False, soft_wrap=True, markup=False)


def _print_tests(console: Console, found: Sequence[Judgement], tests: dict[str, dict[str, PairedTest]]) -> None:
    if len(found) < 2:
        return
    untested = [each.name for each in found[1:] if each.name not in tests]
    if tests:
        names = [each.name for each in found]
        short = dict(zip(names, short_names(names), strict=True))
        table = []
        for metric, measure in MEASURES.items():
            if any(metric in each for each in tests.values()):
                table.append([measure.head, *(change(each.get(metric), measure) for each in tests.values())])
        _show(
            console,
            [f"less {short[found[0].name]}", *(short[name] for name in tests)],
            table,
            "Paired randomisation tests on the same samples, not corrected for their number.",
        )
    if untested:
        console.print(
            f"No paired test of {', '.join(untested)}: the labels are not those of {found[0].name}.",
            highlight=False,
            markup=False,
        )


def _show(console: Console, heads: Sequence[str], table: Sequence[Sequence[str]], caption: str) -> None:
    shown = Table(box=SIMPLE_HEAD, pad_edge=False, caption=caption, caption_justify="left")
    shown.add_column(Text(heads[0]))
    for head in heads[1:]:
        shown.add_column(Text(head, overflow="fold"), justify="left")
    for line in table:
        shown.add_row(*map(Text, line))
    console.print(shown)
