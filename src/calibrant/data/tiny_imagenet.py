"""Tiny-ImageNet-200, decoded into memory."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from calibrant.data.folders import class_folders, find_folder, images_below
from calibrant.data.image_set import ImageSet, ImageTask
from calibrant.data.image_views import IMAGENET_MEAN, IMAGENET_STD
from calibrant.data.lists import lines_of
from calibrant.data.pictures import read_picture
from calibrant.data.registry import register
from calibrant.data.splits import kept_share, per_class_tail_split
from calibrant.data.wordnet import readable_names
from calibrant.errors import InputError

SIDE = 64
#: Training images of each class that validate.
PER_CLASS = 50


@register("tiny_imagenet")
def tiny_imagenet(
    root: Path, train: int | None = None, val: int | None = None, split_seed: int = 1
) -> ImageTask:
    """Tiny-ImageNet-200: 110,000 photographs of 64x64 in 200 classes; its official validation images test.

    Looked for in tiny-imagenet-200, or in the folder itself: train/<wnid>/images, and val/images with
    val/val_annotations.txt, or sorted into val/<wnid>. All are decoded into memory when the set is read: 1.4
    GB, half a minute or so.

    Args:
        root: where it is looked for.
        train: number of training images kept, of each class its share; None for all that do not validate.
        val: number of validation images, as many of each class; None for 50 of each, 10,000 in all.
        split_seed: seed of the division; with 1, and the files sorted by path, it is the published one.

    Augmented by a random crop with 4 pixels of padding and a flip, normalised with ImageNet's statistics. The
    ids of training and validation images are positions in the path-sorted training images.

    Le, Yang: "Tiny ImageNet Visual Recognition Challenge", Stanford CS 231N, 2015. The division is that of Liu,
    Ben Ayed, Galdran, Dolz (CVPR 2022), and of Liu, Rony, Galdran, Dolz, Ben Ayed (CVPR 2023).
    """
    folder = find_folder(root, ("tiny-imagenet-200", "."), "train")
    classes = class_folders(folder / "train")
    names = [images_below(folder, f"train/{name}") for name in classes]
    targets = torch.arange(len(classes)).repeat_interleave(torch.tensor([len(part) for part in names]))
    each, rest = divmod(PER_CLASS * len(classes) if val is None else val, len(classes))
    if rest or each < 0:
        raise InputError(f"data.val must be a multiple of the {len(classes)} classes, not {val}.")
    fitting, validation = per_class_tail_split(targets, each, seed=split_seed)
    fitting = fitting[kept_share(targets[fitting], train, seed=split_seed)]
    paths = [folder / name for part in names for name in part]
    test_paths, test_targets = _annotated(folder / "val", classes)
    test = ImageSet(_decode(test_paths), test_targets, torch.arange(len(test_paths)))

    def part(positions: Tensor) -> ImageSet:
        return ImageSet(_decode([paths[i] for i in positions.tolist()]), targets[positions], positions)

    return ImageTask(
        part(fitting),
        part(validation),
        test,
        readable_names(classes, folder / "words.txt"),
        mean=[255 * value for value in IMAGENET_MEAN],
        std=[255 * value for value in IMAGENET_STD],
        padding=4,
        note=f"{len(validation):,} of the training images validate, the official validation images test",
        test_names=[path.stem for path in test_paths],
    )


def _annotated(folder: Path, classes: list[str]) -> tuple[list[Path], Tensor]:
    """Return the official validation images, in the order of their list, and their labels."""
    path = folder / "val_annotations.txt"
    # Who sorts them may leave the list behind.
    if not (folder / "images").is_dir() and all((folder / name).is_dir() for name in classes):
        return _sorted_into(folder, classes)
    if not path.is_file():
        raise InputError(
            f"Tiny-ImageNet's test images were looked for in {folder.resolve()}, where {path.name} was "
            "expected."
        )
    numbers = {name: label for label, name in enumerate(classes)}
    rows = [line.split() for line in lines_of(path) if line.strip()]
    for row in rows:
        if len(row) < 2 or row[1] not in numbers:
            raise InputError(
                f"{path} has a line {' '.join(row)!r}, but a file and one of the classes were expected."
            )
    return [folder / "images" / row[0] for row in rows], torch.tensor([numbers[row[1]] for row in rows])


def _sorted_into(folder: Path, classes: list[str]) -> tuple[list[Path], Tensor]:
    """Return images that lie in a folder for each class: val_0 first, as in the list."""
    found = [(name, label) for label, one in enumerate(classes) for name in images_below(folder, one)]
    found.sort(key=lambda pair: (len(Path(pair[0]).stem), Path(pair[0]).stem))
    return [folder / name for name, _ in found], torch.tensor([label for _, label in found])


def _decode(paths: list[Path]) -> Tensor:
    """Return (N, 3, 64, 64) uint8."""

    def read(at: int) -> None:
        pixels = np.asarray(read_picture(paths[at]))
        if pixels.shape != (SIDE, SIDE, 3):
            raise InputError(
                f"{paths[at]} has {pixels.shape[1]}x{pixels.shape[0]} pixels, not {SIDE}x{SIDE} as all of "
                "Tiny-ImageNet; read other sizes as data.name image_folder."
            )
        images[at] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())

    images = torch.empty(len(paths), 3, SIDE, SIDE, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(read, range(len(paths))):
            pass
    return images
