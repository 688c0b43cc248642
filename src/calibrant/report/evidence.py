"""What a report is made of: the files of the runs, read once, checked, and grouped by method."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from calibrant.compare.naming import method_names
from calibrant.compare.table import Table, tabulate
from calibrant.errors import InputError
from calibrant.metrics import reliability
from calibrant.report.bins import Bins, pool
from calibrant.report.figures import Curve
from calibrant.training.run_folder import Predictions, RunFolder

#: Stages of post-hoc calibration, as `result.json` names them.
RAW, SCALED = "none", "temperature"
#: Fields in which the runs of a comparison differ by its nature.
_EXPECTED = ("train.loss.", "decouple.loss.", "data.root", "losses", "seeds")
_CURVES = ("train_loss", "val_ece")
_Z = 1.959963984540054


class Gap(NamedTuple):
    """Mean confidence minus accuracy, with its 95 % interval; positive when over-confident."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Say "over-confident" or "under-confident" where the interval excludes 0, else ""."""
        if self.low > 0:
            return "over-confident"
        return "under-confident" if self.high < 0 else ""


class Spread(NamedTuple):
    """A metric over the seeds, and the mean ends of the intervals of the single runs."""

    mean: float
    std: float
    low: float
    high: float
    seeds: int


@dataclass(frozen=True)
class Method:
    """The runs of one method.

    Attributes:
        name: what the runs are called, made printable.
        runs: their folders, by seed.
        results: what each `result.json` holds.
        bins: the pooled bins by stage; a stage without predictions is missing.
        gaps: over- or under-confidence by stage; likewise.
        curves: training curves by column of `metrics.csv`.
    """

    name: str
    runs: list[RunFolder]
    results: list[dict[str, Any]]
    bins: dict[str, Bins] = field(default_factory=dict)
    gaps: dict[str, Gap] = field(default_factory=dict)
    curves: dict[str, Curve] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return [int(result["seed"]) for result in self.results]

    @property
    def temperatures(self) -> list[float]:
        """The fitted temperature of each run that has one."""
        fits = (result.get("posthoc", {}).get(SCALED) for result in self.results)
        return [float(fit["temperature"]) for fit in fits if fit]

    @property
    def settings(self) -> str:
        """The options of the loss, as "margin 6, alpha 0.1"."""
        options = self.results[0].get("loss", {}).get("args") or {}
        return printable(", ".join(f"{key} {value}" for key, value in options.items()))

    def has(self, stage: str) -> bool:
        """Return whether every run has metrics of a stage."""
        return all(stage in result["metrics"]["test"] for result in self.results)

    def spread(self, metric: str, stage: str) -> Spread | None:
        """Return a metric on the test set over the seeds; None if a run lacks it."""
        cells = [result["metrics"]["test"].get(stage, {}).get(metric) for result in self.results]
        if not all(cells):
            return None
        value, low, high = (
            np.array([_number(cell.get(key)) for cell in cells]) for key in ("value", "low", "high")
        )
        std = float(value.std(ddof=1)) if len(value) > 1 else math.nan
        return Spread(float(value.mean()), std, float(low.mean()), float(high.mean()), len(value))

    def logits(self, stage: str) -> list[Tensor]:
        """Return the test logits of each seed as they are after a stage."""
        raw = [_sorted(run.predictions("test")).logits for run in self.runs]
        return raw if stage == RAW else [z / t for z, t in zip(raw, self.temperatures, strict=True)]


@dataclass(frozen=True)
class Comparison:
    """Everything that a report says, by method.

    Attributes:
        recipe: name of the recipe, or of the recipes.
        data: name, sizes and class counts of the data, as in `result.json`.
        methods: in the order of the table.
        table: the table of the comparison.
        target: (N,) labels of the test samples, None if no run has predictions.
        class_names: names of the classes, empty likewise.
        notices: what is missing or doubtful, a sentence each.
    """

    recipe: str
    data: dict[str, Any]
    methods: list[Method]
    table: Table
    target: Tensor | None
    class_names: list[str]
    notices: list[str]

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results of all runs."""
        return [result for method in self.methods for result in method.results]

    def method(self, name: str) -> Method:
        """Return the method called `name`."""
        return next(method for method in self.methods if method.name == name)


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
    _same(finished, results)
    methods = _grouped(finished, results)
    reader = _Reader(notices)
    for method in methods:
        reader.read(method)
    notices += _doubts(methods)
    table = table or tabulate(finished)
    return Comparison(
        recipe=printable(", ".join(dict.fromkeys(str(result["recipe"]) for result in results))),
        data=results[0]["data"],
        methods=methods,
        table=replace(table, rows=[replace(row, method=printable(row.method)) for row in table.rows]),
        target=reader.target,
        class_names=[printable(name) for name in reader.class_names],
        notices=[printable(notice) for notice in notices],
    )


def printable(text: str) -> str:
    r"""Return a text without the characters that neither HTML nor SVG can hold.

    Example:
        >>> printable("a\x00b")
        'a\ufffdb'
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def _result(run: RunFolder) -> dict[str, Any]:
    result = run.result()
    for key in ("recipe", "method", "seed", "metrics", "data"):
        if key not in result:
            raise InputError(f"{run.result_path} says nothing of {key!r}; delete it and run again.")
    if RAW not in result["metrics"].get("test", {}):
        raise InputError(f"{run.result_path} holds no metrics on test; delete it and run again.")
    return result


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _same(runs: Sequence[RunFolder], results: Sequence[dict[str, Any]]) -> None:
    """Refuse runs that cannot stand in one table."""
    first = results[0]
    for run, result in zip(runs, results, strict=True):
        for key in ("name", "train", "val", "test", "classes", "class_counts"):
            if result["data"].get(key) != first["data"].get(key):
                raise InputError(
                    f"{runs[0].path} and {run.path} were made on different data ({key}: "
                    f"{_short(first['data'].get(key))} and {_short(result['data'].get(key))}); report runs on "
                    "the same data."
                )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _grouped(runs: Sequence[RunFolder], results: Sequence[dict[str, Any]]) -> list[Method]:
    """Group by method, in the order in which the methods first appear, each by seed."""
    groups: dict[str, dict[int, tuple[RunFolder, dict[str, Any]]]] = {}
    for name, run, result in zip(method_names(results), runs, results, strict=True):
        group = groups.setdefault(printable(name), {})
        seed = int(result["seed"])
        if seed in group:
            raise InputError(f"{group[seed][0].path} and {run.path} are both {name!r} with seed {seed}.")
        group[seed] = (run, result)
    return [
        Method(name, [group[s][0] for s in sorted(group)], [group[s][1] for s in sorted(group)])
        for name, group in groups.items()
    ]


