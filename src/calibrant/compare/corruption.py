"""Runs on corrupted images as one table: by method, corruption and severity, means over seeds."""

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from calibrant.compare.columns import COLUMNS
from calibrant.compare.grouping import grouped, refuse_mixed
from calibrant.compare.stages import DEFAULT, RAW, short
from calibrant.data.corruptions import STANDARD
from calibrant.errors import InputError
from calibrant.training.corruption import CLEAN, METRICS, CorruptionPlan, CorruptionResult
from calibrant.training.run_folder import RunFolder

#: The mean over all corruptions of the table.
MEAN = "mean"


@dataclass(frozen=True)
class CorruptionTable:
    """Methods on the same corrupted images.

    Attributes:
        plan: which images.
        names: corruptions, those that every run was judged on.
        results: by method, the results of its seeds.
    """

    plan: CorruptionPlan
    names: list[str]
    results: dict[str, list[CorruptionResult]]

    @property
    def severities(self) -> list[int]:
        """The severities, from 0, the clean images."""
        return [0, *self.plan.severities]

    @property
    def others(self) -> bool:
        """Whether the corrupted images are other photographs than the test images."""
        return any(result.others for seeds in self.results.values() for result in seeds)

    @property
    def stages(self) -> list[str]:
        """As trained, and after temperature scaling where all runs hold a temperature."""
        results = [result for seeds in self.results.values() for result in seeds]
        return [stage for stage in (RAW, DEFAULT) if all(stage in r.values(CLEAN, 0) for r in results)]

    def value(self, method: str, name: str, severity: int, stage: str, metric: str) -> float:
        """Return the mean over the seeds; of the name `MEAN` that over the corruptions too.

        Severity 0 is that of the clean images, whatever the name.
        """
        return fmean(self._of_seeds(method, name, severity, stage, metric))

    def spread(self, method: str, name: str, severity: int, stage: str, metric: str) -> float | None:
        """Return the standard deviation over the seeds of what `value` is the mean of; None of a single one."""
        values = self._of_seeds(method, name, severity, stage, metric)
        return stdev(values) if len(values) > 1 else None

    def _of_seeds(self, method: str, name: str, severity: int, stage: str, metric: str) -> list[float]:
        names = [CLEAN] if severity == 0 else self.names if name == MEAN else [name]
        return [
            fmean(result.values(one, severity)[stage][metric] for one in names)
            for result in self.results[method]
        ]

    def rows(self) -> Iterator[tuple[str, str, int, str, dict[str, float | None]]]:
        """Yield method, corruption, severity, stage, and the metrics of each with their spread over seeds."""
        for method in self.results:
            for name in (MEAN, *self.names):
                for severity in self.severities if name == MEAN else self.plan.severities:
                    for stage in self.stages:
                        cell = (method, name, severity, stage)
                        values: dict[str, float | None] = {m: self.value(*cell, m) for m in METRICS}
                        yield *cell, values | {f"{m}_std": self.spread(*cell, m) for m in METRICS}

    def to_text(self, *, whole: bool = True) -> str:
        """Return plain text: the means over the corruptions, and behind them each corruption."""
        blocks = [self._block(MEAN, f"Mean over {', '.join(self.names)}; severity 0 is clean")]
        blocks += [self._block(name, name) for name in self.names if whole]
        if self.others:
            blocks.append("The corrupted images are other photographs than the test images, severity 0.\n")
        if any(len(seeds) > 1 for seeds in self.results.values()):
            blocks.append("Mean ± standard deviation over seeds.\n")
        return "\n".join(blocks)

    def _block(self, name: str, title: str) -> str:
        head = ["method", "calibrated", "metric", *(f"severity {s}" for s in self.severities)]
        lines = [head]
        for method in self.results:
            for metric in METRICS:
                heading, factor, digits, _ = COLUMNS[metric]
                # No calibrator of one temperature moves the accuracy.
                for stage in self.stages[:1] if metric == "accuracy" else self.stages:
                    cells = ((method, name, s, stage, metric) for s in self.severities)
                    shown = (_shown(self.value(*cell), self.spread(*cell), factor, digits) for cell in cells)
                    lines.append([method, short(stage), heading, *shown])
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        said = [
            "  ".join(
                t.ljust(w) if k < 3 else t.rjust(w) for k, (t, w) in enumerate(zip(line, widths, strict=True))
            )
            for line in lines
        ]
        return "\n".join([f"{title}:", *(line.rstrip() for line in said)]) + "\n"

    def to_json(self) -> str:
        """Return JSON with every value of every run's mean."""
        keys = ("method", "corruption", "severity", "calibrated")
        rows = [dict(zip(keys, row, strict=False)) | row[-1] for row in self.rows()]
        plan = {"images": self.plan.images, "seed": self.plan.seed, "folder": self._folder}
        return json.dumps({**plan, "others": self.others, "rows": rows}, indent=1) + "\n"

    @property
    def _folder(self) -> str | None:
        return None if self.plan.folder is None else str(self.plan.folder)

    def to_csv(self) -> str:
        """Return a row for each method, corruption, severity and stage."""
        file = io.StringIO()
        writer = csv.writer(file)
        spreads = [f"{metric}_std" for metric in METRICS]
        writer.writerow(["method", "corruption", "severity", "calibrated", *METRICS, *spreads])
        for *keys, values in self.rows():
            writer.writerow([*keys, *values.values()])
        return file.getvalue()


def _shown(value: float, spread: float | None, factor: float, digits: int) -> str:
    said = f"{factor * value:.{digits}f}"
    return said if spread is None else f"{said} ± {factor * spread:.{digits}f}"


def tabulate_corruptions(runs: Sequence[RunFolder], plan: CorruptionPlan) -> CorruptionTable:
    """Read what runs found on corrupted images; see `training.corruption.judge_corruptions`.

    Raises:
        InputError: runs on different data, two of one method and seed, or no corruption that all were judged
            on.
    """
    said = [run.result() for run in runs]
    refuse_mixed(runs, said)
    results = {
        name: [CorruptionResult(plan.place(run)) for _, (run, _) in sorted(seeds.items())]
        for name, seeds in grouped(runs, said).items()
    }
    every = [result for seeds in results.values() for result in seeds]
    known = [
        name
        for name in plan.names or (name for name in every[0].names if name in STANDARD)
        if all(result.values(name, severity) for result in every for severity in plan.severities)
    ]
    if not known:
        raise InputError(
            "There is no corruption that all of these runs were judged on: run calibrant corrupt again."
        )
    return CorruptionTable(plan, known, results)
