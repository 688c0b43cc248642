"""Many runs as one table: mean and deviation over seeds, and which method is best as far as a test can tell."""

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from textwrap import fill
from typing import TYPE_CHECKING, Any

from calibrant.compare.collapse import collapsed
from calibrant.compare.columns import (
    COLUMNS,
    ELSEWHERE_EXPLANATION,
    EXPLANATION,
    GROUPS,
    GROUPS_EXPLANATION,
    LABELS,
    LABELS_EXPLANATION,
    MAPS,
    MAPS_EXPLANATION,
    METRICS,
    ON_TEST,
    ON_TEST_EXPLANATION,
    UNTESTED,
    UNTESTED_EXPLANATION,
    WITH_GROUPS,
    WITH_LABELS,
    WITH_MAPS,
)
from calibrant.compare.grouping import Groups, grouped
from calibrant.compare.significance import Against, PairedTests, against_leader, best
from calibrant.compare.stages import short, stages_of
from calibrant.errors import InputError
from calibrant.training.run_folder import RunFolder

if TYPE_CHECKING:
    from rich.table import Table as RichTable

TEST, VALIDATION = "test", "val"
#: Widest line of a table, in characters.
WIDTH = 120


@dataclass(frozen=True)
class Cell:
    """One metric of one method, before or after calibration.

    Attributes:
        mean: mean over the seeds.
        std: standard deviation over the seeds (divided by n - 1); nan for one seed.
        values: one value a seed; none where a run lacks the stage.
        best: whether the method is among the best.
        against: how it differs from the leading method; None for that one, and without a test.
    """

    mean: float
    std: float
    values: list[float]
    best: bool = False
    against: Against | None = None

    def text(self, metric: str) -> str:
        """Return "mean ± std" in the units of the table, with a star for a best one."""
        _, factor, digits, _ = METRICS[metric]
        if math.isnan(self.mean):
            return "–"
        spread = "" if math.isnan(self.std) else f" ± {factor * self.std:.{digits}f}"
        return f"{factor * self.mean:.{digits}f}{spread}{'*' if self.best else ''}"


@dataclass(frozen=True)
class Row:
    """A method, as the runs of its seeds make it.

    Attributes:
        method: its name.
        seeds: those that were run.
        cells: by metric and stage.
        selected_on_test: whether test samples chose the epoch.
        collapsed: a sentence for the reader where a run gives every test sample the same class, else empty.
    """

    method: str
    seeds: list[int]
    cells: dict[str, dict[str, Cell]]
    selected_on_test: bool = False
    collapsed: str = ""

    @property
    def label(self) -> str:
        """The name of the method, with a † where test samples chose the epoch."""
        return self.method + self.mark

    @property
    def mark(self) -> str:
        """The † where test samples chose the epoch, else nothing."""
        return ON_TEST if self.selected_on_test else ""


