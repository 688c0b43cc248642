"""Corrupted test images: made on the fly, or read from the published sets on disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from calibrant.data.corruptions import EXTRA, STANDARD, Frost, corrupt, refuse_grey, refuse_unknown
from calibrant.data.folders import class_folders, read_split
from calibrant.data.image_files import FileImageSet, FileImageTask
from calibrant.data.image_set import ImageBatch, ImageTask
from calibrant.data.image_views import Views
from calibrant.errors import InputError

LABELS = "labels.npy"


class Images(Protocol):
    """Labelled images that are indexed by positions."""

    @property
    def targets(self) -> Tensor:
        """(N,) int64 labels."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> ImageBatch: ...


class Made:
    """Images that are corrupted when they are read.

    Args:
        images: clean ones.
        name: of the corruption.
        severity: 1 to 5.
        seed: of what is drawn; besides on it, that depends on the ids of the images alone.
        frost: the photographs for "frost".
    """

    def __init__(
        self, images: Images, name: str, severity: int, seed: int = 0, frost: Frost | None = None
    ) -> None:
        self.images, self.name, self.severity, self.seed, self.frost = images, name, severity, seed, frost

    @property
    def targets(self) -> Tensor:
        """The labels."""
        return self.images.targets

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor) -> ImageBatch:
        batch = self.images[index]
        images, ids = batch["image"], batch["id"]
        changed = corrupt(images, self.name, self.severity, ids=ids, seed=self.seed, frost=self.frost)
        return {**batch, "image": changed}


class Arrays:
    """Images of one severity in a file of CIFAR-10-C, which stays on disk.

    Args:
        pixels: (N, H, W, 3) uint8.
        targets: (N,) int64 labels.
    """

    def __init__(self, pixels: np.ndarray, targets: Tensor) -> None:
        self._pixels, self.targets = pixels, targets

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Tensor) -> ImageBatch:
        at = torch.as_tensor(index)
        images = torch.from_numpy(np.ascontiguousarray(self._pixels[at.numpy()].transpose(0, 3, 1, 2)))
        return {"image": images, "target": self.targets[at], "id": at, "index": at}


class Some:
    """Images at some positions of others.

    Args:
        images: all.
        positions: (M,) which are taken.
    """

    def __init__(self, images: Images, positions: Tensor) -> None:
        self.images, self.positions = images, positions

    @property
    def targets(self) -> Tensor:
        """The labels."""
        return self.images.targets[self.positions]

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, index: Tensor) -> ImageBatch:
        return self.images[self.positions[torch.as_tensor(index)]]


@dataclass(frozen=True)
class CorruptedSets:
    """A published set of corrupted images on disk.

    CIFAR-10-C and CIFAR-100-C: a file NAME.npy for each corruption, (50000, 32, 32, 3) uint8, the test images
    at severity 1, then at 2, and so on; and labels.npy, (50000,). ImageNet-C and Tiny-ImageNet-C: folders
    NAME/SEVERITY/WNID with image files, cropped already; the folders of ImageNet-C may lie in those of its
    archives, noise/NAME/SEVERITY/WNID. Where the files are called like those of the test images, these alone
    are read, in their order; those of Tiny-ImageNet-C are other photographs.

    Attributes:
        folder: of the set.
        task: the data that a network was trained on.
    """

    folder: Path
    task: ImageTask | FileImageTask

    def names(self) -> list[str]:
        """Return the corruptions that the folder holds, those of the benchmark first.

        Raises:
            InputError: it holds none.
        """
        found = [name for name in (*STANDARD, *EXTRA) if self._file(name).is_file() or self._place(name)]
        if not found:
            raise InputError(
                f"Corrupted images were looked for in {self.folder.resolve()}, where files such as "
                f"gaussian_noise.npy with {LABELS}, or folders such as gaussian_noise/1/CLASS, were expected."
            )
        return found

    def read(self, name: str, severity: int) -> Images:
        """Return the images of a corruption at a severity.

        Raises:
            InputError: they are not there, are not whole, or do not belong to the task's classes.
        """
        if self._file(name).is_file():
            return self._arrays(name, severity)
        place = self._place(name)
        if place is None or not (place / str(severity)).is_dir():
            raise InputError(
                f"{self.folder.resolve()} has no {name} of severity {severity}: {name}.npy, or a folder "
                f"{name}/{severity}, was expected; it holds {', '.join(self.names())}."
            )
        return self._folders(place / str(severity))

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def _place(self, name: str) -> Path | None:
        found = [self.folder / name, *sorted(self.folder.glob(f"*/{name}"))]
        return next((place for place in found if place.is_dir()), None)

    def _arrays(self, name: str, severity: int) -> Arrays:
        if not (self.folder / LABELS).is_file():
            raise InputError(f"{self.folder.resolve()} lacks {LABELS}, the labels of its images.")
        pixels, labels = (_opened(path) for path in (self._file(name), self.folder / LABELS))
        if pixels.ndim != 4 or pixels.shape[3] != 3 or pixels.dtype != np.uint8 or len(pixels) % 5:
            raise InputError(
                f"{self._file(name)} holds {pixels.dtype} values of shape {pixels.shape}, but bytes of shape "
                "(5 x images, height, width, 3) were expected."
            )
        if isinstance(self.task, ImageTask) and pixels.shape[1:3] != self.task.test.images.shape[2:]:
            sides = (
                " x ".join(map(str, shape)) for shape in (pixels.shape[1:3], self.task.test.images.shape[2:])
            )
            raise InputError(
                "{} holds images of {} pixels, and those of the run have {}: choose the set that goes with its "
                "data.".format(self._file(name), *sides)
            )
        count = len(pixels) // 5
        if not count or labels.shape not in ((count,), (len(pixels),)) or labels.dtype.kind not in "iu":
            raise InputError(
                f"{self.folder / LABELS} holds {labels.dtype} values of shape {labels.shape}, and {name}.npy "
                f"{len(pixels):,} images: a whole number for each image of a severity was expected."
            )
        targets = torch.from_numpy(labels[:count].astype(np.int64))
        classes = len(self.task.class_names)
        if outside := [label for label in (int(targets.min()), int(targets.max())) if not 0 <= label < classes]:
            raise InputError(
                f"{self.folder / LABELS} holds the label {outside[0]}, but the run knows {classes} classes: "
                "choose the set that goes with its data."
            )
        if isinstance(self.task, ImageTask) and not torch.equal(targets, self.task.test.targets):
            raise InputError(
                f"The labels in {self.folder / LABELS} are not those of the {len(self.task.test):,} test "
                "images of the run's data: choose the set that goes with them."
            )
        return Arrays(pixels[count * (severity - 1) : count * severity], targets)

    def _folders(self, place: Path) -> FileImageSet:
        classes = class_folders(place)
        known = _folder_labels(self.task)
        if known is None and len(classes) == len(self.task.class_names):
            known = {name: label for label, name in enumerate(classes)}
        if known is None or not set(classes) <= set(known):
            raise InputError(
                f"{place} holds {len(classes)} classes, {classes[0]} first, which are not the "
                f"{len(self.task.class_names)} of the run's data: choose the set that goes with them, or, if "
                "it is this corruption alone, name the others with --corruptions."
            )
        images = read_split(place, classes, self._views())
        images.targets = torch.tensor([known[name] for name in classes])[images.targets]
        return _as_test(images, self.task)

    def _views(self) -> Views:
        if isinstance(self.task, FileImageTask):
            views = self.task.test.views
            # The published images are cropped already.
            return replace(views, resize=views.size)
        side = self.task.test.images.shape[-1]
        return Views(size=side, resize=side)


