"""Images with maps as files, read one by one and kept in memory as far as they fit; what a map says is open."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Container, Iterable
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self, TypedDict, TypeVar, overload

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import Dataset, default_collate

from calibrant.data.image_set import shuffled
from calibrant.data.lists import lines_of
from calibrant.data.order import epoch_seed
from calibrant.data.pictures import IMAGES, is_picture, opened, read_picture
from calibrant.errors import InputError

GIB = 2**30
#: What part of the training images is held out where nothing says which.
HELD_OUT = 0.1
P = TypeVar("P", bound="PairSet")


class MapBatch(TypedDict):
    """A batch, or one sample without the first axis.

    `image` (B, 3, H, W) float32, normalised; `target` (B, 1, H, W) float32 in [0, 1] of binary maps, (B, H, W)
    int64 labels of label maps; `id` (B,) int64, the position in the set, and so is `index`.
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


class PairSet(Dataset[MapBatch], ABC):
    """Images with maps, indexed by a position, by several, or by several with augmentation.

    A subclass says what a map holds: how it is decoded, counted, and made the target of a network.

    Args:
        pairs: the files.
        keep: bytes of decoded pictures that are kept in memory; the others are read again each time.

    Attributes:
        any_size: whether a map may have another size than its image.

    Raises:
        InputError: when a sample is read whose files cannot be, or differ in size and may not.
    """

    any_size = False

    def __init__(self, pairs: Iterable[Pair], *, keep: float = 2 * GIB) -> None:
        self.pairs, self.keep = list(pairs), keep
        self._kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._bytes = 0

    @abstractmethod
    def decode_map(self, path: Path) -> np.ndarray:
        """Return the (H, W) uint8 map of a file."""

    @abstractmethod
    def to_network(
        self, image: Image.Image, label: Image.Image, generator: Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Return what the network is given and its target; augmented with draws of the generator, if any."""

    @abstractmethod
    def pixel_counts(self) -> Tensor:
        """Return (C,) the pixels of each class, in the sizes of the files."""

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
        # Which stacks the images of a worker process where the main one sees them.
        batch: MapBatch = default_collate([self._sample(int(at), drawn) for at in positions])
        return batch

    def label(self, position: int) -> Tensor:
        """Return the map of a sample in its own size, (H, W) uint8; its image is not read for it."""
        file = self.pairs[position].label
        if position in self._kept or file is None:
            return torch.from_numpy(self._read(position)[1].copy())
        return torch.from_numpy(self.decode_map(file).copy())

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

    def subset(self, positions: Iterable[int] | Tensor) -> Self:
        """Return some of the samples, in the order given."""
        other = copy(self)
        other.pairs = [self.pairs[int(at)] for at in positions]
        other._kept, other._bytes = {}, 0
        return other

    def _sample(self, position: int, drawn: Augmented | None) -> MapBatch:
        image, label = (Image.fromarray(array) for array in self._read(position))
        generator = None
        if drawn is not None:
            seed = epoch_seed(epoch_seed(drawn.seed, drawn.epoch, "augmentation"), position, "augmentation")
            generator = Generator().manual_seed(seed)
        pixels, target = self.to_network(image, label, generator)
        at = torch.tensor(position)
        return {"image": pixels, "target": target, "id": at, "index": at}

    def _read(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        if position in self._kept:
            return self._kept[position]
        pair = self.pairs[position]
        image = np.asarray(read_picture(pair.image))
        label = np.zeros(image.shape[:2], np.uint8) if pair.label is None else self.decode_map(pair.label)
        if label.shape != image.shape[:2] and not self.any_size:
            raise InputError(
                f"{pair.image} has {image.shape[1]}x{image.shape[0]} pixels, but its map {pair.label} "
                f"{label.shape[1]}x{label.shape[0]}; leave it out with a list of names."
            )
        if self._bytes < self.keep:
            self._kept[position] = image, label
            self._bytes += image.nbytes + label.nbytes
        return image, label


def pairs_of(images: Path, labels: Path | None, names: Path | None = None) -> list[Pair]:
    """Return the images of a folder with the maps of the same names in another, in the order of their names.

    Args:
        images: folder of the images.
        labels: folder of the maps; None for none, and then the images may lie in folders of their kinds within.
        names: a file with one name a line, or the path of an image and perhaps of its map: the samples that
            are taken; None for all.

    Raises:
        InputError: a folder or a file that is not there, naming where it was looked for and what was expected.
    """
    found = _pictures(images.iterdir())
    if labels is None and not found:
        found = _by_kind(images)
    if not found:
        raise InputError(f"{images} holds no image: expected files ending in {', '.join(IMAGES)}.")
    wanted = sorted(found) if names is None else _wanted(names, found, images)
    if labels is None:
        return [Pair(name, _image(found[name]), None) for name in wanted]
    maps = _pictures(labels.iterdir())
    missing = [name for name in wanted if name not in maps]
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(wanted)} images in {images} have no map in {labels}: expected "
            f"{missing[0]}.png, for example."
        )
    return [Pair(name, _image(found[name]), _map(maps[name], found[name])) for name in wanted]


def _image(files: list[Path]) -> Path:
    if len(files) > 1:
        raise InputError(
            f"{files[0].parent} holds {' and '.join(file.name for file in files)}, of one name: leave the "
            "image alone, and put the map into a folder of its own."
        )
    return files[0]


def _map(files: list[Path], images: list[Path]) -> Path:
    """Return the map of an image; of several, as of three in old copies of DUTS, the one of its size."""
    if len(files) == 1:
        return files[0]
    sizes = []
    for file in (_image(images), *files):
        with opened(file) as picture:
            sizes.append(picture.size)
    fitting = [file for file, size in zip(files, sizes[1:], strict=True) if size == sizes[0]]
    if len(fitting) != 1:
        raise InputError(
            f"{files[0].parent} holds {' and '.join(file.name for file in files)}, maps of one image: keep one."
        )
    return fitting[0]


def some(samples: P, count: int | None, seed: int, which: str) -> P:
    """Keep so many samples of a seeded shuffle, in the order of their names; None keeps all."""
    if count is None:
        return samples
    if not 1 <= count <= len(samples):
        raise InputError(f"data.{which} asks for {count:,} images of {len(samples):,}.")
    return samples.subset(sorted(shuffled(len(samples), seed)[:count].tolist()))


def held_out(samples: P, count: int | None, seed: int, share: float = HELD_OUT) -> tuple[P, P]:
    """Divide a seeded shuffle into what trains and what is held out, each in the order of the names."""
    count = max(round(share * len(samples)), 1) if count is None else count
    if not 1 <= count < len(samples):
        raise InputError(f"data.val asks to hold out {count:,} of {len(samples):,} training images.")
    order = shuffled(len(samples), seed).tolist()
    return samples.subset(sorted(order[count:])), samples.subset(sorted(order[:count]))


def refuse_shared(training: P, testing: P) -> None:
    """Raise `InputError` where an image would both train and test."""
    shared = {pair.image for pair in training.pairs} & {pair.image for pair in testing.pairs}
    if shared:
        raise InputError(
            f"{len(shared)} images would both train and test, {min(shared).name} for example: give two "
            "folders, or two lists, that share none."
        )


def without(samples: P, others: P) -> P:
    """Return the samples whose image none of the others has."""
    taken = {pair.image for pair in others.pairs}
    return samples.subset(i for i, pair in enumerate(samples.pairs) if pair.image not in taken)


def _pictures(paths: Iterable[Path]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for path in sorted(paths):
        if is_picture(path.name):
            found.setdefault(path.stem, []).append(path)
    return found


def _by_kind(folder: Path) -> dict[str, list[Path]]:
    """Return pictures that lie in folders of their kinds; of two of one name, the kind is part of the name."""
    every = [path for kind in _pictures(folder.glob("*/*")).values() for path in kind]
    alone = Counter(path.stem for path in every)
    return {p.stem if alone[p.stem] == 1 else f"{p.parent.name}/{p.stem}": [p] for p in every}


def _wanted(names: Path, found: Container[str], images: Path) -> list[str]:
    if not names.is_file():
        raise InputError(f"There is no list of names {names.resolve()}: expected one name a line.")
    lines = {line.strip() for line in lines_of(names) if line.strip()}
    wanted = sorted({line if line in found else Path(line.split()[0]).stem for line in lines})
    missing = [name for name in wanted if name not in found]
    if missing or not wanted:
        example = f", {missing[0]} for example" if missing else ""
        raise InputError(
            f"{images} lacks {len(missing)} of the {len(wanted)} images that {names} names{example}."
        )
    return wanted
