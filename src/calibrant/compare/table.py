"""Many runs as one table: mean and deviation over seeds, and which method is best as far as a test can tell."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

from calibrant.compare.columns import (
    COLUMNS,
    EXPLANATION,
    GROUPS,
    GROUPS_EXPLANATION,
    LABELS,
    LABELS_EXPLANATION,
    MAPS,
    METRICS,
    ON_TEST,
    ON_TEST_EXPLANATION,
    UNTESTED,
    WITH_GROUPS,
    WITH_LABELS,
    WITH_MAPS,
)
from calibrant.compare.naming import method_names
from calibrant.compare.significance import PairedTests, leaders
from calibrant.errors import InputError
from calibrant.training.run_folder import RunFolder

if TYPE_CHECKING:
    from rich.table import Table as RichTable

STAGES = {"none": "as trained", "temperature": "temperature"}
#: Widest line of a table, in characters.
WIDTH = 120


@dataclass(frozen=True)
class Cell:
    """One metric of one method, before or after calibration.

    Attributes:
        mean: mean over the seeds.
        std: standard deviation over the seeds (divided by n - 1); nan for one seed.
        values: one value a seed.
        best: whether the method is among the best.
    """

    mean: float
    std: float
    values: list[float]
    best: bool = False

    def text(self, metric: str) -> str:
        """Return "mean ± std" in the units of the table, with a star for a best one."""
        _, factor, digits, _ = METRICS[metric]
        if math.isnan(self.mean):
            return "–"
        spread = "" if math.isnan(self.std) else f" ± {factor * self.std:.{digits}f}"
        return f"{factor * self.mean:.{digits}f}{spread}{'*' if self.best else ''}"


@dataclass(frozen=True)
class Row:
    """A method: `cells[metric][stage]`, the seeds that were run, and whether test samples chose the epoch."""

    method: str
    seeds: list[int]
    cells: dict[str, dict[str, Cell]]
    selected_on_test: bool = False

    @property
    def label(self) -> str:
        """The name of the method, with a † where test samples chose the epoch."""
        return self.method + (ON_TEST if self.selected_on_test else "")


@dataclass(frozen=True)
class Table:
    """What `tabulate` returns.

    Attributes:
        title: the recipes.
        rows: the methods, in the order of the runs given.
        stages: the stages of calibration that every run has.
        note: what the data are.
        metrics: the metrics that every run has.
    """

    title: str
    rows: list[Row]
    stages: list[str]
    note: str
    metrics: list[str]

    @property
    def shown(self) -> list[str]:
        """The metrics that `to_text` and `to_rich` show."""
        usual = tuple(COLUMNS)
        for special, shown in ((GROUPS, WITH_GROUPS), (MAPS, WITH_MAPS), ({"miou"}, WITH_LABELS)):
            if set(special) <= set(self.metrics):
                usual = shown
        return [metric for metric in self.metrics if metric in usual]

    @property
    def explanations(self) -> list[str]:
        """What a reader must know of the marks and the columns, a sentence or two each."""
        grouped = any(metric in GROUPS for metric in self.metrics)
        labelled = any(metric in LABELS for metric in self.metrics)
        on_test = any(row.selected_on_test for row in self.rows)
        return [
            EXPLANATION,
            *([GROUPS_EXPLANATION] if grouped else []),
            *([LABELS_EXPLANATION] if labelled else []),
            *([ON_TEST_EXPLANATION] if on_test else []),
        ]

    def to_rich(self) -> "RichTable":
        """Return a table for rich; it fits 120 columns."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            title=self.title,
            caption="\n".join([self.note, *self.explanations]),
            caption_justify="left",
            box=SIMPLE_HEAD,
            collapse_padding=True,
            pad_edge=False,
        )
        lines = self._lines()
        names = len(lines[0]) - len(self.shown)
        table.add_column(lines[0][0], overflow="fold")
        for i, heading in enumerate(lines[0][1:], 1):
            table.add_column(heading, justify="left" if i < names else "right", no_wrap=True)
        each = (len(lines) - 1) // max(len(self.rows), 1)
        for i, line in enumerate(lines[1:], 1):
            cells = [
                Text(cell, "bold" if j >= names and cell.endswith("*") else "") for j, cell in enumerate(line)
            ]
            table.add_row(*cells, end_section=i % each == 0)
        return table

    def to_text(self) -> str:
        """Return the table as plain text of at most 120 columns."""
        lines = self._lines()
        names = len(lines[0]) - len(self.shown)
        widths = _widths(lines)

        def joined(line: list[str]) -> str:
            cells = [
                cell.ljust(width) if i < names else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            return "  ".join(cells).rstrip()

        return "\n".join(
            [
                self.title,
                fill(self.note, 110),
                "",
                *map(joined, lines),
                "",
                *(fill(text, 110) for text in self.explanations),
                "",
            ]
        )

    def _lines(self) -> list[list[str]]:
        """Return the headings and the cells; where they are too wide, a method has a line for itself."""
        headings = [METRICS[metric][0] for metric in self.shown]
        body: list[list[str]] = []
        for row in self.rows:
            for stage in self.stages:
                name = row.label if stage == self.stages[0] else ""
                body.append([name, STAGES[stage], *(row.cells[m][stage].text(m) for m in self.shown)])
        lines = [["method", "calibrated", *headings], *body]
        if sum(_widths(lines)) + 2 * (len(lines[0]) - 1) <= WIDTH:
            return lines
        lines = [["method", *headings]]
        for name, stage, *cells in body:
            if name:
                lines.append([name, *[""] * len(cells)])
            lines.append([f"  {stage}", *cells])
        return lines

    def to_json(self) -> str:
        """Return everything, values of each seed included, as JSON."""
        return json.dumps(_finite(asdict(self)), indent=1) + "\n"

    def to_csv(self) -> str:
        """Return one line for each method, stage and metric."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["method", "calibrated", "metric", "mean", "std", "best", "selected_on_test", "seeds"])
        for row in self.rows:
            for metric in self.metrics:
                for stage in self.stages:
                    cell = row.cells[metric][stage]
                    values = [row.method, stage, metric, cell.mean, cell.std, cell.best, row.selected_on_test]
                    writer.writerow([*values, " ".join(map(str, row.seeds))])
        return out.getvalue()


def tabulate(runs: list[RunFolder]) -> Table:
    """Make the table of finished runs.

    A method is marked best in a column when it has the best mean, or when a paired test on the test samples,
    over the seeds that both have, does not find it worse than the method with the best mean at 5 %, corrected
    by Holm for the number of methods. Nothing is marked where the test tells none apart, and where the runs
    were not judged on the same samples.

    Args:
        runs: the runs; those of one recipe and method are its seeds.

    Raises:
        InputError: no run, or one that is not finished.
    """
    if not runs:
        raise InputError("There is nothing to tabulate: no run is finished.")
    results = [(run, run.result()) for run in runs]
    recipes = list(dict.fromkeys(result["recipe"] for _, result in results))
    groups: dict[str, dict[int, tuple[RunFolder, dict[str, Any]]]] = {}
    for name, (run, result) in zip(method_names([r for _, r in results]), results, strict=True):
        groups.setdefault(name, {})[result["seed"]] = (run, result)
    first = results[0][1]
    stages = [stage for stage in STAGES if all(stage in result["metrics"]["test"] for _, result in results)]
    metrics = [metric for metric in METRICS if all(_has(result, metric, stages) for _, result in results)]
    if not set(MAPS) <= set(metrics):
        metrics = [metric for metric in metrics if metric not in MAPS]
    test = PairedTests({name: {s: run for s, (run, _) in seeds.items()} for name, seeds in groups.items()})
    rows = []
    for name, seeds in groups.items():
        order = sorted(seeds)
        cells = {
            metric: {stage: _cell([seeds[s][1] for s in order], metric, stage) for stage in stages}
            for metric in metrics
        }
        on_test = any(seeds[s][1].get("selected_on_test", False) for s in order)
        rows.append(Row(name, order, cells, on_test))
    for metric in [metric for metric in metrics if metric not in UNTESTED]:
        for stage in stages:
            best = leaders({row.method: row.cells[metric][stage].mean for row in rows}, metric, stage, test)
            for row in rows:
                cell = row.cells[metric][stage]
                row.cells[metric][stage] = Cell(cell.mean, cell.std, cell.values, row.method in best)
    return Table(", ".join(recipes), rows, stages, describe(first["data"]), metrics)


def describe(data: dict[str, Any]) -> str:
    """Return one line about the data of a run.

    Example:
        >>> describe({"name": "digits", "train": 200, "val": 400, "test": 1197, "note": "few"})
        'digits: 200 train, 400 validation, 1,197 test samples; few.'
    """
    sizes = f"{data['train']:,} train, {data['val']:,} validation, {data['test']:,} test samples"
    return f"{data['name']}: {sizes}{'; ' + data['note'] if data['note'] else ''}."


def _has(result: dict[str, Any], metric: str, stages: Sequence[str]) -> bool:
    return all(metric in result["metrics"]["test"][stage] for stage in stages)


def _widths(lines: list[list[str]]) -> list[int]:
    """Return the width of each column; a name that has its line for itself may be wider than the first."""
    first = [line[0] for line in lines if any(line[1:])]
    return [max(map(len, first)), *(max(len(line[i]) for line in lines) for i in range(1, len(lines[0])))]


def _cell(results: Sequence[dict[str, Any]], metric: str, stage: str) -> Cell:
    found = [result["metrics"]["test"][stage][metric]["value"] for result in results]
    values = [math.nan if value is None else float(value) for value in found]
    mean = sum(values) / len(values)
    if len(values) < 2:
        return Cell(mean, math.nan, values)
    return Cell(mean, math.sqrt(sum((v - mean) ** 2 for v in values) / (len(values) - 1)), values)


def _finite(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_finite(value) for value in tree]
    return None if isinstance(tree, float) and math.isnan(tree) else tree
