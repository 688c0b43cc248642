"""Street View House Numbers, the cropped digits."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.datasets import SVHN

from calibrant.data.checksums import compared
from calibrant.data.downloads import fetch, fetching
from calibrant.data.folders import find_folder
from calibrant.data.image_set import Held, ImageTask, LabelledImages, task_of
from calibrant.data.registry import register
from calibrant.errors import InputError

FILES = ("train_32x32.mat", "test_32x32.mat")
_MEAN, _STD = (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)


@register("svhn")
def svhn(
    root: Path, download: bool = False, train: int | None = None, val: int = 5000, split_seed: int = 1
) -> ImageTask:
    """SVHN: photographed digits of house numbers, 73,257 of 32x32 for training and 26,032 for the test.

    Reads train_32x32.mat and test_32x32.mat, in the folder itself or in svhn; needs SciPy. The extra images are
    left out. Padded and cropped in training, never mirrored.

    Args:
        root: where they are looked for.
        download: fetch through torchvision what is not there.
        train: number of training images kept; None for all that are not held out.
        val: number of the training images held out for validation.
        split_seed: seed of the shuffle whose first `val` images are held out.

    Netzer, Wang, Coates, Bissacco, Wu, Ng: "Reading Digits in Natural Images with Unsupervised Feature
    Learning", NIPS Workshop on Deep Learning and Unsupervised Feature Learning, 2011.
    """
    places = (".", "svhn")
    if download:
        found = (root / place for place in places if (root / place / FILES[0]).is_file())
        _fetch_missing(next(found, root))
    folder = find_folder(root, places, FILES[0], ", or data.download to true")
    training, test = (_read(folder / name) for name in FILES)
    names = [str(digit) for digit in range(10)]
    task = task_of(training, test, names, Held(train, val, split_seed), (_MEAN, _STD), flip=False)
    return compared(task, folder, [(name, md5) for _, name, md5 in _published()])


def _published() -> list[list[str]]:
    """Return the address, the name and the checksum of each file."""
    return [SVHN.split_list[part] for part in ("train", "test")]


def _fetch_missing(folder: Path) -> None:
    with fetching("SVHN", folder):
        for url, name, md5 in _published():
            if not (folder / name).is_file():
                fetch(url, folder / name, md5)


def _read(path: Path) -> LabelledImages:
    try:
        from scipy.io import loadmat
    except ModuleNotFoundError:
        raise InputError(f"Reading {path.name} needs SciPy: pip install scipy.") from None
    if not path.is_file():
        raise InputError(
            f"{path.parent.resolve()} lacks {path.name}, one of the two files of SVHN: put it there, or set "
            "data.download to true."
        )
    try:
        content: dict[str, Any] = loadmat(path)
        pixels, labels = np.asarray(content["X"]), np.asarray(content["y"]).reshape(-1)
    # SciPy's reader meets damage with whatever it stumbles over.
    except Exception as error:
        raise InputError(f"{path} cannot be read as a file of SVHN ({error}): fetch it again.") from None
    if pixels.shape != (32, 32, 3, len(labels)):
        raise InputError(f"{path} holds images of shape {pixels.shape}, not (32, 32, 3, {len(labels)}).")
    if labels.size and not 0 <= labels.min() <= labels.max() <= 10:
        raise InputError(f"{path} holds labels from {labels.min()} to {labels.max()}, not digits.")
    # The digit 0 has the label 10.
    images = torch.from_numpy(np.ascontiguousarray(pixels.transpose(3, 2, 0, 1)))
    return images, torch.from_numpy(labels.astype(np.int64) % 10)
