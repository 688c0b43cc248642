"""Frost: photographs of it, laid over an image."""

from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import interpolate

from calibrant.data.corruptions.kind import Array, Draws, Strength
from calibrant.data.pictures import IMAGES, is_picture, read_picture
from calibrant.errors import InputError

#: Photographs that are drawn from, as published.
_DRAWN = 5


class Frost:
    """Lay a photograph of frost over a darker image; a folder of such photographs is needed.

    The authors' six are in the package imagecorruptions, among others.

    Args:
        folder: of the photographs; the first five by name are drawn from, as published.

    Raises:
        InputError: a folder without photographs, one that cannot be read, or, when an image is corrupted, one
            that is smaller than it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        found = sorted(folder.iterdir()) if folder.is_dir() else []
        names = [path for path in found if is_picture(path.name)][:_DRAWN]
        if not names:
            raise InputError(
                f"Photographs of frost were looked for in {folder.resolve()}, which holds no file ending in "
                f"{', '.join(IMAGES)}; the package imagecorruptions holds some."
            )
        self._whole = [torch.from_numpy(np.array(read_picture(path))) for path in names]
        self._shrunk: dict[float, list[Array]] = {}

    def __call__(self, images: Array, strength: Strength, draws: Draws) -> Array:
        """Lay frost over images.

        The strength: the share of the image, the share of the frost, and by what the photographs are shrunk.
        """
        own, share, scale = strength
        if scale not in self._shrunk:
            self._shrunk[scale] = [_shrunk(photograph, scale) for photograph in self._whole]
        photographs = self._shrunk[scale]
        height, width = images.shape[2:]
        layers = []
        for random in draws:
            photograph = photographs[random.integers(len(photographs))]
            top, left = (
                random.integers(max(have - need, 1))
                for have, need in zip(photograph.shape[1:], (height, width), strict=True)
            )
            layer = photograph[:, top : top + height, left : left + width]
            if layer.shape[1:] != (height, width):
                raise InputError(
                    f"A photograph in {self.folder}, shrunk by {scale:g}, has {photograph.shape[2]}x"
                    f"{photograph.shape[1]} pixels, fewer than an image of {width}x{height}: take larger ones."
                )
            layers.append(layer)
        result: Array = own * images + share * np.stack(layers)
        return result


def _shrunk(photograph: torch.Tensor, scale: float) -> Array:
    """Return (3, h, w) in [0, 1] of (H, W, 3) uint8, by linear interpolation, as published."""
    pixels = photograph.permute(2, 0, 1)[None].float() / 255
    size = [max(round(scale * side), 1) for side in pixels.shape[2:]]
    small: Array = interpolate(pixels, size=size, mode="bilinear")[0].numpy()
    return small
