"""Noise of four kinds."""

import numpy as np

from calibrant.data.corruptions.kind import Array, Draws, Strength, each


def gaussian_noise(images: Array, strength: Strength, draws: Draws) -> Array:
    """Add normal noise; the strength is its deviation."""
    return images + strength[0] * each(draws, lambda random: random.standard_normal(images.shape[1:], "f4"))


def shot_noise(images: Array, strength: Strength, draws: Draws) -> Array:
    """Count photons; the strength is how many a white pixel sends."""
    counts = [random.poisson(image * strength[0]) for image, random in zip(images, draws, strict=True)]
    return np.stack(counts).astype(np.float32) / strength[0]


def impulse_noise(images: Array, strength: Strength, draws: Draws) -> Array:
    """Turn values black or white; the strength is the share of them."""
    chance = each(draws, lambda random: random.random(images.shape[1:], "f4"))
    half = strength[0] / 2
    return np.where(chance < half, 0.0, np.where(chance < strength[0], 1.0, images)).astype(np.float32)


def speckle_noise(images: Array, strength: Strength, draws: Draws) -> Array:
    """Add normal noise in proportion to the value; the strength is its deviation at 1."""
    drawn = each(draws, lambda random: random.standard_normal(images.shape[1:], "f4"))
    return images + images * strength[0] * drawn
