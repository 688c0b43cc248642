"""How each method differs from the leading one, on the same samples: intervals and tests."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from calibrant.compare.columns import METRICS
from calibrant.compare.stages import RAW, when
from calibrant.report.figures import Drawing
from calibrant.report.method import Comparison
from calibrant.report.style import INK, MUTED, PAPER, Look, styled
from calibrant.report.tables import Cell, Table, number

#: Metrics that are compared in the table of the page.
_SHOWN = ("accuracy", "ece", "classwise_ece", "nll", "brier")
#: Percentage points that are shown on both sides of 0, at least.
_LEAST = 0.05
CAPTION = (
    "A method less the leading one of its column, with the 95 % interval (a paired bootstrap over the test "
    "samples), and the p-value of a paired randomisation test. Bold: worse at 5 %, corrected by Holm for the "
    "number of methods. Both take the trained networks as given: they see the choice of the test samples, and "
    "of the seeds only those that were run."
)


def stages_tested(comparison: Comparison) -> list[str]:
    """Return as trained and the first stage after it, as far as a difference in ECE was tested in them."""
    shown = [RAW, *([comparison.after] if comparison.after else [])]
    return [
        stage
        for stage in shown
        if any(row.cells["ece"][stage].against is not None for row in comparison.table.rows)
    ]


def table(comparison: Comparison, stage: str, look: Mapping[str, Look], anchors: Mapping[str, str]) -> Table:
    """Return the differences from the leading methods at a stage of calibration."""
    made = Table(f"differences-{stage}", f"Differences from the leading method {when(stage)}", "Method")
    made.note = "differences-note"
    metrics = [metric for metric in comparison.table.metrics if metric in _SHOWN]
    for metric in metrics:
        heading, _, _, more = METRICS[metric]
        made.column(heading, "difference", better="higher" if more else "lower")
        made.column(heading, "p")
    for row in comparison.table.rows:
        cells: list[Cell] = []
        for metric in metrics:
            cells += _cells(comparison, row.method, metric, stage)
        made.add(
            row.method, cells, anchor=anchors.get(row.method, ""), colour=look[row.method].colour, mark=row.mark
        )
    return made


def _cells(comparison: Comparison, method: str, metric: str, stage: str) -> list[Cell]:
    held = {row.method: row.cells[metric][stage] for row in comparison.table.rows}
    against = held[method].against
    if against is None:
        leads = any(cell.against and cell.against.leader == method for cell in held.values())
        return [Cell("leads", "0.0"), Cell("–")] if leads else [Cell("–"), Cell("–")]
    _, factor, digits, _ = METRICS[metric]
    ends = f"{factor * against.low:+.{digits}f} to {factor * against.high:+.{digits}f}"
    p = f"{against.p_value:.2g}" if against.p_value >= 0.001 else "< 0.001"
    return [
        number(
            against.difference, f"{factor * against.difference:+.{digits}f}", below=ends, strong=against.worse
        ),
        number(against.p_value, p, strong=against.worse),
    ]


@styled
def draw(comparison: Comparison, look: Mapping[str, Look]) -> Drawing | None:
    """Draw the difference in ECE from the leading method, a panel a stage; None where nothing was tested."""
    stages = stages_tested(comparison)
    if not stages:
        return None
    rows = sorted(comparison.table.rows, key=lambda row: row.cells["ece"][RAW].mean)
    figure = Figure(figsize=(10.5, 0.85 + 0.27 * len(rows)), layout="constrained")
    words = []
    for axes, stage in zip(figure.subplots(1, len(stages), squeeze=False, sharey=True)[0], stages, strict=True):
        for y, row in enumerate(rows):
            colour, against = look[row.method].colour, row.cells["ece"][stage].against
            if against is None:
                continue
            ends = [100 * against.low, 100 * against.high]
            axes.plot(ends, [y, y], color=colour, linewidth=1.6)
            axes.plot(
                [100 * against.difference],
                [y],
                "o",
                color=colour,
                markerfacecolor=colour if against.worse else PAPER,
                markersize=7,
                markeredgewidth=1.6,
            )
            words.append(
                f"{row.method} {when(stage)}: {100 * against.difference:+.2f} "
                f"({ends[0]:+.2f} to {ends[1]:+.2f}){', worse' if against.worse else ''}."
            )
        leader = next(a.leader for row in rows if (a := row.cells["ece"][stage].against))
        axes.axvline(0, color=INK, linewidth=1)
        at = [row.method for row in rows].index(leader)
        axes.plot([0], [at], "D", color=look[leader].colour, markersize=6.5)
        # Where nothing differs, rounding is not enlarged.
        left, right = axes.get_xlim()
        axes.set_xlim(min(left, -_LEAST), max(right, _LEAST))
        axes.set_title(when(stage))
        axes.set_xlabel(f"ECE less that of {leader}, percentage points")
        axes.set_yticks(np.arange(len(rows)), [row.method for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0, color=MUTED)
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")
    return Drawing(figure, "Differences in ECE from the leading method", " ".join(words))