@dataclass(frozen=True)
class Table:
    """What `tabulate` returns.

    Attributes:
        title: the recipes.
        rows: the methods, in the order of the runs given.
        stages: the stages of calibration that any method has; the cells of one that lacks it are empty.
        note: what the data are.
        metrics: the metrics that every run has.
        split: what it was measured on.
        others: the tables of what else the runs were measured on, such as data of another kind.
    """

    title: str
    rows: list[Row]
    stages: list[str]
    note: str
    metrics: list[str]
    split: str = TEST
    others: list["Table"] = field(default_factory=list)

    @property
    def ranked(self) -> list[Row]:
        """The methods that are ranked: a network that says the same of everything can have the lowest ECE."""
        return [row for row in self.rows if not row.collapsed]

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
        mapped = any(metric in MAPS for metric in self.metrics)
        cells = [cell for row in self.rows for stages in row.cells.values() for cell in stages.values()]
        tested = len(self.ranked) < 2 or any(cell.against is not None for cell in cells)
        on_test = any(row.selected_on_test for row in self.rows)
        return [
            ELSEWHERE_EXPLANATION if self.split != TEST else EXPLANATION if tested else UNTESTED_EXPLANATION,
            *([GROUPS_EXPLANATION] if grouped else []),
            *([MAPS_EXPLANATION] if mapped and tested and self.split == TEST else []),
            *([LABELS_EXPLANATION] if labelled else []),
            *([ON_TEST_EXPLANATION] if on_test else []),
            *(row.collapsed for row in self.rows if row.collapsed and self.split == TEST),
        ]

    def to_rich(self) -> "RichTable":
        """Return a table for rich; it fits 120 columns. The others are not in it."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            title=Text(self.title if self.split == TEST else f"{self.title}, on {self.split}", "table.title"),
            caption=Text(
                "\n".join([*([self.note] if self.split == TEST else []), *self.explanations]), "table.caption"
            ),
            caption_justify="left",
            box=SIMPLE_HEAD,
            collapse_padding=True,
            pad_edge=False,
        )
        heads, blocks = self._lines()
        names = len(heads) - len(self.shown)
        table.add_column(heads[0], overflow="fold")
        for i, heading in enumerate(heads[1:], 1):
            table.add_column(heading, justify="left" if i < names else "right", no_wrap=True)
        for block in blocks:
            for line in block:
                cells = [
                    Text(cell, "bold" if j >= names and cell.endswith("*") else "")
                    for j, cell in enumerate(line)
                ]
                table.add_row(*cells, end_section=line is block[-1])
        return table

    def to_text(self) -> str:
        """Return the table, and the others, as plain text of at most 120 columns."""
        heads, blocks = self._lines()
        lines = [heads, *(line for block in blocks for line in block)]
        names = len(heads) - len(self.shown)
        widths = _widths(lines)

        def joined(line: list[str]) -> str:
            cells = [
                cell.ljust(width) if i < names else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            return "  ".join(cells).rstrip()

        first = [self.title, fill(self.note, 110)] if self.split == TEST else [f"On {self.split}"]
        return "\n".join(
            [
                *first,
                "",
                *map(joined, lines),
                "",
                *(fill(text, 110) for text in self.explanations),
                "",
                *(other.to_text() for other in self.others),
            ]
        )

    def _lines(self) -> tuple[list[str], list[list[list[str]]]]:
        """Return the headings, and the cells, a block of lines a method.

        Where they are too wide, a method has a line for itself.
        """
        headings = [METRICS[metric][0] for metric in self.shown]
        blocks: list[list[list[str]]] = []
        for row in self.rows:
            held = [stage for stage in self.stages if row.cells[self.metrics[0]][stage].values]
            blocks.append(
                [
                    [
                        row.label if stage == held[0] else "",
                        short(stage),
                        *(row.cells[m][stage].text(m) for m in self.shown),
                    ]
                    for stage in held
                ]
            )
        heads = ["method", "calibrated", *headings]
        if sum(_widths([heads, *(line for block in blocks for line in block)])) + 2 * (len(heads) - 1) <= WIDTH:
            return heads, blocks
        return ["method", *headings], [
            [[block[0][0], *[""] * len(headings)], *([f"  {stage}", *cells] for _, stage, *cells in block)]
            for block in blocks
        ]

    def to_json(self) -> str:
        """Return everything, values of each seed included, as JSON."""
        return json.dumps(_finite(asdict(self)), indent=1) + "\n"

    def to_csv(self) -> str:
        """Return one line for each method, stage and metric, the others included."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            ["method", "calibrated", "metric", "mean", "std", "best", "selected_on_test", "seeds", "split"]
        )
        for table in (self, *self.others):
            writer.writerows(table._records())
        return out.getvalue()

    def _records(self) -> Iterator[list[Any]]:
        for row in self.rows:
            seeds = " ".join(map(str, row.seeds))
            for metric in self.metrics:
                for stage in self.stages:
                    cell = row.cells[metric][stage]
                    if cell.values:
                        values = [row.method, stage, metric, cell.mean, cell.std, cell.best]
                        yield [*values, row.selected_on_test, seeds, self.split]


