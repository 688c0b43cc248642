"""Long-tailed photographs by list files: ImageNet-LT, Places-LT, iNaturalist 2018."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from calibrant.data.folders import find_folder, with_look
from calibrant.data.image_files import FileImageSet, FileImageTask, held_out, thinned
from calibrant.data.image_views import Look, Views
from calibrant.data.lists import lines_of
from calibrant.data.longtail import class_map_by_count
from calibrant.data.registry import register
from calibrant.errors import InputError
from calibrant.metrics.definitions import Groups


class Lists(TypedDict, total=False):
    """Which images, and where their files are.

    Attributes:
        train: number of training images kept, of each class its share; all.
        val: number of validation images; all of the validation list, or none where there is no list, in which
            case a number is cut from the training images, of each class its share.
        images: folder, from the root, to which the paths in the lists are relative; the root itself.
        groups: which classes are many, medium and few: "mislas", the fixed ranges with which the published
            figures were made; "counts", more than 100, 20 to 100 and fewer than 20 training images. "mislas".
        split_seed: seed of what is held out and kept.
    """

    train: int | None
    val: int | None
    images: str
    groups: Groups
    split_seed: int


class ListsAndLook(Lists, Look, total=False):
    """Both what `Lists` and what `Look` say."""


@dataclass(frozen=True)
class _Layout:
    """The files of one set; without a validation list nothing validates.

    `annotations` are the files of its authors for training and test, read where there is no list.
    """

    folder: str
    train: str
    val: str | None
    test: str
    views: Views
    annotations: tuple[str, ...] = ()


_IMAGENET = _Layout(
    "ImageNet_LT", "ImageNet_LT_train.txt", "ImageNet_LT_val.txt", "ImageNet_LT_test.txt", Views(jitter=0.4)
)
_PLACES = _Layout(
    "Places_LT", "Places_LT_train.txt", "Places_LT_val.txt", "Places_LT_test.txt", Views(jitter=0.4)
)
_INATURALIST = _Layout(
    "iNaturalist18",
    "iNaturalist18_train.txt",
    None,
    "iNaturalist18_val.txt",
    Views(jitter=0.4, mean=(0.466, 0.471, 0.380), std=(0.195, 0.194, 0.192)),
    ("train2018.json", "val2018.json"),
)


@register("imagenet_lt")
def imagenet_lt(root: Path, **options: Unpack[ListsAndLook]) -> FileImageTask:
    """ImageNet-LT: 115,846 photographs in 1,000 classes, 1,280 to 5 each; the 50,000 test images are balanced.

    ImageNet_LT_train.txt, ImageNet_LT_val.txt and ImageNet_LT_test.txt, in the root or in ImageNet_LT, have
    lines "train/<wnid>/<file> <label>" and "val/<wnid>/<file> <label>". The 20,000 images of the validation
    list validate; MiSLAS does without (`val: 0`). The classes are renumbered by falling number of training
    images.

    Args:
        root: where the lists are looked for.
        **options: as in `Lists` and `image_views.Views`. Default: a random resized window of 224 pixels,
            mirrored at random, jitter 0.4; in evaluation the centre of the photograph resized to 256; the
            statistics of ImageNet.

    Liu, Miao, Zhan, Wang, Gong, Yu: "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019.
    """
    return _read(_IMAGENET, root, options)


@register("places_lt")
def places_lt(root: Path, **options: Unpack[ListsAndLook]) -> FileImageTask:
    """Places-LT: 62,500 photographs of 365 kinds of places, 4,980 to 5 each; 36,500 test images, balanced.

    Places_LT_train.txt, Places_LT_val.txt and Places_LT_test.txt, in the root or in Places_LT, have lines
    "data_256/<letter>/<class>/<file> <label>" and "val_256/<file> <label>". The 7,300 images of the validation
    list validate; MiSLAS does without (`val: 0`). The classes are renumbered by falling number of training
    images.

    Args:
        root: where the lists are looked for.
        **options: as for `imagenet_lt`.

    Liu, Miao, Zhan, Wang, Gong, Yu: "Large-Scale Long-Tailed Recognition in an Open World", CVPR 2019.
    """
    return _read(_PLACES, root, options)


@register("inaturalist2018")
def inaturalist2018(root: Path, **options: Unpack[ListsAndLook]) -> FileImageTask:
    """The iNaturalist set of 2018: 437,513 photographs of 8,142 species, 1,000 to 2 each; 24,426 test images.

    iNaturalist18_train.txt and iNaturalist18_val.txt, in the root or in iNaturalist18, have lines
    "train_val2018/<group>/<species>/<file> <label>"; where they are not, train2018.json and val2018.json, as
    published, are read in the root. Nothing validates unless `val` says how many training images do. The
    classes are renumbered by falling number of training images.

    Args:
        root: where the lists are looked for.
        **options: as for `imagenet_lt`; normalised with the set's own statistics.

    Van Horn et al.: "The iNaturalist Species Classification and Detection Dataset", CVPR 2018.
    """
    return _read(_INATURALIST, root, options)


def _read(layout: _Layout, root: Path, options: ListsAndLook) -> FileImageTask:
    look: Look = {key: value for key, value in options.items() if key not in Lists.__annotations__}  # type: ignore[assignment]
    views = with_look(layout.views, look)
    pictures = root / options.get("images", ".")
    listed = any((root / name / layout.train).is_file() for name in (".", layout.folder))
    if not listed and layout.annotations and all((root / name).is_file() for name in layout.annotations):
        folder = root
        training, test = (read_annotations(root / name, pictures, views) for name in layout.annotations)
    else:
        otherwise = f", or put {' and '.join(layout.annotations)} into it" if layout.annotations else ""
        folder = find_folder(root, (".", layout.folder), layout.train, otherwise)
        training, test = (read_list(folder / name, pictures, views) for name in (layout.train, layout.test))
    if shared := training.shared(test):
        raise InputError(
            f"{len(shared):,} images of {folder.resolve()} would both train and test, {shared[0]} for example: "
            "take them out of one of the two."
        )
    seed, val = options.get("split_seed", 1), options.get("val")
    if layout.val is not None and (folder / layout.val).is_file() and val != 0:
        validation = thinned(read_list(folder / layout.val, pictures, views), val, seed)
        note = f"the {len(validation):,} images of {layout.val} validate"
    else:
        training, validation = held_out(training, val or 0, seed)
        note = f"{len(validation):,} training images validate" if val else "no validation images"
    training = thinned(training, options.get("train"), seed)
    classes = 1 + max(int(part.targets.max()) for part in (training, validation, test) if len(part))
    names = _class_names(training, classes)
    rank = class_map_by_count(training.targets, classes)
    for part in (training, validation, test):
        part.targets = rank[part.targets]
    counts = training.targets.bincount(minlength=classes)
    return FileImageTask(
        training,
        validation,
        test,
        [names[label] for label in rank.argsort().tolist()],
        groups=options.get("groups", "mislas"),
        note=f"long-tailed, {int(counts[0]):,} to {int(counts[-1]):,} images a class; {note}",
    )


def read_list(path: Path, images: Path, views: Views) -> FileImageSet:
    """Return the images of a file with lines "path label".

    Raises:
        InputError: no such file, a line that is none, or a first image that is not there.
    """
    if not path.is_file():
        raise InputError(
            f"{path.parent.resolve()} lacks {path.name}, a list with a path and a label in each line."
        )
    names, labels = [], []
    for number, line in enumerate(lines_of(path), start=1):
        if line.strip():
            name, _, label = line.strip().rpartition(" ")
            if not name or not label.isdecimal():
                raise InputError(f"Line {number} of {path} is {line!r}, but a path and a label were expected.")
            names.append(name.strip())
            labels.append(int(label))
    if not names:
        raise InputError(f"{path} names no image: expected a path and a label in each line.")
    return _named(path, names, labels, images, views)


def read_annotations(path: Path, images: Path, views: Views) -> FileImageSet:
    """Return the images of a JSON file with "images" (id, file_name) and "annotations" (image_id, category_id).

    Raises:
        InputError: a file that holds no such thing, or a first image that is not there.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        label = {int(one["image_id"]): int(one["category_id"]) for one in found["annotations"]}
        named = {str(one["file_name"]): label[int(one["id"])] for one in found["images"]}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is damaged ({error!r}): images with id and file_name, and annotations with image_id and "
            "category_id, were expected; fetch it again."
        ) from None
    if not named:
        raise InputError(f"{path} names no image; fetch it again.")
    return _named(path, list(named), list(named.values()), images, views)


def _named(path: Path, names: list[str], labels: list[int], images: Path, views: Views) -> FileImageSet:
    if not (images / names[0]).is_file():
        raise InputError(
            f"The first image of {path.name} was looked for in {images.resolve()}, which has no {names[0]}; "
            "set data.args.images to the folder that holds it."
        )
    return FileImageSet(images, names, torch.tensor(labels), views)


def _class_names(images: FileImageSet, classes: int) -> list[str]:
    """Return what the folder of the first image of each class is called; the whole path where two are alike."""
    folders: dict[int, str] = {}
    for position, label in enumerate(images.targets.tolist()):
        if label not in folders:
            folders[label] = os.path.relpath(images.path(position).parent, images.root)
    last = [Path(folder).name for folder in folders.values()]
    short = len(set(last)) == len(last)
    known = {label: Path(folder).name if short else folder for label, folder in folders.items()}
    return [known.get(label, str(label)) for label in range(classes)]
