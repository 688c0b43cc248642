"""What a loss learned for each class: its course over the epochs, beside how often and how well each is met."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from calibrant.compare.stages import RAW
from calibrant.report.bins import Array
from calibrant.report.figures import Drawing
from calibrant.report.method import Comparison, Method
from calibrant.report.style import BAR, GRID, MUTED, OVER, styled
from calibrant.training.run_folder import RunFolder

#: Values that differ by more than this factor are coloured by their logarithm.
_WIDE = 20.0
#: Classes beyond this many share the height of the figure, and only some are named.
_NAMED = 110
CAPTION = (
    "Rows are the classes. The colours are what the loss had learned for each at the end of an epoch, averaged "
    "over the seeds; beside them how many training samples, or pixels of maps, each class has, and the "
    "calibration error of its probability on test, as trained."
)


@dataclass(frozen=True)
class ClassCourse:
    """What the runs of a method learned for each class.

    Attributes:
        learned: by name, (E, C) values: a row an epoch, the mean over the seeds; what never moved is left out.
        still: by name, the one value that all classes had throughout.
        counts: (C,) training samples, or pixels, of each class; None where the runs do not say.
        errors: (C,) calibration error of the probability of each class on test; None without predictions.
        names: C names.
        counted: what the counts are of.
    """

    learned: dict[str, Array]
    still: dict[str, float]
    counts: Array | None
    errors: Array | None
    names: Sequence[str]
    counted: str = "samples"


def course(method: Method, comparison: Comparison) -> ClassCourse | None:
    """Return what a method learned for each class; None where it learns nothing of the kind."""
    histories = [_history(run) for run in method.runs]
    learned: dict[str, Array] = {}
    still: dict[str, float] = {}
    for name in histories[0]:
        epochs = min(len(history.get(name, [])) for history in histories)
        values = np.mean([np.asarray(history[name][:epochs]) for history in histories if epochs], axis=0)
        if epochs and np.ptp(values) > 0:
            learned[name] = values
        elif epochs:
            still[name] = float(values[0, 0])
    if not learned and not still:
        return None
    counts = comparison.data.get("class_counts") or []
    names = comparison.class_names
    classes = len(histories[0][next(iter({**learned, **still}))][0])
    return ClassCourse(
        learned,
        still,
        np.asarray(counts, dtype=np.float64) if len(counts) == classes else None,
        _errors(method),
        names if len(names) == classes else [str(k) for k in range(classes)],
        "pixels" if comparison.maps else "samples",
    )


def _history(run: RunFolder) -> dict[str, list[list[float]]]:
    return run.class_history("decouple") or run.class_history("train")


def _errors(method: Method) -> Array | None:
    return method.classes[RAW].error.numpy() if RAW in method.classes else None


@styled
def draw(seen: ClassCourse, title: str) -> Drawing:
    """Draw heat maps over epochs and classes, and bars of the same classes beside them."""
    classes = len(seen.names)
    row = min(0.26, max(0.095, 3.4 / classes), 10.5 / classes)
    figure = Figure(figsize=(10.5, 1.25 + row * classes), layout="constrained")
    bars = [
        (values, label, colour)
        for values, label, colour in (
            (seen.counts, f"training {seen.counted}", BAR),
            (None if seen.errors is None else 100 * seen.errors, "class-wise error, %", OVER),
        )
        if values is not None
    ]
    ratios = [3.2] * len(seen.learned) + [1.5] * len(bars)
    grid: Any = figure.subplots(1, len(ratios), sharey=True, squeeze=False, width_ratios=ratios)[0]
    for axes, (name, values) in zip(grid, seen.learned.items(), strict=False):
        _heat_map(figure, axes, name, values)
    for axes, (values, label, colour) in zip(grid[len(seen.learned) :], bars, strict=True):
        axes.barh(np.arange(classes), values, height=0.8, color=colour)
        axes.set_xlabel(label)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(3))
        axes.grid(axis="x", color=GRID)
        axes.set_xlim(left=0)
    step = 1 if classes <= _NAMED else -(-classes // _NAMED)
    shown = range(0, classes, step)
    size = min(8.0, 0.78 * 72 * row * step)
    grid[0].set_yticks(list(shown), [seen.names[k] for k in shown], fontsize=size)
    grid[0].set_ylim(classes - 0.5, -0.5)
    return Drawing(figure, title, " ".join(_described(name, v, seen.names) for name, v in seen.learned.items()))


def _heat_map(figure: Figure, axes: Axes, name: str, values: Array) -> None:
    low, high = float(values.min()), float(values.max())
    norm = LogNorm(low, high) if low > 0 and high > _WIDE * low else Normalize(low, high)
    epochs, classes = values.shape
    # "none" keeps one pixel a cell, which the viewer enlarges without smoothing.
    image = axes.imshow(
        values.T,
        aspect="auto",
        interpolation="none",
        norm=norm,
        cmap="viridis",
        extent=(0.5, epochs + 0.5, classes - 0.5, -0.5),
    )
    axes.set_title(name)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.tick_params(axis="y", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    # The figures parse no mathematics, in which the usual labels of a logarithmic scale are written.
    bar = figure.colorbar(image, ax=axes, pad=0.015, fraction=0.05, aspect=30, format="{x:g}")
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7.5, color=MUTED)


def _described(name: str, values: Array, names: Sequence[str]) -> str:
    last = values[-1]
    top, bottom = int(last.argmax()), int(last.argmin())
    return (
        f"{name} after {len(values)} epochs: highest for {names[top]} ({last[top]:.3g}), lowest for "
        f"{names[bottom]} ({last[bottom]:.3g})."
    )


def courses(comparison: Comparison) -> dict[str, ClassCourse]:
    """Return what each method that learns for the classes has learned, by the name of the method."""
    seen = {method.name: course(method, comparison) for method in comparison.methods}
    return {name: each for name, each in seen.items() if each}


def drawing(name: str, seen: ClassCourse) -> Drawing | None:
    """Draw what a method learned; None where nothing moved."""
    return draw(seen, f"What {name} learned for each class") if seen.learned else None


def view(name: str, seen: ClassCourse, number: int) -> dict[str, Any]:
    """Return what the page shows of a method: its figure, and what did not move."""
    drawn = drawing(name, seen)
    still = "; ".join(f"{what} stayed at {value:.3g} for every class" for what, value in seen.still.items())
    svg = Markup(drawn.svg(f"classes-{number}")) if drawn else None
    return {"svg": svg, "still": f"{still[:1].upper()}{still[1:]}." if still else ""}
