"""CIFAR-10 and CIFAR-100 from either official layout: Python pickles, or the binary files."""

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from calibrant.data.image_set import Held, ImageTask, LabelledImages, task_of
from calibrant.data.registry import register
from calibrant.errors import InputError

_MEAN, _STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Layout:
    """Where the files of one of the two sets are, and how a record of the binary files begins."""

    title: str
    pickles: type[CIFAR10]
    binary: str
    train_files: tuple[str, ...]
    test_file: str
    names_file: str
    label_bytes: int


_CIFAR10 = _Layout(
    "CIFAR-10",
    CIFAR10,
    "cifar-10-batches-bin",
    tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
    "test_batch.bin",
    "batches.meta.txt",
    1,
)
# A record of CIFAR-100 begins with the coarse label, then the fine one, which is the class.
_CIFAR100 = _Layout(
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
    return _read(_CIFAR10, root, download, train, val, split_seed)


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
    return _read(_CIFAR100, root, download, train, val, split_seed)


def _read(layout: _Layout, root: Path, download: bool, train: int | None, val: int, seed: int) -> ImageTask:
    if (root / layout.binary).is_dir():
        training, test, names = _read_binary(layout, root / layout.binary)
    else:
        training, test, names = _read_pickles(layout, root, download)
    return task_of(training, test, names, Held(train, val, seed), (_MEAN, _STD))


def _read_binary(layout: _Layout, folder: Path) -> tuple[LabelledImages, LabelledImages, list[str]]:
    def records(name: str) -> LabelledImages:
        path = folder / name
        if not path.is_file():
            raise InputError(f"{folder} lacks {name}, one of the files of {layout.title}'s binary version.")
        size = layout.label_bytes + _PIXELS
        data = np.fromfile(path, np.uint8)
        if len(data) == 0 or len(data) % size:
            raise InputError(f"{path} has {len(data):,} bytes, no multiple of {size:,}: fetch it again.")
        rows = torch.from_numpy(data.reshape(-1, size))
        return rows[:, layout.label_bytes :].reshape(-1, 3, 32, 32), rows[:, layout.label_bytes - 1].long()

    parts = [records(name) for name in layout.train_files]
    names = [line.strip() for line in (folder / layout.names_file).read_text().splitlines() if line.strip()]
    images, targets = (torch.cat(part) for part in zip(*parts, strict=True))
    return (images, targets), records(layout.test_file), names


def _read_pickles(
    layout: _Layout, root: Path, download: bool
) -> tuple[LabelledImages, LabelledImages, list[str]]:
    # The pixels are what matters: torchvision also compares the sums of the files, which differ when an
    # archive was packed again. What it downloads it has compared already.
    base = layout.pickles
    folder = root / base.base_folder
    missing = [name for name, _ in [*base.train_list, *base.test_list] if not (folder / name).is_file()]
    if missing and not download:
        raise InputError(
            f"{layout.title} was looked for in {root.resolve()}, where {base.base_folder} (Python version) or "
            f"{layout.binary} (binary version) was expected; set data.root to the folder that holds one of "
            "them, or data.download to true."
        )
    if missing:
        base(root, download=True)
    sets = []
    names: list[str] = []
    for training in (True, False):
        try:
            part = _unchecked(base)(root, train=training)
        except (pickle.UnpicklingError, EOFError) as error:
            raise InputError(f"A file in {folder} is damaged ({error}): fetch it again.") from None
        images = torch.from_numpy(part.data).permute(0, 3, 1, 2).contiguous()
        sets.append((images, torch.tensor(part.targets)))
        names = list(part.classes)
    return sets[0], sets[1], names


def _unchecked(base: type[CIFAR10]) -> type[CIFAR10]:
    return type(
        base.__name__,
        (base,),
        {
            "train_list": [[name, None] for name, _ in base.train_list],
            "test_list": [[name, None] for name, _ in base.test_list],
            "meta": {**base.meta, "md5": None},
        },
    )
