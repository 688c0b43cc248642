"""What a loss learned for each image: how strongly labels are perturbed, and the images at both ends."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from calibrant.report.figures import Drawing
from calibrant.report.method import Comparison, Method
from calibrant.report.style import BAR, GRID, OVER, UNDER, styled
from calibrant.training.levels import Perturbed, read_ends, read_levels

CAPTION = (
    "The level of an image is how strongly the loss perturbs its label while it trains: the surer of an image "
    "the network is beyond being right, the higher. Left, the levels of all training images of one run; right, "
    "the images at both ends, with the outline of the object."
)


def draw(method: Method, most: int = 6) -> Drawing | None:
    """Draw the levels that the first run of a method learned; None where none was learned, or none moved.

    Args:
        method: the method.
        most: how many images of each end are shown, at most.
    """
    run = method.runs[0]
    levels = read_levels(run)
    values = np.array(list(levels.values()))
    if not levels or np.ptp(values) == 0:
        return None
    ends = read_ends(run)
    return _draw(values, ends["most"][:most], ends["least"][:most], f"Levels that {method.name} learned")


@styled
def _draw(values: "np.ndarray[Any, Any]", most: list[Perturbed], least: list[Perturbed], title: str) -> Drawing:
    figure = Figure(figsize=(10.5, 3.7), layout="constrained")
    sides: Any = figure.subfigures(1, 2, width_ratios=[1.0, 3.2])
    axes = sides[0].subplots()
    axes.hist(values, bins=30, color=BAR)
    axes.set_xlabel("level")
    axes.set_ylabel("training images")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(axis="y", color=GRID)
    grid: Any = sides[1].subplots(2, len(most), squeeze=False)
    for row, (name, shown, colour) in enumerate((("most", most, OVER), ("least", least, UNDER))):
        for place, (each, image) in enumerate(zip(grid[row], shown, strict=True)):
            _show(each, image, colour)
            if place == 0:
                each.set_ylabel(f"{name} perturbed")
    words = " ".join(
        f"{name} perturbed: {', '.join(f'{image.name} ({image.level:.3g})' for image in shown)}."
        for name, shown in (("Most", most), ("Least", least))
    )
    return Drawing(figure, title, f"{len(values)} images, mean level {values.mean():.3g}. {words}")


def _show(axes: Axes, image: Perturbed, colour: str) -> None:
    axes.imshow(np.asarray(image.photograph))
    label = np.asarray(image.label, dtype=np.float64)
    if np.ptp(label) > 0:
        axes.contour(label, levels=[127.5], colors=[colour], linewidths=1.2)
    axes.set_title(f"{image.level:.3g}", fontsize=8.5, fontweight="normal")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def drawings(comparison: Comparison) -> dict[str, Drawing]:
    """Return the figure of each method that learned levels, by its name."""
    found = {method.name: draw(method) for method in comparison.methods}
    return {name: drawing for name, drawing in found.items() if drawing}
