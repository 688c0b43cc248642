"""Photographs with maps in folders, read one by one and kept in memory as far as they fit."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypedDict, overload

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Generator, Tensor
from torch.utils.data import Dataset

from calibrant.data.map_transforms import Draws, augment, to_input
from calibrant.data.order import epoch_seed
from calibrant.errors import InputError

IMAGES = (".jpg", ".jpeg", ".png", ".bmp")
#: Names of the folders of images and of maps that are looked for, NAME being that of the folder around them.
LAYOUTS = (("Image", "GT"), ("NAME-Image", "NAME-Mask"))
GIB = 2**30


class MapBatch(TypedDict):
    """A batch, or one sample without the first axis.

    `image` (B, 3, H, W) float32, normalised; `target` (B, 1, H, W) float32 in [0, 1]; `id` (B,) int64, the
    position in the set, and so is `index`.
    """

    image: Tensor
    target: Tensor
    id: Tensor
    index: Tensor


class Augmented(NamedTuple):
    """Positions to be read with augmentation; what is drawn depends on seed, epoch and position alone."""

    seed: int
    epoch: int
    positions: Tensor


@dataclass(frozen=True)
class Pair:
    """The files of one sample; without a map the label is black."""

    name: str
    image: Path
    label: Path | None


class MapSet(Dataset[MapBatch]):
    """Images with maps, indexed by a position, by several, or by several with augmentation.

    Args:
        pairs: the files.
        size: side of the network's input, in pixels.
        keep: bytes of decoded pictures that are kept in memory; the others are read again each time.
        binarise: make the resized labels 0 or 1 again.

    Raises:
        InputError: when a sample is read whose files cannot be, or differ in size.
    """

    def __init__(
        self, pairs: Iterable[Pair], size: int, *, keep: float = 2 * GIB, binarise: bool = False
    ) -> None:
        self.pairs, self.size, self.keep, self.binarise = list(pairs), size, keep, binarise
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._bytes = 0

    @property
    def names(self) -> list[str]:
        """The names of the samples, by position."""
        return [pair.name for pair in self.pairs]

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> MapBatch: ...
    @overload
    def __getitem__(self, index: list[int] | Tensor | Augmented) -> MapBatch: ...
    def __getitem__(self, index: int | list[int] | Tensor | Augmented) -> MapBatch:
        if isinstance(index, int):
            return self._sample(index, None)
        drawn = index if isinstance(index, Augmented) else None
        positions = torch.as_tensor(index.positions if isinstance(index, Augmented) else index)
        samples = [self._sample(int(at), drawn) for at in positions]
        return {
            "image": torch.stack([sample["image"] for sample in samples]),
            "target": torch.stack([sample["target"] for sample in samples]),
            "id": positions,
            "index": positions,
        }

    def label(self, position: int) -> Tensor:
        """Return the map of a sample in its own size, (H, W) uint8."""
        return torch.from_numpy(self._read(position)[1].copy())

    def thumbnail(self, position: int, side: int) -> tuple[Image.Image, Image.Image]:
        """Return image and map of a sample, shrunk so that the longer side is at most `side` pixels."""
        image, label = (Image.fromarray(array) for array in self._read(position))
        for picture in (image, label):
            picture.thumbnail((side, side))
        return image, label

    def preload(self) -> None:
        """Read everything that fits in memory, so that worker processes share it."""
        for position in range(len(self)):
            if self._bytes >= self.keep:
                return
            self._read(position)

    def pixel_counts(self) -> Tensor:
        """Return (2,) the pixels of background and of object, in the sizes of the files."""
        counts = torch.zeros(2, dtype=torch.int64)
        for position in range(len(self)):
            label = self._read(position)[1]
            thing = int((label >= 128).sum())
            counts += torch.tensor([label.size - thing, thing])
        return counts

    def subset(self, positions: Iterable[int]) -> "MapSet":
        """Return some of the samples, in the order given."""
        chosen = [self.pairs[at] for at in positions]
        return MapSet(chosen, self.size, keep=self.keep, binarise=self.binarise)

    def _sample(self, position: int, drawn: Augmented | None) -> MapBatch:
        image, label = (Image.fromarray(array) for array in self._read(position))
        if drawn is not None:
            seed = epoch_seed(epoch_seed(drawn.seed, drawn.epoch, "augmentation"), position, "augmentation")
            draws = Draws.draw(*image.size, Generator().manual_seed(seed))
            image, label = augment(image, label, draws)
        pixels, target = to_input(image, label, self.size, binarise=self.binarise)
        at = torch.tensor(position)
        return {"image": pixels, "target": target, "id": at, "index": at}

    def _read(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        if position in self._kept:
            return self._kept[position]
        pair = self.pairs[position]
        image = _decode(pair.image, "RGB")
        label = np.zeros(image.shape[:2], np.uint8) if pair.label is None else _decode(pair.label, "L")
        if label.shape != image.shape[:2]:
            raise InputError(
                f"{pair.image} has {image.shape[1]}x{image.shape[0]} pixels, but its map {pair.label} "
                f"{label.shape[1]}x{label.shape[0]}; leave it out with a list of names."
            )
        if self._bytes < self.keep:
            self._kept[position] = image, label
            self._bytes += image.nbytes + label.nbytes
        return image, label


def _decode(path: Path, mode: str) -> np.ndarray:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert(mode))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path} cannot be read as a picture ({error}); fetch it again.") from None


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
    the name of the folder. Samples are in the order of their names.

    Args:
        folder: that holds both.
        size: side of the network's input, in pixels.
        names: a file with one name a line, without extension: the samples that are taken; None for all.
        black: there are no maps; every label is black. The images may lie in the folder itself.
        keep: as in `MapSet`.
        binarise: as in `MapSet`.

    Raises:
        InputError: a folder or a file that is not there, naming where it was looked for and what was expected.
    """
    images, labels = _layout(folder, black)
    found = _pictures(images)
    if not found:
        raise InputError(f"{images} holds no image: expected files ending in {', '.join(IMAGES)}.")
    wanted = sorted(found) if names is None else _wanted(names, found, images)
    if labels is None:
        return MapSet((Pair(name, found[name], None) for name in wanted), size, keep=keep, binarise=binarise)
    maps = _pictures(labels)
    missing = [name for name in wanted if name not in maps]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(wanted)} images in {images} have no map in {labels}: expected "
            f"{missing[0]}.png, for example."
        )
    pairs = (Pair(name, found[name], maps[name]) for name in wanted)
    return MapSet(pairs, size, keep=keep, binarise=binarise)


def _layout(folder: Path, black: bool) -> tuple[Path, Path | None]:
    for image, label in LAYOUTS:
        images, labels = (folder / part.replace("NAME", folder.name) for part in (image, label))
        if images.is_dir() and (black or labels.is_dir()):
            return images, None if black else labels
    if black and folder.is_dir():
        return folder, None
    expected = " or ".join(
        f"{image} and {label}".replace("NAME", folder.name) if not black else image for image, label in LAYOUTS
    )
    raise InputError(
        f"Images with maps were looked for in {folder.resolve()}, where the folders {expected} were expected; "
        "set data.root to the folder around it."
    )


def _pictures(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGES}


def _wanted(names: Path, found: dict[str, Path], images: Path) -> list[str]:
    if not names.is_file():
        raise InputError(f"There is no list of names {names.resolve()}: expected one name a line.")
    wanted = sorted({line.strip() for line in names.read_text().splitlines() if line.strip()})
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        example = f", {missing[0]} for example" if missing else ""
        raise InputError(
            f"{images} lacks {len(missing)} of the {len(wanted)} images that {names} names{example}."
        )
    return wanted