def _folder_labels(task: ImageTask | FileImageTask) -> dict[str, int] | None:
    """Return the label of each folder of training images, where they are files in folders."""
    if isinstance(task, ImageTask):
        return None
    first = {label: at for at, label in reversed(list(enumerate(task.train.targets.tolist())))}
    return {task.train.path(at).parent.name: label for label, at in first.items()}


def _as_test(images: FileImageSet, task: ImageTask | FileImageTask) -> FileImageSet:
    """Return the corrupted forms of the test images, in their order, where the names of the files tell which.

    ImageNet-C holds all official validation images, of which some validate: they have chosen the temperature.
    """
    found = {images.path(at).stem: at for at in range(len(images))}
    wanted = _test_names(task)
    # Names that come once a class tell nothing.
    alone = len(found) == len(images) and len({*wanted}) == len(wanted)
    if not wanted or not alone or not all(stem in found for stem in wanted):
        return images
    return images.subset(torch.tensor([found[stem] for stem in wanted]))


def _test_names(task: ImageTask | FileImageTask) -> Sequence[str]:
    if isinstance(task, ImageTask):
        return task.test_names
    return [task.test.path(at).stem for at in range(len(task.test))]


def _opened(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} cannot be read as an array of NumPy ({error}); fetch it again.") from None
    return array


@dataclass(frozen=True)
class CorruptedTest:
    """The test images of a task, clean and corrupted.

    Attributes:
        task: the data.
        folder: of the published images; None to make them.
        images: how many are taken, of a shuffle by the seed; None for all.
        seed: of that, and of what is made.
        frost: the photographs for "frost", which is not made without.
    """

    task: ImageTask | FileImageTask
    folder: Path | None = None
    images: int | None = None
    seed: int = 0
    frost: Frost | None = None

    def names(self) -> list[str]:
        """Return the corruptions of the benchmark that there are."""
        if self.folder is not None:
            return [name for name in CorruptedSets(self.folder, self.task).names() if name in STANDARD]
        return [name for name in STANDARD if name != "frost" or self.frost is not None]

    def clean(self) -> Images:
        """Return the test images as they are."""
        return self._some(self.task.test)

    def read(self, name: str, severity: int) -> Images:
        """Return the images of a corruption at a severity; raises `InputError` where there can be none."""
        if isinstance(self.task, ImageTask):
            refuse_grey(self.task.test.images)
        if self.folder is not None:
            return self._some(CorruptedSets(self.folder, self.task).read(name, severity))
        refuse_unknown(name, self.frost)
        return Made(self.clean(), name, severity, self.seed, self.frost)

    def others(self, images: Images) -> bool:
        """Return whether images that were read are called as no test image is, as those of Tiny-ImageNet-C."""
        everything = images.images if isinstance(images, Some) else images
        names = set(_test_names(self.task))
        if not isinstance(everything, FileImageSet) or not names:
            return False
        return names.isdisjoint(everything.path(at).stem for at in range(len(everything)))

    def _some(self, images: Images) -> Images:
        if self.images is None:
            return images
        if not 1 <= self.images <= len(images):
            raise InputError(f"There are {len(images):,} test images, of which {self.images:,} were asked for.")
        order = torch.from_numpy(np.random.default_rng(self.seed).permutation(len(images)))
        return Some(images, order[: self.images].sort().values)
