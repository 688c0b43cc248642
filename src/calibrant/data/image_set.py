"""Images that fit in memory: uint8 tensors, read once, indexed a batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from calibrant.errors import InputError
from calibrant.metrics.definitions import Groups


class ImageBatch(TypedDict):
    """A batch: `image` (B, C, H, W), `target`, `id` and `index` (B,) int64: label, id, position in the set."""

    image: Tensor
    target: Tensor
    id: Tensor
    index: Tensor


@dataclass(frozen=True)
class ImageSet(Dataset[ImageBatch]):
    """Images with labels and ids, indexed by lists of positions.

    Attributes:
        images: (N, C, H, W) uint8.
        targets: (N,) int64 labels.
        ids: (N,) int64, the position of each image in the data set on disk.

    Example:
        >>> pixels = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
        >>> images = ImageSet(pixels, targets=torch.tensor([0, 1, 0]), ids=torch.arange(3))
        >>> images[[2, 1]]["id"]
        tensor([2, 1])
    """

    images: Tensor
    targets: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: list[int] | Tensor) -> ImageBatch:
        at = torch.as_tensor(index)
        return {"image": self.images[at], "target": self.targets[at], "id": self.ids[at], "index": at}

    def subset(self, positions: Tensor) -> "ImageSet":
        """Return the images at some positions, in that order."""
        return ImageSet(self.images[positions], self.targets[positions], self.ids[positions])


@dataclass(frozen=True)
class ImageTask:
    """A classification task on images.

    Attributes:
        train: images that train.
        val: images that choose and calibrate; there may be none.
        test: images that judge.
        class_names: C names, in the order of the labels.
        mean: mean of each channel, in the units of the stored images.
        std: deviation of each channel, likewise.
        padding: zeros around an image before the random crop of the training augmentation.
        flip: whether the training augmentation mirrors half of the images.
        groups: how the classes are grouped into many-, medium- and few-shot ones, as `metrics.evaluate` takes
            it; None where the classes are about as large.
        note: one sentence for the reader of a result.
        test_names: names of the files of the test images, without their endings; none where they have none.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet
    class_names: list[str]
    mean: list[float] = field(default_factory=lambda: [0.0])
    std: list[float] = field(default_factory=lambda: [255.0])
    padding: int = 4
    flip: bool = True
    groups: Groups | None = None
    note: str = ""
    test_names: Sequence[str] = ()

    @property
    def class_counts(self) -> Tensor:
        """(C,) number of training images of each class."""
        return self.train.targets.bincount(minlength=len(self.class_names))


#: Images (N, C, H, W) uint8 and their (N,) labels.
LabelledImages = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Held:
    """How the training images of a small set are divided.

    Attributes:
        train: number of training images kept; None for all that are not held out.
        val: number of training images held out for validation.
        seed: seed of the shuffle whose first `val` images are held out.
    """

    train: int | None
    val: int
    seed: int


def task_of(
    training: LabelledImages,
    test: LabelledImages,
    class_names: list[str],
    held: Held,
    statistics: tuple[Sequence[float], Sequence[float]],
    *,
    flip: bool = True,
) -> ImageTask:
    """Return the task of a small set that has training and test images: validation is held out of the first.

    Args:
        training: images and labels.
        test: likewise.
        class_names: C names.
        held: what is held out and kept.
        statistics: mean and deviation of each channel, of images in [0, 1].
        flip: as in `ImageTask`.

    Raises:
        InputError: more is held out or kept than there is.
    """
    images, targets = training
    kept = max(len(images) - held.val, 0) if held.train is None else held.train
    validation, fitting = divide(images, targets, [held.val, kept], held.seed)
    mean, std = ([255 * value for value in values] for values in statistics)
    return ImageTask(
        fitting,
        validation,
        ImageSet(*test, torch.arange(len(test[0]))),
        class_names,
        mean,
        std,
        flip=flip,
        note=f"{held.val:,} of the {len(images):,} training images are held out for validation",
    )


def shuffled(count: int, seed: int) -> Tensor:
    """Return a permutation of 0 … count - 1 from NumPy's legacy generator, as the published splits use it."""
    order = np.arange(count)
    legacy_generator(seed).shuffle(order)
    return torch.from_numpy(order)


def legacy_generator(seed: int) -> np.random.RandomState:
    """Return NumPy's legacy generator; raises `InputError` for a seed that it does not take."""
    if not 0 <= seed < 2**32:
        raise InputError(f"A seed of data must lie between 0 and 2**32 - 1, not {seed}.")
    return np.random.RandomState(seed)


def divide(images: Tensor, targets: Tensor, parts: list[int], seed: int) -> list[ImageSet]:
    """Cut a seeded shuffle of the images into consecutive parts of the given sizes; the ids are the positions.

    Raises:
        InputError: the parts ask for more images than there are, or for fewer than none.
    """
    if sum(parts) > len(images) or min(parts) < 0:
        raise InputError(
            f"Parts of {', '.join(map(str, parts))} images cannot be cut from {len(images)}; "
            "set data.train and data.val to sizes that fit."
        )
    order = shuffled(len(images), seed)
    ends = np.cumsum(parts).tolist()
    cuts = [order[end - part : end] for part, end in zip(parts, ends, strict=True)]
    return [ImageSet(images[cut], targets[cut], cut) for cut in cuts]
