"""What a report is made of: the runs of a comparison by method, with all that is computed from their files."""

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from calibrant.compare.stages import DEFAULT, RAW, logits_after, stages_of
from calibrant.compare.table import Table
from calibrant.report.bins import Bins
from calibrant.report.figures import Curve
from calibrant.report.mistakes import Mistakes
from calibrant.report.text import printable
from calibrant.training.class_facts import ClassFacts
from calibrant.training.run_folder import Predictions, RunFolder


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
        bins: the pooled bins on test by stage; a stage without predictions is missing.
        elsewhere: those on data of another kind, by their name and stage.
        gaps: over- or under-confidence on test by stage, likewise.
        classes: facts of each class on test by stage, means over the seeds.
        mistakes: the errors made with confidence, as trained; None without predictions.
        curves: training curves by column of `metrics.csv`.
    """

    name: str
    runs: list[RunFolder]
    results: list[dict[str, Any]]
    bins: dict[str, Bins] = field(default_factory=dict)
    elsewhere: dict[str, dict[str, Bins]] = field(default_factory=dict)
    gaps: dict[str, Gap] = field(default_factory=dict)
    classes: dict[str, ClassFacts] = field(default_factory=dict)
    mistakes: list[Mistakes] = field(default_factory=list)
    curves: dict[str, Curve] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seeds, in order."""
        return [int(result["seed"]) for result in self.results]

    @property
    def stages(self) -> list[str]:
        """The stages of calibration that every run has."""
        return [stage for stage in stages_of(self.results) if self.has(stage)]

    @property
    def temperatures(self) -> list[float]:
        """The fitted temperature of each run that has one."""
        fits = (result.get("posthoc", {}).get(DEFAULT) for result in self.results)
        return [float(fit["temperature"]) for fit in fits if fit and "temperature" in fit]

    @property
    def settings(self) -> str:
        """The options of the loss, as "margin 6, alpha 0.1"."""
        options = self.results[0].get("loss", {}).get("args") or {}
        return printable(", ".join(f"{key} {value}" for key, value in options.items()))

    def has(self, stage: str) -> bool:
        """Return whether every run has metrics of a stage."""
        return all(stage in result["metrics"]["test"] for result in self.results)

    def spread(self, metric: str, stage: str, split: str = "test") -> Spread | None:
        """Return a metric over the seeds; None if a run lacks it."""
        cells = [result["metrics"].get(split, {}).get(stage, {}).get(metric) for result in self.results]
        if not all(cells):
            return None
        value, low, high = (
            np.array([_number(cell.get(key)) for cell in cells]) for key in ("value", "low", "high")
        )
        std = float(value.std(ddof=1)) if len(value) > 1 else math.nan
        return Spread(float(value.mean()), std, float(low.mean()), float(high.mean()), len(value))

    def logits(self, stage: str) -> list[Tensor]:
        """Return the test logits of each seed as they are after a stage that they have."""
        after = [logits_after(run, stage, in_order(run.predictions("test")).logits) for run in self.runs]
        return [logits for logits in after if logits is not None]


@dataclass(frozen=True)
class Comparison:
    """Everything that a report says, by method.

    Attributes:
        recipe: name of the recipe, or of the recipes.
        data: name, sizes and class counts of the data, as in `result.json`.
        methods: in the order of the table.
        table: the table of the comparison.
        target: (N,) labels of the test samples, None if no run has predictions.
        class_names: names of the classes, empty where no run says them.
        notices: what is missing or doubtful, a sentence each.
        maps: whether the samples are pixels of maps.
    """

    recipe: str
    data: dict[str, Any]
    methods: list[Method]
    table: Table
    target: Tensor | None
    class_names: list[str]
    notices: list[str]
    maps: bool = False

    @property
    def results(self) -> list[dict[str, Any]]:
        """The results of all runs."""
        return [result for method in self.methods for result in method.results]

    @property
    def stages(self) -> list[str]:
        """The stages of calibration that any method has, as trained first."""
        return self.table.stages

    @property
    def after(self) -> str | None:
        """The stage that stands for all calibration where only one is shown; None without any."""
        return next((stage for stage in self.stages if stage != RAW), None)

    def method(self, name: str) -> Method:
        """Return the method called `name`."""
        return next(method for method in self.methods if method.name == name)


def in_order(said: Predictions) -> Predictions:
    """Return predictions in the order of the ids, which a run need not keep."""
    order = said.ids.argsort(stable=True)
    return Predictions(said.logits[order], said.targets[order], said.ids[order], said.class_names)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
