"""The smoothing that losses imply, as a figure: what each adds to the target of a class as a logit grows."""

from collections.abc import Mapping, Sequence
from textwrap import fill
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from calibrant.losses.explanation import Explanation
from calibrant.report.bins import Array
from calibrant.report.figures import Drawing
from calibrant.report.style import GRID, INK, MUTED, Look, styled
from calibrant.report.text import shortened

#: Where each role stands in the grid, and what its panel is called.
_PANELS = {
    "right_predicted": (0, 0, "predicted class"),
    "right_other": (0, 1, "another class"),
    "wrong_predicted": (1, 0, "predicted class"),
    "wrong_label": (1, 1, "label"),
    "wrong_other": (1, 2, "another class"),
}
_CASES = ("right", "wrong")
#: Peaks of the losses that differ by more than this factor are on a scale that is logarithmic at its ends.
_WIDE = 20.0
#: The least change that a scale makes visible.
_LEAST = 1e-4
#: As many losses as can be told apart in a figure, and as many as are told about in words beside the curves.
MOST, _TOLD = 12, 4
CAPTION = (
    "What each loss adds to the one-hot target of a class, where the prediction is right and where it is "
    "wrong, as the logit of the predicted class grows; all other logits are 0. A loss trains as cross-entropy "
    "does on the target so changed: below 0 the class is smoothed."
)


@styled
def smoothing_figure(explained: Sequence[Explanation], look: Mapping[str, Look], title: str) -> Drawing:
    """Draw the change of each target by each loss: of right predictions above, of wrong ones below.

    Args:
        explained: what `explain` returned, over the same logits; at least one, at most `MOST`.
        look: the looks of the losses by name.
        title: what the picture is called to a screen reader.
    """
    several = len(explained) > 1
    figure = Figure(figsize=(10.5, 5.6), layout="constrained")
    grid: Any = figure.subplots(2, 3, sharex=True)
    for role, (row, column, name) in _PANELS.items():
        axes = grid[row, column]
        shown = [(each, each.curve.changes[role].numpy()) for each in explained if role in each.curve.changes]
        if not shown:
            axes.set_axis_off()
            continue
        axes.axhline(0, color=MUTED, linewidth=0.7, zorder=1)
        for each, change in shown:
            seen = look[each.name]
            axes.plot(
                each.curve.logit.numpy(),
                change,
                color=seen.colour if several or seen.place is not None else INK,
                linestyle=seen.dashes,
                linewidth=1.7,
                alpha=0.9,
            )
        _scale(axes, [change for _, change in shown])
        axes.set_title(f"{_CASES[row]}: {name}")
        axes.set_xlim(0, max(float(each.curve.logit[-1]) for each in explained))
        axes.grid(color=GRID)
    for axes in grid[1]:
        axes.set_xlabel("logit of the predicted class")
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    grid[0, 1].tick_params(labelbottom=True)
    figure.supylabel("implied target − label", fontsize=9, color=INK)
    _legend(grid[0, 2], explained, look)
    return Drawing(figure, title, " ".join(f"{each.name}: {each.verdict.effect}." for each in explained))


def _scale(axes: Axes, changes: Sequence[Array]) -> None:
    """Let the smallest of the curves be seen beside the largest."""
    peaks = [peak for change in changes if (peak := float(np.abs(change).max())) > _LEAST]
    if not peaks:
        axes.set_ylim(-0.1, 0.1)
        return
    if max(peaks) <= _WIDE * min(peaks):
        axes.margins(y=0.08)
        return
    line = 10.0 ** np.floor(np.log10(min(peaks)))
    axes.set_yscale("symlog", linthresh=line, linscale=0.5)
    lowest, highest = (float(end) for end in (min(c.min() for c in changes), max(c.max() for c in changes)))
    decades = line * 10.0 ** np.arange(np.ceil(np.log10(max(peaks) / line)) + 1)
    ticks = [0.0]
    ticks += [value for value in decades if value <= 1.5 * highest]
    ticks += [-value for value in decades if -value >= 1.5 * lowest]
    axes.set_ylabel(f"logarithmic beyond ±{line:g}", fontsize=7, color=MUTED)
    axes.yaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.set_ylim(1.6 * lowest if lowest < -line / 2 else -line, 1.6 * highest if highest > line / 2 else line)


def _legend(axes: Axes, explained: Sequence[Explanation], look: Mapping[str, Look]) -> None:
    axes.set_axis_off()
    lines = []
    for each in explained:
        seen = look[each.name]
        colour = seen.colour if len(explained) > 1 or seen.place is not None else INK
        lines += axes.plot([], [], color=colour, linestyle=seen.dashes, linewidth=1.7)
    few = len(explained) <= _TOLD
    names = [
        shortened(each.name, 40) + ("\n" + fill(each.verdict.effect, 38) if few else "") for each in explained
    ]
    axes.legend(
        lines,
        names,
        loc="upper left",
        handlelength=2.6,
        borderaxespad=0,
        labelspacing=1.1 if few else 0.5,
    )
