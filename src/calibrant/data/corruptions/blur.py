"""Blur of five kinds."""

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from calibrant.data.corruptions.kind import Array, Draws, Strength, smoothed, zoomed


def gaussian_blur(images: Array, strength: Strength, draws: Draws) -> Array:
    """Blur by a Gaussian; the strength is its deviation."""
    return smoothed(images, strength[0])


def defocus_blur(images: Array, strength: Strength, draws: Draws) -> Array:
    """Blur by a disk; the strength is its radius, and the deviation by which its edge is smoothed."""
    kernel = _disk(*strength)
    margin = len(kernel) // 2
    padded = np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="reflect")
    rows = torch.from_numpy(padded).flatten(0, 1).unsqueeze(1)
    blurred = F.conv2d(rows, torch.from_numpy(kernel)[None, None])
    return np.asarray(blurred.view(images.shape))


def _disk(radius: float, smoothing: float) -> NDArray[np.float32]:
    """Return a disk without an empty border, smoothed after it was made to sum to 1, as published.

    Of radius 8 and 10 it then sums to 1.01, as the smoothing mirrors what is at the border.
    """
    from scipy.ndimage import correlate1d

    reach = max(8, int(radius))
    steps = np.arange(-reach, reach + 1)
    disk = (steps[:, None] ** 2 + steps**2 <= radius**2).astype(np.float64)
    disk /= disk.sum()
    near = np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)
    weights = np.exp(-(near**2) / (2 * smoothing**2))
    for axis in (0, 1):
        disk = correlate1d(disk, weights / weights.sum(), axis, mode="mirror")
    kept = int(np.abs(steps[(disk > 1e-8).any(0)]).max())
    disk = disk[reach - kept : reach + kept + 1, reach - kept : reach + kept + 1]
    kernel: NDArray[np.float32] = disk.astype(np.float32)
    return kernel


def glass_blur(images: Array, strength: Strength, draws: Draws) -> Array:
    """Blur, let every pixel take the colour of one nearby, and blur again.

    The strength is the deviation of the blur, the distance in pixels, and how often. A pixel takes the colour
    and does not give its own back, as in the published images.
    """
    sigma, reach, times = strength[0], int(strength[1]), int(strength[2])
    count, channels, height, width = images.shape
    pixels = np.floor(smoothed(images, sigma) * 255 + 1e-3).reshape(count, channels, -1)
    for _ in range(times):
        taken = np.stack([_taken(height, width, reach, random) for random in draws])
        pixels = np.take_along_axis(pixels, taken[:, None, :], 2)
    return smoothed((pixels / 255).astype(np.float32).reshape(images.shape), sigma)


def _taken(height: int, width: int, reach: int, random: np.random.Generator) -> NDArray[np.int64]:
    """Return the position from which each pixel has its colour, when all have taken one in turn.

    From the last row and column to the first: a pixel may take what another has taken before it.
    """
    rows, columns = np.mgrid[:height, :width]
    down, right = random.integers(-reach, reach, (2, height, width))
    own = np.arange(height * width)
    moves = ((rows > reach) & (rows <= height - reach) & (columns > reach) & (columns <= width - reach)).ravel()
    source = np.where(moves, ((rows + down) * width + columns + right).ravel(), own)
    # Those behind a pixel have taken theirs before: follow the chain to its last link that moved.
    link = np.where(moves & (source > own) & moves[np.where(moves, source, 0)], source, own)
    while (further := link[link]).tolist() != link.tolist():
        link = further
    taken: NDArray[np.int64] = source[link]
    return taken


def motion_blur(images: Array, strength: Strength, draws: Draws) -> Array:
    """Blur along a line; the strength is radius and deviation of half a Gaussian, at an angle within 45°."""
    angles = [random.uniform(-45, 45) for random in draws]
    return moved(images, strength[0], strength[1], angles)


def moved(images: Array, radius: float, sigma: float, angles: list[float]) -> Array:
    """Blur (N, C, H, W) along lines at angles in degrees, one each, by half a Gaussian of 2 radius + 1 taps.

    Each tap is a whole number of pixels away, and the border goes on beyond the image, as ImageMagick does it.
    """
    taps = np.arange(2 * int(np.ceil(radius)) + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2)).astype(np.float32)
    weights /= weights.sum()
    margin, (height, width) = len(taps), images.shape[-2:]
    padded = np.pad(images, ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode="edge")
    blurred = np.zeros_like(images)
    for image, result, angle in zip(padded, blurred, np.radians(angles), strict=True):
        down, right = (np.ceil(taps * of(angle) - 0.5).astype(int) for of in (np.sin, np.cos))
        for weight, row, column in zip(weights, margin + down, margin + right, strict=True):
            result += weight * image[:, row : row + height, column : column + width]
    return blurred


def zoom_blur(images: Array, strength: Strength, draws: Draws) -> Array:
    """Mean of the image and its enlargements; the strength is where their factors end, and their step."""
    factors = np.arange(1, *strength)
    total = images.copy()
    for factor in factors.tolist():
        total += zoomed(images, factor)
    return total / np.float32(len(factors) + 1)
