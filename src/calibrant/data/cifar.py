"""CIFAR-10 and CIFAR-100 from either official layout: Python pickles, or the binary files."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from calibrant.data.checksums import compared
from calibrant.data.downloads import fetch_archive
from calibrant.data.image_set import Held, ImageTask, LabelledImages, task_of
from calibrant.data.registry import register
from calibrant.errors import InputError

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class Layout:
    """Where the files of one of the two sets are, and how a record of the binary files begins.

    Attributes:
        title: of the set.
        pickles: torchvision's class, which knows the pickles and their checksums.
        binary: folder of the binary files.
        train_files: names of the binary files that train.
        test_file: name of the one that tests.
        names_file: name of the one with the names of the classes.
        label_bytes: labels of a record, of which the last is the class.
    """

    title: str
    pickles: type[CIFAR10]
    binary: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_bytes: int

    def published(self) -> list[tuple[str, str]]:
        """Return the names of the pickles, each with its checksum."""
        base = self.pickles
        files = [(name, md5) for name, md5 in [*base.train_list, *base.test_list]]
        return [*files, (base.meta["filename"], base.meta["md5"])]


LAYOUT10 = Layout(
    "CIFAR-10",
    CIFAR10,
    "cifar-10-batches-bin",
    tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test_batch.bin",
    "batches.meta.txt",
    1,
)
# A record of CIFAR-100 begins with the coarse label, then the fine one, which is the class.
LAYOUT100 = Layout(
    "CIFAR-100", CIFAR100, "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt", 2
)


@register("cifar10")
def cifar10(
    root: Path, download: bool = False, train: int | None = None, val: int = 5000, split_seed: int = 1
) -> ImageTask:
    """CIFAR-10: 60,000 images of 32x32 in 10 classes; from cifar-10-batches-py or cifar-10-batches-bin.

    Args:
        root: folder that holds one of the two.
        download: fetch the pickles through torchvision when neither is there.
        train: number of training images kept; None for all that are not held out.
        val: number of the 50,000 training images held out for validation.
        split_seed: seed of the shuffle whose first `val` images are held out; 1 as published.

    Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", 2009. The split is that of Liu, Ben
    Ayed, Galdran, Dolz (CVPR 2022).
    """
    return checked(read(LAYOUT10, root, download, Held(train, val, split_seed)), LAYOUT10, root)


@register("cifar100")
def cifar100(
    root: Path, download: bool = False, train: int | None = None, val: int = 5000, split_seed: int = 1
) -> ImageTask:
    """CIFAR-100: 60,000 images of 32x32 in 100 classes; from cifar-100-python or cifar-100-binary.

    Args:
        root: folder that holds one of the two.
        download: fetch the pickles through torchvision when neither is there.
        train: number of training images kept; None for all that are not held out.
        val: number of the 50,000 training images held out for validation.
        split_seed: seed of the shuffle whose first `val` images are held out.

    Training and test images are normalised with the same statistics, those that the published code uses for
    the training images of both sets.

    Krizhevsky: "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    return checked(read(LAYOUT100, root, download, Held(train, val, split_seed)), LAYOUT100, root)


def read(layout: Layout, root: Path, download: bool, held: Held) -> ImageTask:
    """Read one of the two sets.

    Args:
        layout: which.
        root: folder that holds its pickles or its binary files.
        download: fetch the pickles through torchvision when neither is whole.
        held: what is held out and kept.

    Raises:
        InputError: files that are missing or damaged, or could not be fetched.
    """
    if (root / layout.binary).is_dir():
        training, test, names = _read_binary(layout, root / layout.binary)
    else:
        training, test, names = _read_pickles(layout, root, download)
    last = max(int(targets.max()) for _, targets in (training, test))
    if last >= len(names):
        raise InputError(
            f"{layout.title} in {root.resolve()} has the label {last}, but names for {len(names)} classes: "
            "fetch it again."
        )
    return task_of(training, test, names, held, (_MEAN, _STD))


def checked(task: ImageTask, layout: Layout, root: Path) -> ImageTask:
    """Return a task whose note names the pickles that are not the published ones.

    Args:
        task: what was read; of the binary files no checksums are published.
        layout: which set.
        root: where it was read.
    """
    if (root / layout.binary).is_dir():
        return task
    return compared(task, root / layout.pickles.base_folder, layout.published())


def _read_binary(layout: Layout, folder: Path) -> tuple[LabelledImages, LabelledImages, list[str]]:
    missing = [
        name
        for name in (*layout.train_files, layout.test_file, layout.names_file)
        if not (folder / name).is_file()
    ]
    if missing:
        raise InputError(
            f"{folder} lacks {missing[0]}, one of the files of {layout.title}'s binary version: put it "
            "there, or move the folder away to have the pickles read."
        )

    def records(name: str) -> LabelledImages:
        path = folder / name
        size = layout.label_bytes + _PIXELS
        data = np.fromfile(path, np.uint8)
        if len(data) == 0 or len(data) % size:
            raise InputError(f"{path} has {len(data):,} bytes, no multiple of {size:,}: fetch it again.")
        rows = torch.from_numpy(data.reshape(-1, size))
        return rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32), rows[:, layout.label_bytes - 1].long()

    parts = [records(name) for name in layout.train_files]
    lines = (folder / layout.names_file).read_text(errors="replace").splitlines()
    images, targets = (torch.cat(part) for part in zip(*parts, strict=True))
    return (images, targets), records(layout.test_file), [line.strip() for line in lines if line.strip()]


def _read_pickles(
    layout: Layout, root: Path, download: bool
) -> tuple[LabelledImages, LabelledImages, list[str]]:
    base = layout.pickles
    folder = root / base.base_folder
    missing = [name for name, _ in layout.published() if not (folder / name).is_file()]
    if missing and download:
        fetch_archive(layout.title, root, base.url, base.filename, base.tgz_md5)
    elif missing:
        raise InputError(_missing(layout, root, missing[0]))
    sets = []
    names: list[str] = []
    for training in (True, False):
        try:
            part = _unchecked(base)(root, train=training)
        # What a damaged pickle does is whatever its bytes happen to say.
        except Exception as error:
            raise InputError(f"A file in {folder} is damaged ({error!r}): fetch it again.") from None
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        sets.append((images, torch.tensor(part.targets)))
        names = list(part.classes)
    return sets[0], sets[1], names


def _missing(layout: Layout, root: Path, name: str) -> str:
    """Return what to say of a pickle that is not there."""
    base = layout.pickles
    if (root / base.base_folder).is_dir():
        return (
            f"{root / base.base_folder} lacks {name}, one of the files of {layout.title}'s Python version: put "
            "it there, or set data.download to true."
        )
    return (
        f"{layout.title} was looked for in {root.resolve()}, where {base.base_folder} (Python version) or "
        f"{layout.binary} (binary version) was expected; set data.root to the folder that holds one of "
        "them, or data.download to true."
    )


def _unchecked(base: type[CIFAR10]) -> type[CIFAR10]:
    """Return torchvision's class, reading files of any checksum: the pixels are what matters."""
    return type(
        base.__name__,
        (base,),
        {
            "train_list": [[name, None] for name, _ in base.train_list],
            "test_list": [[name, None] for name, _ in base.test_list],
            "meta": {**base.meta, "md5": None},
        },
    )