def tabulate(runs: list[RunFolder]) -> Table:
    """Make the table of finished runs.

    A method is marked best in a column when it has the best mean, or when a paired test on the test samples,
    over the seeds that both have, does not find it worse than the method with the best mean at 5 %, corrected
    by Holm for the number of methods. Nothing is marked where the test tells none apart, and where the runs
    were not judged on the same samples. A method of which a run gives every test sample the same class, that of
    at most half of them, is named and not ranked.

    Args:
        runs: the runs; those of one recipe and method are its seeds.

    Raises:
        InputError: no run, one that is not finished, or two of one method and seed.
    """
    if not runs:
        raise InputError("There is nothing to tabulate: no run is finished.")
    results = [run.result() for run in runs]
    groups = grouped(runs, results)
    test = PairedTests({name: {s: run for s, (run, _) in seeds.items()} for name, seeds in groups.items()})
    shared = [
        split
        for split in results[0]["metrics"]
        if split not in (TEST, VALIDATION) and all(split in result["metrics"] for result in results)
    ]
    others = [_of_split(groups, split, None) for split in shared]
    return replace(_of_split(groups, TEST, test), others=[other for other in others if other.metrics])


def _of_split(groups: Groups, split: str, test: PairedTests | None) -> Table:
    results = [result for seeds in groups.values() for _, result in seeds.values()]
    stages = stages_of(results, split)
    metrics = [metric for metric in METRICS if all(_has(result, metric, split) for result in results)]
    if not set(MAPS) <= set(metrics):
        metrics = [metric for metric in metrics if metric not in MAPS]
    rows = []
    for name, seeds in groups.items():
        order = sorted(seeds)
        each = [seeds[s][1] for s in order]
        cells = {
            metric: {
                stage: _cell([result["metrics"][split] for result in each], metric, stage) for stage in stages
            }
            for metric in metrics
        }
        on_test = any(result.get("selected_on_test", False) for result in each)
        rows.append(Row(name, order, cells, on_test, collapsed(name, each)))
    recipes = dict.fromkeys(result["recipe"] for result in results)
    table = Table(", ".join(recipes), rows, stages, describe(results[0]["data"]), metrics, split)
    if test is not None:
        _mark(table.ranked, stages, [metric for metric in metrics if metric not in UNTESTED], test)
    return table


def _mark(rows: Sequence[Row], stages: Sequence[str], metrics: Sequence[str], test: PairedTests) -> None:
    """Put the tests against the leading method, and the marks, into the cells."""
    for stage in stages:
        for metric in metrics:
            held = {row.method: row.cells[metric][stage] for row in rows if row.cells[metric][stage].values}
            against = against_leader({name: cell.mean for name, cell in held.items()}, metric, stage, test)
            marked = best(against)
            for row in rows:
                cell = row.cells[metric][stage]
                row.cells[metric][stage] = replace(
                    cell, best=row.method in marked, against=against.get(row.method)
                )


def describe(data: dict[str, Any]) -> str:
    """Return one line about the data of a run.

    Example:
        >>> describe({"name": "digits", "train": 200, "val": 400, "test": 1197, "note": "few"})
        'digits: 200 train, 400 validation, 1,197 test samples; few.'
    """
    sizes = f"{data['train']:,} train, {data['val']:,} validation, {data['test']:,} test samples"
    return f"{data['name']}: {sizes}{'; ' + data['note'] if data['note'] else ''}."


def _has(result: dict[str, Any], metric: str, split: str) -> bool:
    return all(metric in found for found in result["metrics"][split].values())


def _widths(lines: list[list[str]]) -> list[int]:
    """Return the width of each column; a name that has its line for itself may be wider than the first."""
    first = [line[0] for line in lines if any(line[1:])]
    return [max(map(len, first)), *(max(len(line[i]) for line in lines) for i in range(1, len(lines[0])))]


def _cell(splits: Sequence[dict[str, Any]], metric: str, stage: str) -> Cell:
    if not all(stage in split for split in splits):
        return Cell(math.nan, math.nan, [])
    found = [split[stage][metric]["value"] for split in splits]
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
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
