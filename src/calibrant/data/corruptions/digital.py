"""What cameras, files and screens do: contrast, saturation, elastic waves, pixels, JPEG."""

from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image

from calibrant.data.corruptions.kind import Array, Draws, Strength, smoothed
from calibrant.data.corruptions.strengths import published_side


def contrast(images: Array, strength: Strength, draws: Draws) -> Array:
    """Draw every channel towards its mean; the strength is the share that is left."""
    mean = images.mean((2, 3), keepdims=True)
    drawn: Array = (images - mean) * strength[0] + mean
    return drawn


def saturate(images: Array, strength: Strength, draws: Draws) -> Array:
    """Multiply the saturation of every colour, and add to it."""
    from skimage.color import hsv2rgb, rgb2hsv

    colours = rgb2hsv(images, channel_axis=1)
    colours[:, 1] = (colours[:, 1] * strength[0] + strength[1]).clip(0, 1)
    saturated: Array = hsv2rgb(colours, channel_axis=1)
    return saturated


def elastic_transform(images: Array, strength: Strength, draws: Draws) -> Array:
    """Shear the image, and wave it.

    The strength, as shares of the side: height of the waves, their blur, and how far three points are moved.
    """
    height, width = images.shape[2:]
    side = min(height, width)
    # The published strengths of the largest images are shares of 244 pixels, their sides 224.
    unit = side * 244 / 224 if published_side(side) == 224 else side
    wave, blur, shift = (unit * share for share in strength)
    return np.stack([_waved(image, wave, blur, shift, r) for image, r in zip(images, draws, strict=True)])


def _waved(image: Array, wave: float, blur: float, shift: float, random: np.random.Generator) -> Array:
    from scipy.ndimage import map_coordinates

    height, width = image.shape[1:]
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    centre, arm = np.array([height // 2, width // 2], float), min(height, width) // 3
    fixed = centre + arm * np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]])
    drawn = fixed + random.uniform(-shift, shift, (3, 2))
    # Where a point of the result comes from: the map that takes the drawn points to the fixed ones.
    back = np.linalg.solve(np.column_stack([drawn, np.ones(3)]), fixed)
    places = np.stack([rows, columns, np.ones_like(rows)], -1) @ back
    sheared = [map_coordinates(c, [places[..., 0], places[..., 1]], order=1, mode="mirror") for c in image]
    right, down = (
        wave * smoothed(random.uniform(-1, 1, (height, width)), blur, mode="reflect", truncate=3)
        for _ in range(2)
    )
    waved = [map_coordinates(c, [rows + down, columns + right], order=1, mode="reflect") for c in sheared]
    return np.stack(waved).astype(np.float32)


def pixelate(images: Array, strength: Strength, draws: Draws) -> Array:
    """Shrink and enlarge by boxes; the strength is the share of the side that is left between."""

    def coarse(picture: Image.Image) -> Image.Image:
        small = [max(int(side * strength[0]), 1) for side in picture.size]
        box = Image.Resampling.BOX
        return picture.resize((small[0], small[1]), box).resize(picture.size, box)

    return _pictured(images, coarse)


def jpeg_compression(images: Array, strength: Strength, draws: Draws) -> Array:
    """Write and read as JPEG; the strength is the quality."""

    def squeezed(picture: Image.Image) -> Image.Image:
        file = BytesIO()
        picture.save(file, "JPEG", quality=int(strength[0]))
        return Image.open(file)

    return _pictured(images, squeezed)


def _pictured(images: Array, change: Callable[[Image.Image], Image.Image]) -> Array:
    """Return what becomes of each image as a picture of 8 bits."""
    pixels = np.rint(255 * images).astype(np.uint8).transpose(0, 2, 3, 1)
    changed = np.stack([np.asarray(change(Image.fromarray(picture))) for picture in pixels])
    return changed.transpose(0, 3, 1, 2).astype(np.float32) / 255
