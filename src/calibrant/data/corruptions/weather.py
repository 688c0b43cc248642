"""Weather: snow, fog, brightness, spatter."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from calibrant.data.corruptions.blur import moved
from calibrant.data.corruptions.kind import GREY, Array, Draws, Strength, each, smoothed, zoomed

_WATER = np.array([175, 238, 238], np.float32) / 255
_MUD = np.array([63, 42, 20], np.float32) / 255


def snow(images: Array, strength: Strength, draws: Draws) -> Array:
    """Let flakes fall over a paler image.

    The strength: mean and deviation of the noise that the flakes are made of, their size, the threshold above
    which noise is a flake, radius and deviation of their motion, the share of the image's own colours.
    """
    mean, deviation, size, threshold, radius, sigma, share = strength
    noise = each(draws, lambda random: random.normal(mean, deviation, images.shape[2:]))
    flakes = zoomed(noise, size)
    flakes[flakes < threshold] = 0
    angles = [random.uniform(-135, -45) for random in draws]
    flakes = moved(flakes.clip(0, 1)[:, None], radius, sigma, angles)
    grey = np.einsum("nchw,c->nhw", images, GREY)[:, None]
    paler = share * images + (1 - share) * np.maximum(images, 1.5 * grey + 0.5)
    result: Array = paler + flakes + flakes[..., ::-1, ::-1]
    return result


def fog(images: Array, strength: Strength, draws: Draws) -> Array:
    """Add a fractal cloud; the strength is how thick it is, and how fast its details fade."""
    thickness, decay = strength
    height, width = images.shape[2:]
    side = 1 << (max(height, width) - 1).bit_length()
    noise = each(draws, lambda random: random.uniform(-1, 1, (side, side)))
    cloud = _plasma(noise.astype(np.float64), decay)[:, None, :height, :width]
    brightest = images.max((1, 2, 3), keepdims=True)
    result: Array = ((images + thickness * cloud) * brightest / (brightest + thickness)).astype(np.float32)
    return result


def _plasma(noise: NDArray[np.float64], decay: float) -> NDArray[np.float64]:
    """Return clouds (N, S, S) in [0, 1] by the diamond-square algorithm, from noise in [-1, 1].

    Points halfway between known ones, first those of squares, then those of diamonds, get their mean and a
    share of the noise that falls by the square of `decay` with each halving.
    """
    cloud = np.zeros_like(noise)
    step, spread = noise.shape[1], 100.0
    while step >= 2:
        half, size = step // 2, spread**2
        corners = cloud[:, ::step, ::step]
        pairs = corners + np.roll(corners, -1, 1)
        middle = (pairs + np.roll(pairs, -1, 2)) / 4 + size * noise[:, half::step, half::step]
        cloud[:, half::step, half::step] = middle
        beside = middle + np.roll(middle, 1, 1) + corners + np.roll(corners, -1, 2)
        cloud[:, ::step, half::step] = beside / 4 + size * noise[:, ::step, half::step]
        below = middle + np.roll(middle, 1, 2) + corners + np.roll(corners, -1, 1)
        cloud[:, half::step, ::step] = below / 4 + size * noise[:, half::step, ::step]
        step, spread = half, spread / decay
    cloud -= cloud.min((1, 2), keepdims=True)
    scaled: NDArray[np.float64] = cloud / cloud.max((1, 2), keepdims=True)
    return scaled


def brightness(images: Array, strength: Strength, draws: Draws) -> Array:
    """Raise the value of every colour, in hue, saturation and value, by the strength."""
    from skimage.color import hsv2rgb, rgb2hsv

    colours = rgb2hsv(images, channel_axis=1)
    colours[:, 2] = (colours[:, 2] + strength[0]).clip(0, 1)
    bright: Array = hsv2rgb(colours, channel_axis=1)
    return bright


def spatter(images: Array, strength: Strength, draws: Draws) -> Array:
    """Splash water (severity 1 to 3) or mud (4 and 5) on the image.

    The strength: mean and deviation of the noise that the drops are made of, its blur, the threshold above
    which it is a drop, of water its strength and of mud the blur of its edge, and 1 for mud.
    """
    mean, deviation, blur, threshold, last, mud = strength
    noise = each(draws, lambda random: random.normal(mean, deviation, images.shape[2:]))
    drops = smoothed(noise, blur)
    drops[drops < threshold] = 0
    if mud:
        cover = smoothed((drops > threshold).astype(np.float32), last)[:, None]
        cover[cover < 0.8] = 0
        muddy: Array = images * (1 - cover) + cover * _MUD[:, None, None]
        return muddy
    shine = np.stack([_shine(np.floor(255 * layer.clip(0, 1))) for layer in drops])[:, None]
    return images + last * shine * _WATER[:, None, None]


def _shine(drops: NDArray[np.float32]) -> Array:
    """Return (H, W) in [0, 1]: how drops, 0 to 255, shine; most where they slope to the lower right."""
    from scipy.ndimage import correlate, distance_transform_edt, uniform_filter
    from skimage.feature import canny

    find_edges: Any = canny
    edges = find_edges(drops, sigma=0, low_threshold=50, high_threshold=150)
    away = distance_transform_edt(~edges) if edges.any() else np.full(drops.shape, 20.0)
    away = np.floor(uniform_filter(away.clip(max=20), 3, mode="mirror") + 1e-6)
    relief = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    slope = correlate(_equalised(away.astype(int)), relief, mode="mirror").clip(0, 255)
    shine = drops * uniform_filter(slope, 3, mode="mirror")
    scaled: Array = (shine / max(shine.max(), 1e-12)).astype(np.float32)
    return scaled


def _equalised(levels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return 0 for the lowest of some levels, 255 for the highest, between them by how many lie below."""
    below = np.bincount(levels.ravel()).cumsum() - (levels == levels.min()).sum()
    spread: NDArray[np.float64] = np.rint(255 * below.clip(min=0) / max(below[-1], 1))[levels]
    return spread
