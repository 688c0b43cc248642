"""Miniatures of the layouts of image data sets on disk: small coloured squares in noise, one colour a class."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

#: Side of the pictures; a multiple of eight, so that the blocks of a JPEG file stay whole.
SIDE = 40


def colour(label: int) -> np.ndarray:
    """Return a colour far from those of the next labels."""
    return np.array([60 + 120 * (label % 2), 60 + 120 * (label // 2 % 2), 60 + 120 * (label // 4 % 2)])


def picture(label: int, seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Return a square of the class's colour with noise, of a width and a height."""
    noise = np.random.default_rng(seed).integers(-25, 26, (size[1], size[0], 3))
    return Image.fromarray((colour(label) + noise).astype(np.uint8))


def save(path: Path, label: int, seed: int, size: tuple[int, int] = (SIDE, SIDE)) -> None:
    """Write a picture, in the format that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(label, seed, size).save(path, format="PNG" if path.suffix == ".png" else "JPEG")


def write_folders(root: Path, counts: Sequence[int], classes: Sequence[str], *, seed: int = 0) -> list[Path]:
    """Write so many pictures of each class into a folder of its own; returns their paths in order."""
    paths = []
    for label, (count, name) in enumerate(zip(counts, classes, strict=True)):
        for i in range(count):
            path = root / name / f"{name}_{i}.JPEG"
            save(path, label, seed + 100 * label + i)
            paths.append(path)
    return paths
