"""The figure of corrupted images: ECE against severity, a line a method."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from calibrant.compare.corruption import MEAN, CorruptionTable
from calibrant.compare.stages import when
from calibrant.report.figures import Drawing
from calibrant.report.style import GRID, Look, looks, styled

#: Of more methods, bands would cover one another.
_FEW = 6


@styled
def severity_curves(table: CorruptionTable) -> Drawing:
    """Draw the mean ECE over the corruptions against their severity, as trained and after temperature scaling.

    A line is the mean over corruptions and seeds; the band of a few methods is the standard deviation over
    seeds, faint lines are the corruptions. Severity 0 is that of the clean images.
    """
    look = looks(list(table.results))
    figure = Figure(figsize=(5.3 * len(table.stages), 3.8), layout="constrained")
    grid: Any = figure.subplots(1, len(table.stages), squeeze=False, sharey=True)
    for axes, stage in zip(grid[0], table.stages, strict=True):
        for method in table.results:
            _line(axes, table, method, stage, look[method])
        axes.set_title(when(stage))
        axes.set_xlabel("severity of the corruption")
        axes.set_xticks(table.severities)
        axes.set_ylim(bottom=0)
        axes.grid(color=GRID)
    grid[0, 0].set_ylabel("ECE on test, %")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", handlelength=4)
    return Drawing(figure, f"ECE under {len(table.names)} corruptions", _words(table))


def _line(axes: Any, table: CorruptionTable, method: str, stage: str, look: Look) -> None:
    if len(table.results) <= 3:
        for name in table.names:
            axes.plot(
                table.severities, _errors(table, method, name, stage), color=look.colour, lw=0.6, alpha=0.25
            )
    means = _errors(table, method, MEAN, stage)
    if len(table.results) <= _FEW:
        spreads = [100 * (table.spread(method, MEAN, s, stage, "ece") or 0) for s in table.severities]
        low, high = np.subtract(means, spreads), np.add(means, spreads)
        axes.fill_between(table.severities, low, high, color=look.colour, alpha=0.12, linewidth=0)
    axes.plot(
        table.severities,
        means,
        color=look.colour,
        linestyle=look.dashes,
        marker=look.marker,
        linewidth=1.8,
        markersize=4.5,
        label=method,
    )


def _errors(table: CorruptionTable, method: str, name: str, stage: str) -> list[float]:
    return [100 * table.value(method, name, severity, stage, "ece") for severity in table.severities]


def _words(table: CorruptionTable) -> str:
    last = table.severities[-1]
    parts = []
    for method in table.results:
        for stage in table.stages:
            errors = _errors(table, method, MEAN, stage)
            parts.append(
                f"{method}, {when(stage)}: {errors[0]:.1f} % clean, {errors[-1]:.1f} % at severity {last}"
            )
    return f"Mean over {', '.join(table.names)}. {'; '.join(parts)}."
