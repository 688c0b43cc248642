"""The images of the most confident errors as a figure, for papers; a page shows them by itself."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from calibrant.report.figures import Drawing
from calibrant.report.mistakes import certainty
from calibrant.report.style import styled
from calibrant.report.text import shortened
from calibrant.training.errors import ConfidentError
from calibrant.training.run_folder import reading

_ACROSS = 6


@styled
def gallery(method: str, errors: Sequence[ConfidentError], names: Sequence[str]) -> Drawing | None:
    """Draw the images of errors, the most confident first; None where there are none."""
    shown = [error for error in errors if error.picture is not None and error.picture.is_file()]
    if not shown:
        return None
    rows = -(-len(shown) // _ACROSS)
    figure = Figure(figsize=(10.5, 2.25 * rows), layout="constrained")
    grid: Any = figure.subplots(rows, _ACROSS, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    words = []
    for axes, error in zip(grid.flat, shown, strict=False):
        assert error.picture is not None
        with (
            reading(error.picture, "delete errors.csv, which names it"),
            Image.open(error.picture) as picture,
        ):
            pixels = np.asarray(picture.convert("RGB"))
        axes.imshow(pixels, interpolation="none")
        truth, said = names[error.truth], names[error.said]
        title = f"says {shortened(said, 16)}, {certainty(error.confidence)}\nis {shortened(truth, 24)}"
        axes.set_title(title, fontsize=8, fontweight="normal")
        words.append(f"{error.id}: {truth}, taken for {said} with {certainty(error.confidence)}.")
    return Drawing(figure, f"Errors that {method} made with most confidence", " ".join(words))
