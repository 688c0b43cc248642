"""ImageNet-1k, its validation images divided into those that validate and those that test."""

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import torch
from torch import Tensor

from calibrant.data.folders import class_folders, find_folder, images_below, read_split, with_look
from calibrant.data.image_files import FileImageSet, FileImageTask, thinned
from calibrant.data.image_views import Look, Views
from calibrant.data.lists import lines_of
from calibrant.data.registry import register
from calibrant.data.splits import per_class_tail_split
from calibrant.data.wordnet import readable_names
from calibrant.errors import InputError

FOLDERS = ("imagenet", "ILSVRC/Data/CLS-LOC", ".")
LISTS = ("val.txt", "LOC_val_solution.csv")
#: Official validation images of each class that validate; the others test.
PER_CLASS = 10
_VIEWS = Views(jitter=0.4, interpolation="bicubic")


@register("imagenet")
def imagenet(
    root: Path,
    train: int | None = None,
    val: int | None = None,
    val_list: str | None = None,
    val_indices: str | None = None,
    split_seed: int = 1,
    **look: Unpack[Look],
) -> FileImageTask:
    """ImageNet-1k: 1,281,167 photographs in 1,000 classes; its 50,000 validation images validate and test.

    Looked for in imagenet, in ILSVRC/Data/CLS-LOC, and in the folder itself: train with a folder for each
    WordNet number, and val with such folders too, or flat with a list val.txt (file name and class, by number
    from 0 or by WordNet number) or LOC_val_solution.csv in `root` or beside train. torchvision's `ImageNet`
    unpacks the archives of the official site into folders; they cannot be downloaded freely.

    Of the 50 official validation images of each class 10 validate and 40 test.

    Args:
        root: where it is looked for.
        train: number of training images kept, of each class its share; None for all.
        val: number of validation images, as many of each class; None for 10 of each.
        val_list: path, from `root`, of the list of a flat folder val; None for the two above.
        val_indices: path, from `root`, of a file with one number a line, of the images that validate: positions
            in the official validation images sorted by class and file name, as the published code lists them.
            None draws them by `split_seed`, in the way of the published split of Tiny-ImageNet.
        split_seed: seed of the division and of what is kept.
        **look: changes of `image_views.Views`. Default: a random resized window of 224 pixels, mirrored at
            random, jitter 0.4; in evaluation the centre of the photograph resized to 256; bicubic; ImageNet's
            statistics.

    Russakovsky et al.: "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015. The sizes of the
    division are those of Liu, Rony, Galdran, Dolz, Ben Ayed: "Class Adaptive Network Calibration", CVPR 2023.
    """
    folder = find_folder(root, FOLDERS, "train")
    if not (folder / "val").is_dir():
        raise InputError(
            f"ImageNet's validation images were looked for in {folder.resolve()}, where a folder val was "
            "expected."
        )
    views = with_look(_VIEWS, look)
    classes = class_folders(folder / "train")
    official = _official(_Where(root, folder, val_list), classes, views)
    chosen, rest = _divide(official, root, val, val_indices, split_seed, len(classes))
    names = readable_names(classes, root / "LOC_synset_mapping.txt", folder / "words.txt")
    return FileImageTask(
        thinned(read_split(folder / "train", classes, views, each=True), train, split_seed),
        official.subset(chosen),
        official.subset(rest),
        names,
        note=f"{len(chosen):,} of the {len(official):,} official validation images validate, the others test",
    )


@dataclass(frozen=True)
class _Where:
    """Where the list of a flat folder may be."""

    root: Path
    folder: Path
    given: str | None

    def find(self) -> Path:
        places = [self.root / self.given] if self.given else []
        places += [at / name for at in (self.root, self.folder) for name in LISTS] if not self.given else []
        for place in places:
            if place.is_file():
                return place
        raise InputError(
            f"{self.folder / 'val'} has no folder for each class, and there is no list of the classes of its "
            f"images: {' or '.join(str(place) for place in dict.fromkeys(places))} was expected."
        )


def _official(where: _Where, classes: list[str], views: Views) -> FileImageSet:
    """Return the official validation images, sorted by class and name."""
    folder = where.folder / "val"
    if any((folder / name).is_dir() for name in classes):
        return read_split(folder, classes, views)
    known = _read_labels(where.find(), classes)
    names = [name.removeprefix("./") for name in images_below(folder, ".")]
    missing = [name for name in names if name not in known]
    if missing or not names:
        what = f"{missing[0]}, which the list does not name" if missing else "no image"
        raise InputError(f"{folder} holds {what}: fetch ImageNet's validation images and their list again.")
    names.sort(key=lambda name: (known[name], name))
    return FileImageSet(folder, names, torch.tensor([known[name] for name in names]), views)


def _read_labels(path: Path, classes: list[str]) -> dict[str, int]:
    """Return the label of each file that a list names."""
    numbers = {name: label for label, name in enumerate(classes)}
    labels: dict[str, int] = {}
    table = path.suffix == ".csv"
    for number, line in enumerate(lines_of(path), start=1):
        # Behind the class of a row of the table stands a box: "ILSVRC2012_val_00048981,n03995372 85 1 499 272".
        row = line.replace(",", " ").split()[:2] if table else line.split()
        if not row or (table and number == 1):
            continue
        said = row[1] if len(row) == 2 else ""
        label = int(said) if said.isdecimal() else numbers.get(said, -1)
        if not 0 <= label < len(classes):
            raise InputError(
                f"Line {number} of {path} is {line!r}, but a file name and one of the {len(classes)} classes "
                "were expected."
            )
        labels[f"{row[0]}.JPEG" if table else row[0]] = label
    return labels


def _divide(
    official: FileImageSet, root: Path, val: int | None, indices: str | None, seed: int, classes: int
) -> tuple[Tensor, Tensor]:
    """Return the positions that validate and those that test."""
    if indices is not None:
        return _listed(root / indices, len(official))
    each, rest = divmod(PER_CLASS * classes if val is None else val, classes)
    if rest or each < 0:
        raise InputError(f"data.val must be a multiple of the {classes} classes, not {val}.")
    testing, validation = per_class_tail_split(official.targets, each, seed=seed)
    return validation.sort().values, testing.sort().values


def _listed(path: Path, count: int) -> tuple[Tensor, Tensor]:
    if not path.is_file():
        raise InputError(f"There is no list of validation images {path.resolve()}: expected one number a line.")
    said = path.read_text().split()
    if not all(number.isdecimal() and int(number) < count for number in said) or len(set(said)) < len(said):
        raise InputError(f"{path} must hold different numbers from 0 to {count - 1}, one a line.")
    chosen = torch.zeros(count, dtype=torch.bool)
    chosen[torch.tensor([int(number) for number in said], dtype=torch.int64)] = True
    return chosen.nonzero().flatten(), (~chosen).nonzero().flatten()
