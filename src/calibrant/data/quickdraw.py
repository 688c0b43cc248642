"""Quick, Draw!: drawings of 345 things, as many of each, and with a long tail."""

import zipfile
import zlib
from pathlib import Path
from typing import Unpack

import numpy as np
import torch
from torch import Tensor

from calibrant.data.image_set import ImageSet, ImageTask
from calibrant.data.longtail import Tail, long_tailed
from calibrant.data.registry import register
from calibrant.data.splits import kept_share, stratified_split
from calibrant.errors import InputError

FILE = "quickdraw345.npz"
ARRAYS = ("x_train", "y_train", "x_test", "y_test", "classes")
BITMAPS = "numpy_bitmap"
#: Drawings of each thing that are taken of the published bitmaps to train, and to test.
TAKEN = (80, 20)
#: Training drawings of each class that validate.
PER_CLASS = 10


@register("quickdraw")
def quickdraw(root: Path, train: int | None = None, val: int | None = None, split_seed: int = 1) -> ImageTask:
    """Quick, Draw! 345: grey drawings of 28x28 of 345 things, 80 of each for training and 20 for the test.

    Read, in the folder itself or in quickdraw, from quickdraw345.npz: arrays x_train (N, 28, 28) uint8, y_train
    (N,), x_test, y_test and classes; or from the published bitmaps in numpy_bitmap, a file NAME.npy of each
    thing, of which the first 80 drawings train and the next 20 test. Drawings are shifted by up to 2 pixels and
    mirrored in training, and normalised by the statistics of all training drawings.

    Args:
        root: where it is looked for.
        train: number of training drawings kept, of each class its share; None for all that do not validate.
        val: number of validation drawings, of each class its share; None for 10 of each.
        split_seed: seed of what is held out and kept.

    Ha, Eck: "A Neural Representation of Sketch Drawings", ICLR 2018.
    """
    content = _content(root)
    images, targets = _part(content, "train")
    test, test_targets = _part(content, "test")
    names = [str(name) for name in content["classes"]]
    fitting, validation = stratified_split(
        targets, PER_CLASS * len(names) if val is None else val, seed=split_seed
    )
    fitting = fitting[kept_share(targets[fitting], train, seed=split_seed)]
    everything = ImageSet(images, targets, torch.arange(len(images)))
    grey = images.double()
    return ImageTask(
        everything.subset(fitting),
        everything.subset(validation),
        ImageSet(test, test_targets, torch.arange(len(test))),
        names,
        mean=[float(grey.mean())],
        std=[max(float(grey.std()), 1.0)],
        padding=2,
        note=f"{len(validation):,} of the {len(images):,} training drawings validate",
    )


@register("quickdraw_lt")
def quickdraw_lt(root: Path, val: int | None = None, split_seed: int = 1, **tail: Unpack[Tail]) -> ImageTask:
    """Quick, Draw! with a long tail: 345 classes by decreasing number of training drawings, 70 to 3 each.

    Args:
        root: folder that holds numpy_bitmap or quickdraw345.npz.
        val: number of validation drawings, as many of each class; they are set aside before the tail is cut.
            None for 10 of each.
        split_seed: seed of the validation drawings.
        **tail: how the tail is cut, as in `longtail.Tail`, but by default with imbalance 20 and groups by
            "counts".

    The test set is balanced.
    """
    task = quickdraw(root, val=0)
    held = PER_CLASS * len(task.class_names) if val is None else val
    cut: Tail = {"imbalance": 20.0, "groups": "counts"}
    cut.update(tail)
    return long_tailed(task, held, split_seed, **cut)


def _content(root: Path) -> dict[str, np.ndarray]:
    places = [root / name for name in (".", "quickdraw")]
    for place in places:
        if (place / FILE).is_file():
            return _read(place / FILE)
        if bitmaps := sorted((place / BITMAPS).glob("*.npy")):
            return _drawings(bitmaps)
    looked = " and ".join(str(place.resolve()) for place in places)
    raise InputError(
        f"Drawings were looked for in {looked}, where a folder {BITMAPS} with NAME.npy, or {FILE}, was "
        "expected; set data.root to the folder that holds it."
    )


def _drawings(paths: list[Path]) -> dict[str, np.ndarray]:
    """Return the arrays of `FILE`, of the published bitmaps."""
    fitting, testing = TAKEN
    taken = []
    for path in paths:
        try:
            drawings = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} cannot be read as an array of NumPy ({error}): fetch it again.") from None
        if drawings.shape[1:] != (784,) or drawings.dtype != np.uint8 or len(drawings) < fitting + testing:
            raise InputError(
                f"{path} holds {drawings.dtype} values of shape {drawings.shape}, but {fitting + testing} or "
                "more drawings of 784 bytes were expected: fetch it again."
            )
        taken.append(np.array(drawings[: fitting + testing]).reshape(-1, 28, 28))
    labels = np.arange(len(paths))
    names = [path.stem.removeprefix("full_numpy_bitmap_") for path in paths]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError(f"{paths[0].parent} holds two files of {twice[0]!r}: keep one.")
    return {
        "x_train": np.concatenate([drawings[:fitting] for drawings in taken]),
        "y_train": labels.repeat(fitting),
        "x_test": np.concatenate([drawings[fitting:] for drawings in taken]),
        "y_test": labels.repeat(testing),
        "classes": np.array(names),
    }


def _read(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in ARRAYS if name in arrays}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an .npz file ({error}): make it again.") from None
    missing = [name for name in ARRAYS if name not in content]
    if missing:
        raise InputError(f"{path} lacks the array {missing[0]}; it must have {', '.join(ARRAYS)}.")
    return content


def _part(content: dict[str, np.ndarray], part: str) -> tuple[Tensor, Tensor]:
    images, targets = content[f"x_{part}"], content[f"y_{part}"]
    if images.ndim != 3 or images.dtype != np.uint8 or targets.shape != images.shape[:1]:
        raise InputError(
            f"x_{part} of {FILE} must be (N, H, W) uint8 and y_{part} (N,), not {images.shape} {images.dtype} "
            f"and {targets.shape}."
        )
    known = len(content["classes"])
    if targets.size and not 0 <= targets.min() <= targets.max() < known:
        raise InputError(
            f"y_{part} of {FILE} holds labels from {targets.min()} to {targets.max()}, but it names "
            f"{known} classes."
        )
    return torch.from_numpy(images).unsqueeze(1), torch.from_numpy(targets.astype(np.int64))
