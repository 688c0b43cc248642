"""Images that are read from their files one by one, where a data set is too large for the memory."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from calibrant.data.image_set import ImageBatch
from calibrant.data.image_views import Views, drawing
from calibrant.data.pictures import read_picture
from calibrant.data.splits import kept_share, stratified_split
from calibrant.metrics.definitions import Groups


class FileImageSet(Dataset[ImageBatch]):
    """Image files with labels, indexed by positions, or by positions with the seeds of their augmentation.

    A batch holds uint8 images of one size; the data module normalises them on the device.

    Args:
        root: folder to which the names are relative.
        names: N names of files.
        targets: (N,) int64 labels.
        views: how a photograph becomes an input.
        ids: (N,) int64, the position of each image in the data set on disk; None for 0 … N - 1.

    Raises:
        InputError: when a file is read that is missing or damaged.

    Example:
        >>> files = FileImageSet(Path("photos"), ["a.jpg", "b.jpg"], torch.tensor([0, 1]), Views())
        >>> len(files), files.path(1).name
        (2, 'b.jpg')
    """

    def __init__(
        self, root: Path, names: Sequence[str], targets: Tensor, views: Views, ids: Tensor | None = None
    ) -> None:
        self.root, self.targets, self.views = root, targets, views
        self.ids = torch.arange(len(targets)) if ids is None else ids
        # One block of bytes: a list of a million names would be copied into every worker process, as Python
        # writes the reference counts.
        self._names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)

    def __len__(self) -> int:
        return len(self.targets)

    def path(self, position: int) -> Path:
        """Return the file of an image."""
        return self.root / os.fsdecode(bytes(self._names[position]))

    def shared(self, other: "FileImageSet") -> list[str]:
        """Return the names that another set of the same folder has too."""
        return [os.fsdecode(bytes(name)) for name in np.intersect1d(self._names, other._names)]

    def picture(self, position: int) -> Image.Image:
        """Return an image as it is in its file, in RGB."""
        return read_picture(self.path(position))

    def __getitem__(self, index: list[int] | Tensor) -> ImageBatch:
        """Read a batch.

        Args:
            index: (B,) positions, to be read as in evaluation; or (B, 2), positions and seeds, to be read as in
                training with what each seed draws.
        """
        wanted = torch.as_tensor(index)
        at = wanted if wanted.ndim == 1 else wanted[:, 0]
        images = [self._evaluated(i) for i in at.tolist()] if wanted.ndim == 1 else self._drawn(wanted)
        return {"image": torch.stack(images), "target": self.targets[at], "id": self.ids[at], "index": at}

    def _evaluated(self, position: int) -> Tensor:
        image: Tensor = self._evaluation(self.picture(position))
        return image

    def _drawn(self, wanted: Tensor) -> list[Tensor]:
        images = []
        for position, seed in wanted.tolist():
            with drawing(seed):
                images.append(self._training(self.picture(position)))
        return images

    @cached_property
    def _training(self) -> torch.nn.Module:
        return self.views.training()

    @cached_property
    def _evaluation(self) -> torch.nn.Module:
        return self.views.evaluation()

    def subset(self, positions: Tensor) -> "FileImageSet":
        """Return the images at some positions, in that order."""
        chosen = FileImageSet(self.root, [], self.targets[positions], self.views, self.ids[positions])
        chosen._names = self._names[positions.numpy()]
        return chosen


@dataclass(frozen=True)
class FileImageTask:
    """A classification task on image files.

    Attributes:
        train: images that train.
        val: images that choose and calibrate; there may be none.
        test: images that judge.
        class_names: C names, in the order of the labels.
        groups: how the classes are grouped into many-, medium- and few-shot ones, as `metrics.evaluate` takes
            it; None where the classes are about as large.
        note: one sentence for the reader of a result.
    """

    train: FileImageSet
    val: FileImageSet
    test: FileImageSet
    class_names: list[str]
    groups: Groups | None = None
    note: str = ""

    @cached_property
    def class_counts(self) -> Tensor:
        """(C,) number of training images of each class."""
        return self.train.targets.bincount(minlength=len(self.class_names))


def held_out(images: FileImageSet, val: int, seed: int) -> tuple[FileImageSet, FileImageSet]:
    """Divide training images into what trains and `val` that validate, of each class its share."""
    rest, chosen = stratified_split(images.targets, val, seed=seed)
    return images.subset(rest), images.subset(chosen)


def thinned(images: FileImageSet, count: int | None, seed: int) -> FileImageSet:
    """Keep so many of the images, of each class its share and at least one; all for None."""
    return images.subset(kept_share(images.targets, count, seed=seed))
