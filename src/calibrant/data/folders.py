"""Folders of images, one a class: any data set laid out so."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch

from calibrant.data.image_files import FileImageSet, FileImageTask, held_out, thinned
from calibrant.data.image_views import Look, Views
from calibrant.data.pictures import IMAGES, is_litter, is_picture
from calibrant.data.registry import register
from calibrant.errors import InputError

#: What part of the training images validates where nothing says which.
HELD_OUT = 0.1


@register("image_folder")
def image_folder(
    root: Path,
    train_folder: str = "train",
    val_folder: str | None = "val",
    test_folder: str = "test",
    train: int | None = None,
    val: int | None = None,
    split_seed: int = 1,
    **look: Unpack[Look],
) -> FileImageTask:
    """Any images in folders train, val and test, each with a folder of images for every class.

    Where there is no folder val, validation images are cut from the training images, of each class its share;
    where there is no folder test, the images of val test, and validation is cut from the training images, so
    that nothing is chosen on what judges. The classes are the folders of `train_folder`, sorted by name.

    Args:
        root: folder that holds the three.
        train_folder: name of the training folder.
        val_folder: name of the validation folder; None to cut validation images from the training images.
        test_folder: name of the test folder.
        train: number of training images kept, of each class its share; None for all.
        val: number of validation images; None for all of the folder, or for a tenth of the training images.
        split_seed: seed of what is held out and kept.
        **look: how a photograph becomes an input, as in `image_views.Views`: by default a random resized window
            of 224 pixels, mirrored at random; in evaluation the centre of the photograph resized to 256.

    Raises:
        InputError: a folder that is not there, saying where it was looked for.
    """
    views = Views(**look)
    classes = class_folders(root / train_folder)
    training = read_split(root / train_folder, classes, views, each=True)
    refuse_missing(root, val_folder=(val_folder, "val"), test_folder=(test_folder, "test"))
    folders = [name for name in (val_folder, test_folder) if name is not None and (root / name).is_dir()]
    if not folders:
        expected = " or ".join(filter(None, (test_folder, val_folder)))
        raise InputError(
            f"Test images were looked for in {root.resolve()}, where a folder {expected} was expected; set "
            "data.args.test_folder to its name."
        )
    test = read_split(root / folders[-1], classes, views)
    if len(folders) == 2:
        validation = read_split(root / folders[0], classes, views)
        validation = validation.subset(torch.arange(0)) if val == 0 else thinned(validation, val, split_seed)
        note = "training, validation and test images come from folders of their own"
    else:
        training, validation = held_out(training, _tenth(training) if val is None else val, split_seed)
        note = f"{len(validation):,} training images validate; the folder {folders[-1]} tests"
    return FileImageTask(thinned(training, train, split_seed), validation, test, classes, note=note)


def refuse_missing(root: Path, **folders: tuple[str | None, str]) -> None:
    """Raise `InputError` for a folder that the user names and that is not there.

    Args:
        root: around the folders.
        **folders: by option, the name of a folder, or None, and that of the one which is looked for by default.
    """
    for option, (name, default) in folders.items():
        if name is not None and name != default and not (root / name).is_dir():
            raise InputError(f"There is no folder {(root / name).resolve()}, which data.args.{option} names.")


def _tenth(images: FileImageSet) -> int:
    # A class of one image cannot spare it.
    spare = (images.targets.bincount() - 1).clamp(min=0).sum()
    return min(max(round(HELD_OUT * len(images)), 1), int(spare))


def class_folders(folder: Path) -> list[str]:
    """Return the sorted names of the folders in a folder: the classes.

    Raises:
        InputError: the folder is not there, or holds no folder.
    """
    if not folder.is_dir():
        raise InputError(
            f"Training images were looked for in {folder.resolve()}, where a folder of images for each class "
            "was expected; set data.root to the folder around it."
        )
    classes = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_litter(entry.name))
    if not classes:
        raise InputError(f"{folder.resolve()} holds no folder: expected one of images for each class.")
    return classes


def read_split(folder: Path, classes: Sequence[str], views: Views, *, each: bool = False) -> FileImageSet:
    """Return the images of a folder with a folder for each class, in the order of classes and file names.

    Args:
        folder: around the folders of the classes.
        classes: their names, in the order of the labels.
        views: how a photograph becomes an input.
        each: whether each class must have an image.

    Raises:
        InputError: a class that is none of `classes`, no image at all, or none of a class that must have one.
    """
    known = set(classes)
    unknown = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and entry.name not in known)
    if unknown := [name for name in unknown if not is_litter(name)]:
        raise InputError(
            f"{folder} holds a folder {unknown[0]}, which is no class: the training images have no folder of "
            "that name."
        )
    names: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        found = images_below(folder, name)
        names += found
        labels += [label] * len(found)
    if not names:
        raise InputError(f"{folder} holds no image: expected files ending in {', '.join(IMAGES)}.")
    if each and (empty := sorted({*range(len(classes))} - {*labels})):
        raise InputError(
            f"{folder / classes[empty[0]]} holds no image: expected files ending in {', '.join(IMAGES)}; "
            "delete the folder if it is no class."
        )
    return FileImageSet(folder, names, torch.tensor(labels), views)


def images_below(folder: Path, name: str) -> list[str]:
    """Return the image files in a sub-folder and those below it, relative to the folder, in a fixed order."""
    found = []
    for path, below, files in os.walk(folder / name, followlinks=True):
        below[:] = [one for one in below if not is_litter(one)]
        at = os.path.relpath(path, folder)
        found.append((path, [f"{at}/{file}" for file in sorted(files) if is_picture(file)]))
    return [file for _, files in sorted(found) for file in files]


def find_folder(root: Path, names: Sequence[str], expected: str, otherwise: str = "") -> Path:
    """Return the first of some folders below a root that has what is expected in it.

    Args:
        root: where they are looked for.
        names: of the folders; "." is the root itself.
        expected: path of a folder or file within.
        otherwise: what else can be done where none has it.

    Raises:
        InputError: none has it.
    """
    for name in names:
        if (root / name / expected).exists():
            return root / name
    said = " or ".join(expected if name == "." else f"{name}/{expected}" for name in names)
    raise InputError(
        f"Images were looked for in {root.resolve()}, where {said} was expected; set data.root to the folder "
        f"that holds it{otherwise}."
    )


def with_look(views: Views, look: Look) -> Views:
    """Return the views of a data set with what the user changed."""
    changes: dict[str, Any] = {**look}
    return replace(views, **changes)
