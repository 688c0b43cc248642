"""The figures of a report: reliability, histograms of the confidence, curves of training, an overview.

Each function takes what is to be seen and returns a `Drawing`, which is written as SVG, PNG or PDF.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from calibrant.errors import InputError
from calibrant.report.bins import Array, Bins
from calibrant.report.style import BAR, GRID, INK, MUTED, OVER, PAPER, UNDER, Look, styled
from calibrant.report.svg import to_svg
from calibrant.report.text import shortened
from calibrant.training.files import replacing

#: Diagrams side by side, at most, and their height in inches.
ACROSS, _TALL = 4, 3.95
#: Letters of a title that fit above a diagram.
_TITLE = 25
#: Marks of the stages of calibration in `overview`.
_AFTER = "osD^vPX*"
#: Fewest samples of a seed for which `overlay` shows a bin.
_SEEN = 10
_FORMATS: dict[str, dict[str, Any]] = {
    ".png": {"dpi": 200, "metadata": {"Software": None}},
    ".pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}


@dataclass(frozen=True)
class Drawing:
    """A finished figure, with the words that a screen reader says for it.

    Attributes:
        figure: the figure of matplotlib.
        title: what it is.
        description: what it shows, with its numbers.
    """

    figure: Figure
    title: str
    description: str

    @styled
    def svg(self, name: str) -> str:
        """Return SVG to be inlined in a page, where no other figure has the same `name`."""
        return to_svg(self.figure, name=name, title=self.title, description=self.description)

    @styled
    def save(self, path: Path) -> Path:
        """Write a file; its ending says whether SVG, PNG or PDF."""
        if path.suffix == ".svg":
            text = to_svg(
                self.figure, name="figure", title=self.title, description=self.description, standalone=True
            )
            with replacing(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
        elif path.suffix in _FORMATS:
            with replacing(path) as temporary:
                self.figure.savefig(temporary, format=path.suffix[1:], **_FORMATS[path.suffix])
        else:
            raise InputError(f"A figure is written as .svg, .png or .pdf, not as {path.name!r}.")
        return path


@dataclass(frozen=True)
class Panel:
    """One reliability diagram.

    Attributes:
        title: what stands above it.
        bins: what it shows.
        notes: lines under the title: the ECE, its interval.
        words: what its axes are called: what the model says, and what is so.
    """

    title: str
    bins: Bins
    notes: tuple[str, ...] = ()
    words: tuple[str, str] = ("confidence", "accuracy")


@styled
def diagrams(panels: Sequence[Panel], title: str) -> Drawing:
    """Draw reliability diagrams side by side, each over the histogram of its confidence.

    A bar is the accuracy of a bin, with its 95 % interval; the coloured part is the gap between it and the
    mean confidence, stronger the more samples the bin holds. The dot's area is the share of the samples.
    """
    columns, rows = min(len(panels), ACROSS), -(-len(panels) // ACROSS)
    width, height = 2.35 * columns + 0.6, _TALL * rows
    figure = Figure(figsize=(width, height))
    for row in range(rows):
        grid: Any = figure.add_gridspec(
            2,
            columns,
            height_ratios=[3.1, 1],
            hspace=0.12,
            wspace=0.18,
            left=0.66 / width,
            right=1 - 0.1 / width,
            top=1 - (_TALL * row + 0.72) / height,
            bottom=1 - (_TALL * (row + 1) - 0.42) / height,
        ).subplots(sharex=True, sharey="row", squeeze=False)
        shown = panels[ACROSS * row : ACROSS * (row + 1)]
        for column, panel in enumerate(shown):
            _reliability(grid[0, column], panel)
            _headed(grid[0, column], panel)
            _histogram(grid[1, column], panel)
        for axes in grid[:, len(shown) :].ravel():
            axes.remove()
        grid[0, 0].set_ylabel("accuracy")
        grid[1, 0].set_ylabel("share")
        figure.align_ylabels(grid[:, 0])
    return Drawing(figure, title, " ".join(_described(panel) for panel in panels))


def _reliability(axes: Axes, panel: Panel) -> None:
    bins, kept = panel.bins, panel.bins.filled
    left, width = bins.edges[:-1][kept], np.diff(bins.edges)[kept]
    confidence, accuracy, share = bins.confidence[kept], bins.accuracy[kept], bins.share[kept]
    _unit_square(axes)
    axes.bar(left, accuracy, width, align="edge", color=BAR, edgecolor=PAPER, linewidth=0.8)
    strength = 0.15 + 0.7 * (share / share.max()) ** 0.5
    colours = [(OVER if c > a else UNDER, s) for c, a, s in zip(confidence, accuracy, strength, strict=True)]
    axes.bar(
        left,
        abs(confidence - accuracy),
        width,
        np.minimum(confidence, accuracy),
        align="edge",
        color=colours,
        edgecolor=PAPER,
        linewidth=0.8,
    )
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    whiskers = np.stack([accuracy - bins.low[kept], bins.high[kept] - accuracy]).clip(min=0)
    axes.errorbar(confidence, accuracy, whiskers, fmt="none", ecolor=INK, elinewidth=0.8, capsize=0)
    axes.scatter(
        confidence,
        accuracy,
        _areas(share),
        color=INK,
        edgecolors=PAPER,
        linewidths=0.6,
        zorder=4,
        clip_on=False,
    )


def _headed(axes: Axes, panel: Panel) -> None:
    """Write the title and the notes above a diagram."""
    title = panel.title if len(panel.title) <= _TITLE else f"{panel.title[: _TITLE - 1]}…"
    lines = [(title, 10.5, "bold", INK), *((note, 8, "normal", MUTED) for note in panel.notes)]
    height = 6.0
    for text, size, weight, colour in reversed(lines):
        axes.annotate(
            text,
            (0, 1),
            xytext=(0, height),
            xycoords="axes fraction",
            textcoords="offset points",
            fontsize=size,
            fontweight=weight,
            color=colour,
        )
        height += size + 3.5


def _histogram(axes: Axes, panel: Panel) -> None:
    bins, (says, right) = panel.bins, panel.words
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0, symbol=" %"))
    axes.set_xlabel(says)
    axes.grid(axis="y")
    axes.bar(
        bins.edges[:-1],
        bins.share,
        np.diff(bins.edges),
        align="edge",
        color=BAR,
        edgecolor=PAPER,
        linewidth=0.8,
    )
    gap = bins.mean_confidence - bins.mean_accuracy
    axes.axvline(bins.mean_accuracy, color=INK, linewidth=1.2)
    axes.axvline(bins.mean_confidence, color=OVER if gap > 0 else UNDER, linewidth=1.2, linestyle=(0, (3, 1.5)))
    # Where most predictions, and both lines, lie on the left, the words stand on the right.
    left = max(bins.mean_confidence, bins.mean_accuracy) >= 0.4
    for height, word, value, colour in (
        (0.92, says, bins.mean_confidence, OVER if gap > 0 else UNDER),
        (0.62, right, bins.mean_accuracy, INK),
    ):
        axes.text(
            0.04 if left else 0.96,
            height,
            f"{word} {100 * value:.1f} %",
            transform=axes.transAxes,
            ha="left" if left else "right",
            va="top",
            fontsize=8,
            color=colour,
        )


def _unit_square(axes: Axes) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid()


def _areas(share: Array) -> Array:
    return np.asarray(9 + 110 * share, dtype=np.float64)


def _described(panel: Panel) -> str:
    bins, (says, right) = panel.bins, panel.words
    gap = bins.mean_confidence - bins.mean_accuracy
    notes = f" ({', '.join(panel.notes)})" if panel.notes else ""
    side = "above" if gap > 0 else "below"
    return (
        f"{panel.title}{notes}: {right} {100 * bins.mean_accuracy:.1f} %, "
        f"mean {says} {100 * bins.mean_confidence:.1f} %, "
        f"{abs(gap) * 100:.1f} points {side} it."
    )


@styled
def overlay(methods: Mapping[str, Bins], look: Mapping[str, Look], title: str) -> Drawing:
    """Draw the reliability of several methods into one diagram.

    Markers are sized by the share of the samples. Bins in which a seed has fewer than 10 samples are left out:
    their lines would hide the rest. Up to three methods get their 95 % intervals.
    """
    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    axes = figure.subplots()
    _unit_square(axes)
    axes.set_aspect("equal")
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    for name, bins in methods.items():
        kept, seen = bins.share * bins.samples >= _SEEN, look[name]
        x, y = bins.confidence[kept], bins.accuracy[kept]
        if len(methods) <= 3:
            whiskers = np.stack([y - bins.low[kept], bins.high[kept] - y]).clip(min=0)
            axes.errorbar(x, y, whiskers, fmt="none", ecolor=seen.colour, elinewidth=0.9, alpha=0.6)
        axes.plot(x, y, color=seen.colour, linestyle=seen.dashes, linewidth=1.5)
        axes.scatter(
            x, y, _areas(bins.share[kept]), color=seen.colour, marker=seen.marker, zorder=3, clip_on=False
        )
        axes.plot(
            [], [], color=seen.colour, linestyle=seen.dashes, marker=seen.marker, markersize=4.5, label=name
        )
    axes.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return Drawing(figure, title, " ".join(_described(Panel(name, bins)) for name, bins in methods.items()))


@dataclass(frozen=True)
class Dumbbell:
    """The values of a method in the overview: one a seed, before and, by stage, after calibration."""

    name: str
    before: Sequence[float]
    after: Mapping[str, Sequence[float]] = field(default_factory=dict)


@styled
def overview(
    rows: Sequence[Dumbbell], look: Mapping[str, Look], label: str, title: str, *, before: str = "as trained"
) -> Drawing:
    """Draw a metric of each method, before (filled) and after (hollow) calibration.

    Large marks are means over the seeds, small ones the seeds.
    """
    stages = list(dict.fromkeys(stage for row in rows for stage in row.after))
    figure = Figure(figsize=(5.05, 0.8 + 0.27 * len(rows) + 0.16 * (len(stages) // 2)), layout="constrained")
    axes = figure.subplots()
    words = []
    marks = dict(zip([before, *stages], ["o", *_AFTER[: len(stages)]], strict=False))
    if stages:
        lines = [
            axes.plot(
                [], [], mark, color=MUTED, markerfacecolor=MUTED if stage == before else PAPER, markersize=6
            )
            for stage, mark in marks.items()
        ]
        figure.legend([line[0] for line in lines], list(marks), loc="outside upper center", ncols=2)
    for y, row in enumerate(rows):
        colour, mean = look[row.name].colour, float(np.mean(row.before))
        words.append(f"{row.name}: {mean:.4f}")
        # Those that stand first in the legend are drawn last, on top.
        for stage in reversed([stage for stage in stages if len(row.after.get(stage, ()))]):
            values = row.after[stage]
            after = float(np.mean(values))
            axes.plot([mean, after], [y, y], color=colour, linewidth=2, alpha=0.45)
            axes.plot(values, [y] * len(values), "|", color=colour, markersize=7, alpha=0.7)
            axes.plot(
                [after],
                [y],
                marks.get(stage, "o"),
                color=colour,
                markerfacecolor=PAPER,
                markersize=7 if marks.get(stage) == "o" else 6,
                markeredgewidth=1.6,
            )
            words.append(f"{row.name} {stage}: {after:.4f}")
        axes.plot(row.before, [y] * len(row.before), "|", color=colour, markersize=7, alpha=0.7)
        axes.plot([mean], [y], "o", color=colour, markersize=7)
    axes.set_yticks(range(len(rows)), [shortened(row.name, 32) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(left=0)
    axes.set_xlabel(label)
    axes.grid(axis="x")
    return Drawing(figure, title, "; ".join(words) + ".")


@dataclass(frozen=True)
class Curve:
    """A quantity over the epochs: (S, E) values, a row a seed; nan where an epoch has none."""

    epochs: Array
    values: Array

    def times(self, factor: float) -> "Curve":
        """Return the curve in other units."""
        return Curve(self.epochs, self.values * factor)


@styled
def curves(panels: Mapping[str, Mapping[str, Curve]], look: Mapping[str, Look], title: str) -> Drawing:
    """Draw quantities of training over the epochs, a panel each, a line a method.

    A line is the mean over the seeds; the faint lines are the seeds.
    """
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    grid: Any = figure.subplots(1, len(panels), squeeze=False)
    shown: dict[str, Any] = {}
    for axes, (label, lines) in zip(grid[0], panels.items(), strict=True):
        for name, curve in lines.items():
            seen = look[name]
            known = ~np.isnan(curve.values).all(0)
            x, y = curve.epochs[known], curve.values[:, known]
            for seed in y if len(y) > 1 else ():
                axes.plot(x, seed, color=seen.colour, linewidth=0.6, alpha=0.28)
            (shown[name],) = axes.plot(
                x, np.nanmean(y, 0), color=seen.colour, linestyle=seen.dashes, linewidth=1.6
            )
        axes.set_title(label)
        axes.set_xlabel("epoch")
        axes.set_ylim(bottom=0)
        axes.grid(color=GRID)
    figure.legend(shown.values(), shown.keys(), loc="outside right upper", handlelength=4)
    return Drawing(figure, title, f"Lines over the epochs: {', '.join(panels)}, for {', '.join(shown)}.")
