"""The files of the runs of a comparison, read once, checked, and grouped by method."""

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from calibrant.compare.grouping import grouped, refuse_mixed
from calibrant.compare.stages import RAW, logits_after, stages_of
from calibrant.compare.table import Cell, Table, tabulate
from calibrant.errors import InputError
from calibrant.metrics import Reliability, State, reliability
from calibrant.report.bins import Bins, pool
from calibrant.report.doubts import doubts
from calibrant.report.figures import Curve
from calibrant.report.method import Comparison, Gap, Method, in_order
from calibrant.report.mistakes import mistakes
from calibrant.report.text import printable
from calibrant.training.class_facts import PARTS, ClassFacts, as_tensor
from calibrant.training.run_folder import Predictions, RunFolder

_CURVES = ("train_loss", "val_ece")
_Z = 1.959963984540054


def gather(runs: Sequence[RunFolder], table: Table | None = None) -> Comparison:
    """Read the runs of a comparison.

    Args:
        runs: runs on the same data; unfinished ones are left out and mentioned.
        table: their table, made already.

    Raises:
        InputError: no finished run, runs of different data or test samples, the same run twice, or a
            file that cannot be read.
    """
    notices = [f"{run.path} is not finished and is left out." for run in runs if not run.finished]
    finished = [run for run in runs if run.finished]
    if not finished:
        raise InputError("There is no finished run to report: give run folders that hold a result.json.")
    results = [_result(run) for run in finished]
    refuse_mixed(finished, results)
    methods = _methods(finished, results)
    reader = _Reader(notices)
    for method in methods:
        reader.read(method)
    notices += doubts(methods, stages_of(results))
    table = table or tabulate(finished)
    return Comparison(
        recipe=printable(", ".join(dict.fromkeys(str(result["recipe"]) for result in results))),
        data=results[0]["data"],
        methods=methods,
        table=_printable(table),
        target=reader.target,
        class_names=[printable(name) for name in reader.class_names],
        notices=[printable(notice) for notice in notices],
        maps=reader.maps,
    )


def _printable(table: Table) -> Table:
    rows = [
        replace(
            row,
            method=printable(row.method),
            cells={
                metric: {stage: _named(cell) for stage, cell in by_stage.items()}
                for metric, by_stage in row.cells.items()
            },
        )
        for row in table.rows
    ]
    return replace(
        table, rows=rows, split=printable(table.split), others=[_printable(other) for other in table.others]
    )


def _named(cell: Cell) -> Cell:
    if cell.against is None:
        return cell
    return replace(cell, against=replace(cell.against, leader=printable(cell.against.leader)))


def _result(run: RunFolder) -> dict[str, Any]:
    result = run.result()
    if RAW not in result["metrics"].get("test", {}):
        raise InputError(f"{run.result_path} holds no metrics on test; delete it and run again.")
    return result


def _methods(runs: Sequence[RunFolder], results: Sequence[dict[str, Any]]) -> list[Method]:
    """Return the methods, each with its runs by seed."""
    return [
        Method(printable(name), [seeds[s][0] for s in sorted(seeds)], [seeds[s][1] for s in sorted(seeds)])
        for name, seeds in grouped(runs, results).items()
    ]


