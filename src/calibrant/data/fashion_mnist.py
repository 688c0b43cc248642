"""Fashion-MNIST from its four files, packed or not."""

import gzip
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.datasets import FashionMNIST

from calibrant.data.checksums import compared
from calibrant.data.downloads import fetch, fetching
from calibrant.data.image_set import Held, ImageTask, LabelledImages, task_of
from calibrant.data.registry import register
from calibrant.errors import InputError

FOLDERS = ("FashionMNIST/raw", ".")
NAMES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
_MEAN, _STD = 0.2860, 0.3530


@register("fashion_mnist")
def fashion_mnist(
    root: Path, download: bool = False, train: int | None = None, val: int = 5000, split_seed: int = 1
) -> ImageTask:
    """Fashion-MNIST: 70,000 grey pictures of 28x28 of 10 kinds of clothes, 10,000 of them for the test.

    train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each
    plain or as .gz, in FashionMNIST/raw or in the folder itself.

    Args:
        root: where they are looked for.
        download: fetch through torchvision what is not there, as .gz.
        train: number of training images kept; None for all that are not held out.
        val: number of the 60,000 training images held out for validation.
        split_seed: seed of the shuffle whose first `val` images are held out.

    Xiao, Rasul, Vollgraf: "Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
    2017.
    """
    first = "train-images-idx3-ubyte"
    found = [root / name for name in FOLDERS if _there(root / name / first)]
    if not found and not download:
        raise InputError(
            f"Fashion-MNIST was looked for in {root.resolve()}, where FashionMNIST/raw/{first} or {first}, "
            "plain or as .gz, was expected; set data.root to the folder that holds it, or data.download to "
            "true."
        )
    folder = found[0] if found else root / FOLDERS[0]
    if download:
        _fetch_missing(folder)
    training, test = (_pair(folder, part) for part in ("train", "t10k"))
    task = task_of(training, test, NAMES, Held(train, val, split_seed), ([_MEAN], [_STD]))
    # Of the plain files no checksums are published; where there are both, these are read.
    packed = [
        (name, md5) for name, md5 in FashionMNIST.resources if not (folder / name.removesuffix(".gz")).is_file()
    ]
    return compared(task, folder, packed)


def _there(path: Path) -> bool:
    return path.is_file() or _packed(path).is_file()


def _packed(path: Path) -> Path:
    return path.with_name(f"{path.name}.gz")


def _fetch_missing(folder: Path) -> None:
    with fetching("Fashion-MNIST", folder):
        for name, md5 in FashionMNIST.resources:
            if not _there(folder / name.removesuffix(".gz")):
                fetch(FashionMNIST.mirrors[0] + name, folder / name, md5)


def _pair(folder: Path, part: str) -> LabelledImages:
    images = read_idx(folder / f"{part}-images-idx3-ubyte", 3).unsqueeze(1)
    targets = read_idx(folder / f"{part}-labels-idx1-ubyte", 1).long()
    if len(images) != len(targets) or int(targets.max()) >= len(NAMES):
        raise InputError(
            f"The labels of {part} in {folder} do not belong to its images: fetch both files again."
        )
    return images, targets


def read_idx(path: Path, axes: int) -> Tensor:
    """Return the bytes of an idx file, or of its .gz, as a uint8 tensor.

    Args:
        path: of the plain file.
        axes: number of axes that it must have.

    Raises:
        InputError: neither file is there, or it is damaged.
    """
    packed = _packed(path)
    if not _there(path):
        raise InputError(
            f"{path.parent} lacks {path.name}, which may also be {packed.name}: put it there, or set "
            "data.download to true."
        )
    try:
        raw = path.read_bytes() if path.is_file() else gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{packed} cannot be unpacked ({error}): fetch it again.") from None
    start = 4 + 4 * axes
    # Two zeros, the code of unsigned bytes, the number of axes, and their lengths.
    shape = np.frombuffer(raw[4:start], ">u4").tolist() if raw[:4] == bytes([0, 0, 8, axes]) else []
    if len(shape) != axes or len(raw) - start != np.prod(shape) or not len(raw) > start:
        raise InputError(f"{path} is no whole idx file of bytes with {axes} axes: fetch it again.")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy())
