"""What the corruptions share: arrays, draws, resampling by matrices."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: (N, 3, H, W) float32 in [0, 1], where nothing else is said.
Array = NDArray[Any]
#: A generator for each image.
Draws = Sequence[np.random.Generator]
Strength = tuple[float, ...]
#: From images, a strength and the draws to images, not clipped yet.
Corruption = Callable[[Array, Strength, Draws], Array]

#: Shares of red, green and blue in grey.
GREY = np.array([0.299, 0.587, 0.114], np.float32)


def each(draws: Draws, draw: Callable[[np.random.Generator], NDArray[Any]]) -> Array:
    """Return what each generator draws, stacked."""
    return np.stack([draw(random) for random in draws]).astype(np.float32)


def smoothed(images: Array, sigma: float, *, mode: str = "nearest", truncate: float = 4.0) -> Array:
    """Return (…, H, W) blurred by a Gaussian whose deviation is in pixels."""
    from scipy.ndimage import gaussian_filter

    result: Array = gaussian_filter(images, sigma, axes=(-2, -1), mode=mode, truncate=truncate)
    return result


def zoomed(images: Array, factor: float) -> Array:
    """Return the centre of (…, H, W), enlarged linearly to the whole.

    Example:
        >>> zoomed(np.arange(4, dtype=np.float32) * np.ones((4, 1), np.float32), 2.0)[0].round(2)
        array([1.  , 1.33, 1.67, 2.  ], dtype=float32)
    """
    rows, columns = (_enlarging(side, factor) for side in images.shape[-2:])
    result: Array = rows @ images @ columns.T
    return result


def _enlarging(side: int, factor: float) -> Array:
    """Return the (side, side) matrix that enlarges the centre of a row of values."""
    inner = int(np.ceil(side / factor))
    outer = round(inner * factor)
    at = np.arange(side) + (outer - side) // 2
    position = (side - inner) // 2 + at * (inner - 1) / max(outer - 1, 1)
    low = np.floor(position).astype(int).clip(0, side - 1)
    share = position - low
    matrix = np.zeros((side, side), np.float32)
    np.add.at(matrix, (np.arange(side), low), 1 - share)
    np.add.at(matrix, (np.arange(side), np.minimum(low + 1, side - 1)), share)
    return matrix
