"""Caltech-UCSD Birds, 200 kinds of them."""

from pathlib import Path
from typing import Literal, Unpack

import torch

from calibrant.data.folders import find_folder, with_look
from calibrant.data.image_files import FileImageSet, FileImageTask, held_out, thinned
from calibrant.data.image_views import Look, Views
from calibrant.data.lists import lines_of
from calibrant.data.registry import register
from calibrant.errors import InputError

#: Training images that validate: about three of the thirty of each class.
VAL = 600
_VIEWS = Views(crop="plain")


@register("cub200")
def cub200(
    root: Path,
    train: int | None = None,
    val: int | None = None,
    validate_on: Literal["train", "test"] = "train",
    split_seed: int = 1,
    **look: Unpack[Look],
) -> FileImageTask:
    """CUB-200-2011: 11,788 photographs of 200 kinds of birds, 5,994 of them for training.

    Looked for in CUB_200_2011, or in the folder itself: images.txt, image_class_labels.txt,
    train_test_split.txt, classes.txt, and the folder images.

    Args:
        root: where it is looked for.
        train: number of training images kept, of each class its share; None for all that do not validate.
        val: number of validation images, of each class its share; None for 600.
        validate_on: "train" cuts the validation images from the training images; "test" is the published
            protocol, in which the test images validate too: what is chosen and calibrated on them looks better
            than it is.
        split_seed: seed of what is held out and kept.
        **look: changes of `image_views.Views`. Default: resized to 256x256 whatever the shape, a random window
            of 224 pixels, mirrored at random; in evaluation the centre; ImageNet's statistics.

    Wah, Branson, Welinder, Perona, Belongie: "The Caltech-UCSD Birds-200-2011 Dataset", Caltech, 2011.
    """
    if validate_on not in ("train", "test"):
        raise InputError(f"validate_on must be 'train' or 'test', not {validate_on!r}.")
    folder = find_folder(root, ("CUB_200_2011", "."), "images.txt")
    names = _table(folder / "images.txt")
    labels, training = ({key: int(value) for key, value in _table(folder / name).items()} for name in TABLES)
    incomplete = [key for key in names if key not in labels or key not in training]
    if incomplete:
        raise InputError(
            f"{folder / 'images.txt'} names image {incomplete[0]}, which {' or '.join(TABLES)} lacks."
        )
    classes = [name.split(".", 1)[-1].replace("_", " ") for name in _table(folder / "classes.txt").values()]
    outside = [key for key in names if not 1 <= labels[key] <= len(classes)]
    if outside:
        raise InputError(
            f"Image {outside[0]} has the class {labels[outside[0]]} in {folder / TABLES[0]}, but classes.txt "
            f"names 1 to {len(classes)}."
        )
    targets = torch.tensor([labels[key] - 1 for key in names])
    trains = torch.tensor([bool(training[key]) for key in names])
    everything = FileImageSet(folder / "images", list(names.values()), targets, with_look(_VIEWS, look))
    fitting, test = (everything.subset(part.nonzero().flatten()) for part in (trains, ~trains))
    if validate_on == "test":
        validation = thinned(test, val, split_seed)
        note = "the published protocol: the test images validate too"
    else:
        fitting, validation = held_out(fitting, VAL if val is None else val, split_seed)
        note = f"{len(validation):,} of the official training images validate"
    return FileImageTask(thinned(fitting, train, split_seed), validation, test, classes, note=note)


TABLES = ("image_class_labels.txt", "train_test_split.txt")


def _table(path: Path) -> dict[str, str]:
    """Return what stands behind each number in a file of lines "number value"."""
    if not path.is_file():
        raise InputError(f"{path.parent.resolve()} lacks {path.name}, one of the files of CUB-200-2011.")
    rows = [line.split(maxsplit=1) for line in lines_of(path) if line.strip()]
    for row in rows:
        if len(row) != 2 or (path.name in TABLES and not row[1].strip().isdecimal()):
            raise InputError(f"{path} has a line {' '.join(row)!r}, but a number and a value were expected.")
    return {row[0]: row[1].strip() for row in rows}