class _Reader:
    """Reads predictions and histories into the methods, and notes what is missing."""

    def __init__(self, notices: list[str]) -> None:
        self.notices = notices
        self.target: Tensor | None = None
        self.ids: Tensor | None = None
        self.class_names: list[str] = []
        self.maps = False

    def read(self, method: Method) -> None:
        if all("reliability" in result for result in method.results):
            self.maps = True
            self.class_names = method.results[0].get("class_names", [])
            _read_maps(method)
        else:
            self._read_predictions(method)
        self._read_history(method)
        for run in method.runs:
            if not run.recipe_path.is_file():
                self.notices.append(f"{run.path} holds no recipe.yaml.")

    def _read_predictions(self, method: Method) -> None:
        lacking = [run for run in method.runs if not run.predictions_path("test").is_file()]
        for run in lacking:
            self.notices.append(f"{run.path} holds no test predictions, so {method.name} has no diagrams.")
        if lacking:
            return
        stages = method.stages
        seen: dict[str, list[Reliability]] = {stage: [] for stage in stages}
        gaps: dict[str, list[Tensor]] = {stage: [] for stage in stages}
        facts: dict[str, list[ClassFacts]] = {stage: [] for stage in stages}
        for run in method.runs:
            said = in_order(run.predictions("test"))
            self._check(run, said)
            method.mistakes.append(mistakes(said.logits, said.targets))
            for stage in stages:
                logits = logits_after(run, stage, said.logits)
                if logits is None:
                    continue
                seen[stage].append(reliability(logits, said.targets, inputs="logits"))
                gaps[stage].append(_gaps(logits, said.targets))
                facts[stage].append(_facts(logits, said.targets))
        for stage in stages:
            if len(seen[stage]) < len(method.runs):
                self.notices.append(f"The runs of {method.name} do not keep {stage!r}, so it has no diagram.")
                continue
            method.bins[stage] = pool(seen[stage])
            method.gaps[stage] = _gap(torch.stack(gaps[stage]))
            method.classes[stage] = _mean_facts(facts[stage])

    def _check(self, run: RunFolder, said: Predictions) -> None:
        """Refuse predictions on other samples than those of the first run."""
        if self.target is None:
            self.target, self.ids, self.class_names = said.targets, said.ids, said.class_names
        elif not (torch.equal(said.targets, self.target) and torch.equal(said.ids, self.ids)):  # type: ignore[arg-type]
            raise InputError(
                f"{run.path} was tested on other samples than the runs before it: nothing is comparable."
            )

    def _read_history(self, method: Method) -> None:
        histories = [_history(run) for run in method.runs]
        # A second stage without training, on a first stage of another run, has none by its nature.
        lacking = [
            run
            for run, history in zip(method.runs, histories, strict=True)
            if not history and not run.stage("decouple").weights.is_file()
        ]
        for run in lacking:
            self.notices.append(f"{run.path} holds no metrics.csv, so {method.name} has no training curves.")
        if lacking:
            return
        for column in _CURVES:
            if all(column in history and "epoch" in history for history in histories):
                length = max(len(history["epoch"]) for history in histories)
                values = np.full((len(histories), length), np.nan)
                for row, history in zip(values, histories, strict=True):
                    row[: len(history[column])] = history[column]
                if not np.isnan(values).all():
                    method.curves[column] = Curve(np.arange(1, length + 1, dtype=np.float64), values)


def _read_maps(method: Method) -> None:
    """Take over what dense runs measured: their maps are too many to be measured again."""
    for stage in method.stages:
        told = [result["reliability"]["test"][stage] for result in method.results]
        method.bins[stage] = _pooled(told)
        ends = [[_number(each["gap"][key]) for each in told] for key in ("value", "low", "high")]
        method.gaps[stage] = Gap(*(float(np.mean(values)) for values in ends))
        method.classes[stage] = _mean_facts(
            [ClassFacts.from_json(result["classes"]["test"][stage]) for result in method.results]
        )
    for split in method.results[0]["reliability"]:
        parts = [result["reliability"].get(split, {}) for result in method.results]
        if split != "test":
            method.elsewhere[printable(split)] = {
                stage: _pooled([part[stage] for part in parts])
                for stage in parts[0]
                if all(stage in part for part in parts)
            }


def _pooled(told: Sequence[dict[str, Any]]) -> Bins:
    names = [each.name for each in fields(Reliability)]
    return pool([Reliability(*(as_tensor(each[name]) for name in names)) for each in told], maps=True)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _history(run: RunFolder) -> dict[str, list[float]]:
    """Return the columns of the epochs that the run trained itself, those of a second stage after the first."""
    joined: dict[str, list[float]] = {}
    length = 0
    for history in (run.history("train"), run.history("decouple")):
        epochs = len(history.get("epoch", []))
        for name in {**joined, **history}:
            missing = [math.nan] * epochs
            joined[name] = joined.get(name, [math.nan] * length) + history.get(name, missing)
        length += epochs
    return joined


def _facts(logits: Tensor, target: Tensor) -> ClassFacts:
    state = State(PARTS, num_classes=logits.shape[1])
    state.update(logits, target, inputs="logits")
    return ClassFacts.of(state)


def _mean_facts(runs: Sequence[ClassFacts]) -> ClassFacts:
    """Return the means over the seeds."""
    columns = (torch.stack([getattr(run, each.name) for run in runs]).mean(0) for each in fields(ClassFacts))
    return ClassFacts(*columns)


def _gaps(logits: Tensor, target: Tensor) -> Tensor:
    """Return (N,) confidence minus correctness."""
    top = logits.double().softmax(1).max(1)
    return top.values - (top.indices == target).double()


def _gap(gaps: Tensor) -> Gap:
    """Return the mean of (S, N) gaps and its interval: the samples vary, and so do the seeds."""
    seeds, samples = gaps.shape
    variance = float(gaps.mean(0).var()) / samples if samples > 1 else math.nan
    if seeds > 1:
        variance += float(gaps.mean(1).var()) / seeds
    half = _Z * math.sqrt(variance)
    value = float(gaps.mean())
    return Gap(value, value - half, value + half)
