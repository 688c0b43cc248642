"""Dense calibration maps: where in the image confidence and truth part, and the images where most."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from calibrant.compare.stages import when
from calibrant.report.bins import Array
from calibrant.report.by_class import DIVERGING
from calibrant.report.figures import Drawing
from calibrant.report.method import Method
from calibrant.report.style import INK, PAPER, styled
from calibrant.training.gap_maps import WorstImage, read_means, read_worst

CAPTION = (
    "Left, the mean over the test images of confidence less correctness, by the place in the image: orange "
    "where the network is surer than it is right, blue where it is not sure enough. Right, the test images "
    "whose mean confidence is furthest from their accuracy, with the outline of the object where there is one, "
    "and under each the same difference pixel by pixel: deep orange is sure and wrong, blue right but in doubt."
)


def draw(method: Method, most: int = 6) -> Drawing | None:
    """Draw the calibration maps of a method, with so many images at most; None where its runs keep none."""
    each = [read_means(run) for run in method.runs]
    means = {
        stage: np.mean([found[stage].numpy() for found in each], axis=0)
        for stage in method.stages
        if all(stage in found for found in each)
    }
    if not means:
        return None
    objects = method.results[0]["data"].get("classes") == 2
    return _draw(
        means, read_worst(method.runs[0])[:most], objects, f"Where {method.name} is wrong about itself"
    )


@styled
def _draw(means: dict[str, Array], worst: list[WorstImage], objects: bool, title: str) -> Drawing:
    shown = dict(list(means.items())[:2])
    limit = max(float(np.nanmax(abs(values))) for values in means.values()) or 1.0
    figure = Figure(figsize=(10.5, 3.9), layout="constrained")
    sides: Any = figure.subfigures(1, 2, width_ratios=[1.0, 2.9])
    grid: Any = sides[0].subplots(len(shown), 1, squeeze=False)
    for axes, (stage, values) in zip(grid[:, 0], shown.items(), strict=True):
        image = axes.imshow(
            100 * values, cmap=DIVERGING, vmin=-100 * limit, vmax=100 * limit, interpolation="none"
        )
        _bare(axes, when(stage))
    sides[0].colorbar(image, ax=grid[:, 0], shrink=0.9, aspect=30, format="{x:+g}").set_label(
        "percentage points"
    )
    if worst:
        pictures: Any = sides[1].subplots(2, len(worst), squeeze=False)
        for (top, bottom), each in zip(pictures.T, worst, strict=True):
            _photograph(top, each, objects)
            bottom.imshow(each.gap.numpy(), cmap=DIVERGING, vmin=-1, vmax=1, interpolation="none")
            _bare(bottom, "")
    words = [
        f"Mean difference {when(stage)}: {100 * np.nanmean(values):+.1f} percentage points, by place "
        f"{100 * np.nanmin(values):+.1f} to {100 * np.nanmax(values):+.1f}."
        for stage, values in means.items()
    ]
    words += [
        f"{each.name}: says {100 * each.confidence:.0f} %, right {100 * each.accuracy:.0f} %." for each in worst
    ]
    return Drawing(figure, title, " ".join(words))


def _photograph(axes: Axes, image: WorstImage, objects: bool) -> None:
    axes.imshow(np.asarray(image.photograph))
    label = np.asarray(image.label, dtype=np.float64)
    if objects and label.max() > 127 > label.min():
        axes.contour(label, levels=[127.5], colors=[PAPER], linewidths=2.2)
        axes.contour(label, levels=[127.5], colors=[INK], linewidths=0.9)
    _bare(axes, f"says {100 * image.confidence:.0f} %\nright {100 * image.accuracy:.0f} %")


def _bare(axes: Axes, title: str) -> None:
    axes.set_title(title, fontsize=8.5, fontweight="normal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
