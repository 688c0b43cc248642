"""Photographs with grey maps in folders: which pixels belong to the object."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from calibrant.data.map_transforms import Draws, augment, to_input
from calibrant.data.pair_set import GIB, Pair, PairSet, pairs_of
from calibrant.data.pictures import read_picture
from calibrant.errors import InputError

#: Names of the folders of images and of maps that are looked for, NAME being that of the folder around them.
LAYOUTS = (
    ("Image", "GT"), ("NAME-Image", "NAME-Mask"), ("Imgs", "GT"), ("Image", "Mask"), ("image", "mask"),
    ("images", "masks"), ("images", "gt"), ("imgs", "gt"), ("img", "gt"),
)  # fmt: skip


class MapSet(PairSet):
    """Images with grey maps, half and more being object.

    Args:
        pairs: the files.
        size: side of the network's input, in pixels.
        keep: bytes of decoded pictures that are kept in memory; the others are read again each time.
        binarise: make the resized labels 0 or 1 again.

    Raises:
        InputError: when a sample is read whose files cannot be, or a map that no object could be in.
    """

    # Some maps of DUTS and of its companions are smaller or larger than their images; what a network says of an
    # image is resized to its map anyway.
    any_size = True

    def __init__(
        self, pairs: Iterable[Pair], size: int, *, keep: float = 2 * GIB, binarise: bool = False
    ) -> None:
        super().__init__(pairs, keep=keep)
        self.size, self.binarise = size, binarise

    def decode_map(self, path: Path) -> np.ndarray:
        """Return the (H, W) grey levels of a file."""
        levels = np.asarray(read_picture(path, "L"))
        if levels.max() == 1:
            raise InputError(
                f"{path} holds the levels 0 and 1 alone, where the pixels of an object have 128 to 255: "
                "multiply the maps by 255."
            )
        return levels

    def to_network(
        self, image: Image.Image, label: Image.Image, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return (3, S, S), normalised, and its map (1, S, S) in [0, 1]."""
        if generator is not None:
            label = label.resize(image.size, Image.Resampling.NEAREST)
            image, label = augment(image, label, Draws.draw(*image.size, generator))
        return to_input(image, label, self.size, binarise=self.binarise)

    def pixel_counts(self) -> Tensor:
        """Return (2,) the pixels of background and of object, in the sizes of the files."""
        counts = torch.zeros(2, dtype=torch.int64)
        for position in range(len(self)):
            label = self.label(position)
            thing = int((label >= 128).sum())
            counts += torch.tensor([label.numel() - thing, thing])
        return counts


def read_folder(
    folder: Path,
    size: int,
    *,
    names: Path | None = None,
    black: bool = False,
    keep: float = 2 * GIB,
    binarise: bool = False,
) -> MapSet:
    """Read the images of a folder and their maps of the same names.

    The images are in `Image` and the maps in `GT`, or, as DUTS is packed, in `NAME-Image` and `NAME-Mask` with
    the name of the folder, or in another pair of `LAYOUTS`. Samples are in the order of their names.

    Args:
        folder: that holds both.
        size: side of the network's input, in pixels.
        names: a file with one name a line, without extension: the samples that are taken; None for all.
        black: there are no maps; every label is black. The images may lie in the folder itself, or in folders
            of their kinds within it.
        keep: as in `MapSet`.
        binarise: as in `MapSet`.

    Raises:
        InputError: a folder or a file that is not there, naming where it was looked for and what was expected.
    """
    return read_pairs(*_layout(folder, black), size, names=names, keep=keep, binarise=binarise)


def read_pairs(
    images: Path,
    labels: Path | None,
    size: int,
    *,
    names: Path | None = None,
    keep: float = 2 * GIB,
    binarise: bool = False,
) -> MapSet:
    """Read the images of one folder and the maps of another; arguments and errors as of `read_folder`."""
    return MapSet(pairs_of(images, labels, names), size, keep=keep, binarise=binarise)


def _layout(folder: Path, black: bool) -> tuple[Path, Path | None]:
    for image, label in LAYOUTS:
        images, labels = (folder / part.replace("NAME", folder.name) for part in (image, label))
        if images.is_dir() and (black or labels.is_dir()):
            return images, None if black else labels
    if black and folder.is_dir():
        return folder, None
    expected = " or ".join(f"{image} and {label}".replace("NAME", folder.name) for image, label in LAYOUTS)
    wanted = "which is no folder" if black else f"where the folders {expected} were expected"
    raise InputError(
        f"Images{'' if black else ' with maps'} were looked for in {folder.resolve()}, {wanted}; set data.root "
        "to the folder around it."
    )