class _Reader:
    """Reads predictions and histories into the methods, and notes what is missing."""

    def __init__(self, notices: list[str]) -> None:
        self.notices = notices
        self.target: Tensor | None = None
        self.ids: Tensor | None = None
        self.class_names: list[str] = []

    def read(self, method: Method) -> None:
        self._read_predictions(method)
        self._read_history(method)
        for run in method.runs:
            if not run.recipe_path.is_file():
                self.notices.append(f"{run.path} holds no recipe.yaml.")
        if not method.has(SCALED):
            self.notices.append(f"{method.name} has no metrics after temperature scaling.")

    def _read_predictions(self, method: Method) -> None:
        lacking = [run for run in method.runs if not run.predictions_path("test").is_file()]
        for run in lacking:
            self.notices.append(f"{run.path} holds no test predictions, so {method.name} has no diagrams.")
        if lacking:
            return
        stages = [RAW] + ([SCALED] if len(method.temperatures) == len(method.runs) else [])
        seen: dict[str, list[Any]] = {stage: [] for stage in stages}
        gaps: dict[str, list[Tensor]] = {stage: [] for stage in stages}
        for k, run in enumerate(method.runs):
            said = _sorted(run.predictions("test"))
            self._check(run, said)
            for stage in stages:
                logits = said.logits if stage == RAW else said.logits / method.temperatures[k]
                seen[stage].append(reliability(logits, said.targets, inputs="logits"))
                gaps[stage].append(_gaps(logits, said.targets))
        for stage in stages:
            method.bins[stage] = pool(seen[stage])
            method.gaps[stage] = _gap(torch.stack(gaps[stage]))

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


def _sorted(said: Predictions) -> Predictions:
    """Return predictions in the order of the ids, which a run need not keep."""
    order = said.ids.argsort(stable=True)
    return Predictions(said.logits[order], said.targets[order], said.ids[order], said.class_names)


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


def _doubts(methods: Sequence[Method]) -> list[str]:
    """Return what makes the comparison less than fair."""
    doubts = []
    if len({tuple(method.seeds) for method in methods}) > 1:
        each = ", ".join(f"{method.name} {_listed(method.seeds)}" for method in methods)
        doubts.append(f"The methods were run with different seeds: {each}.")
    for name in ("calibrant", "torch", "python"):
        found = {str(r.get("versions", {}).get(name, "unknown")) for m in methods for r in m.results}
        if len(found) > 1:
            doubts.append(f"The runs were made with different versions of {name}: {', '.join(sorted(found))}.")
    if len({result.get("git_commit") for method in methods for result in method.results}) > 1:
        doubts.append("The runs were made at different commits of the code.")
    for method in methods:
        fits = [result.get("posthoc", {}).get(SCALED) or {} for result in method.results]
        bad = [seed for seed, fit in zip(method.seeds, fits, strict=True) if fit.get("converged") is False]
        if bad:
            doubts.append(f"Temperature scaling did not converge for {method.name}, seed {_listed(bad)}.")
    recipes: dict[str, list[RunFolder]] = {}
    for method in methods:
        for run, result in zip(method.runs, method.results, strict=True):
            recipes.setdefault(str(result["recipe"]), []).append(run)
    for recipe, runs in recipes.items():
        differing = differing_settings(runs)
        if differing:
            which = "The recipes" if len(recipes) == 1 else f"The runs of {recipe}"
            doubts.append(f"{which} differ in more than the loss and the seed: {', '.join(differing)}.")
    return doubts


def differing_settings(runs: Sequence[RunFolder]) -> list[str]:
    """Return the fields, but for loss and seed, that are not the same in the recipes of all runs."""
    texts = [run.recipe_text() for run in runs if run.recipe_path.is_file()]
    trees = [dict(_leaves(text)) for text in texts]
    keys = {key for tree in trees for key in tree}
    kept = sorted(
        k for k in keys if k not in ("name", "seed", "decouple.from_run") and not k.startswith(_EXPECTED)
    )
    return [key for key in kept if len({tree.get(key) for tree in trees}) > 1]


def _leaves(text: str) -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values of the block YAML in which resolved recipes are written."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"( *)([\w.-]+):(?: +(.*))?$", line)
        if match:
            indent = len(match[1])
            path = [*(step for step in path if step[0] < indent), (indent, match[2])]
            if match[3]:
                yield ".".join(step[1] for step in path), match[3]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)
