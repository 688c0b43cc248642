"""`calibrant export RUN`."""

import math
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from calibrant.export import Exported, export_run, find_run
from calibrant.export.formats import FORMATS
from calibrant.predictions.shown import MEASURES, Measure

#: Width of what is printed where there is no terminal.
_WIDTH = 120


def execute(options: dict[str, Any]) -> None:
    """Write and check the files, and print how far they are from PyTorch and what they are worth."""
    found = export_run(
        find_run(Path(options["run"])),
        Path(options["out"]) if "out" in options else None,
        options.get("format", list(FORMATS)),
        calibrator=options.get("calibrator"),
        root=(options.get("data") or {}).get("root"),
        samples=options.get("samples"),
    )
    console = Console()
    if not console.is_terminal:
        console = Console(width=_WIDTH)

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    for line in _described(found.facts):
        say(line)
    console.print(_table(found))
    for name, path in found.files.items():
        difference = found.checked.differences[name]
        size = path.stat().st_size / 1e6
        apart = (
            f"; on {difference.apart:,}, rounding goes over a step of the calibrator"
            if difference.apart
            else ""
        )
        say(
            f"{FORMATS[name].title}: {path} ({size:.2f} MB); on {difference.samples:,} test samples its "
            f"probabilities differ from PyTorch's by {difference.probs:.1g} at most, its logits by "
            f"{difference.logits:.1g} of their size{apart}."
        )


def _described(facts: dict[str, Any]) -> list[str]:
    taken, calibrator = facts["input"], facts["calibrator"]
    shape = ", ".join(map(str, taken["shape"]))
    return [
        f"{facts['run']['model']}, {calibrator['summary'] if calibrator else 'no calibrator'}, "
        f"{len(facts['class_names'])} classes",
        f"input {taken['name']}: {taken['type']} ({shape}). {taken['meaning']}",
    ]


def _table(found: Exported) -> Table:
    """Return the metrics of the run, of PyTorch now, and of each file."""
    checked = found.checked
    columns = {"PyTorch": checked.metrics}
    columns |= {FORMATS[name].title: values for name, values in checked.exported.items()}
    if found.run:
        columns = {"the run": {k: math.nan if v is None else v for k, v in found.run.items()}} | columns
    shown = Table(box=SIMPLE_HEAD, pad_edge=False)
    for head in ("", *columns):
        shown.add_column(head)
    for metric, measure in MEASURES.items():
        if metric in checked.metrics:
            finer = Measure(measure.head, measure.factor, measure.digits + 2)
            shown.add_row(measure.head, *(finer.text(values[metric]) for values in columns.values()))
    return shown
