"""The data of every shipped recipe, in miniatures of its files, read as a run reads them."""

import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from calibrant.data import Data
from calibrant.training.recipe import Recipe
from calibrant.training.runner import read_data
from tests.data import test_cifar as cifar
from tests.data.photos import write_folders
from tests.data.test_image_layouts import write_cub, write_imagenet, write_tiny, write_val_txt
from tests.data.test_label_maps import SMALL, write_voc
from tests.data.test_list_files import write_lists
from tests.data.test_saliency import write as write_pairs
from tests.data.test_small_images import write_svhn
from tests.data.texts import write_texts

#: Options of photographs: what a file holds is shrunk before a network sees it.
FEW_PIXELS = {"size": 8, "resize": 10}


def write_photographs(folder: Path) -> None:
    """Write two classes of photographs, a folder each."""
    write_folders(folder / "train", [8, 6], ["cat", "dog"])
    write_folders(folder / "val", [2, 2], ["cat", "dog"], seed=500)


def write_cifar10(folder: Path) -> None:
    """Write 2,000 images, of which a tail of 1 in 100 can be cut when some validate."""
    cifar.write_binary10(folder, each=400)


def write_cifar100(folder: Path) -> None:
    """Write 10,000 images, of which a tail of 1 in 100 can be cut."""
    cifar.write_binary100(folder, each=2000)


def write_all_of_imagenet(folder: Path) -> None:
    """Write the photographs and the list of those that validate."""
    write_val_txt(folder / "val.txt", write_imagenet(folder, each=11))


def write_duts(folder: Path) -> None:
    """Write photographs with maps, as the authors pack them."""
    write_pairs(folder / "DUTS-TR", 24, layout=("DUTS-TR-Image", "DUTS-TR-Mask"))
    write_pairs(folder / "DUTS-TE", 3, layout=("DUTS-TE-Image", "DUTS-TE-Mask"))
    (folder / "DUTS-TR-Train.txt").write_text("".join(f"a{i}\n" for i in range(20)))
    (folder / "DUTS-TR-Validation.txt").write_text("".join(f"a{i}\n" for i in range(20, 24)))


#: What writes a data set into a folder, its options, and the validation samples in place of those asked for.
MINIATURES: dict[str, tuple[Callable[[Path], object], dict[str, object], int]] = {
    "digits": (lambda folder: None, {}, 400),
    "cifar10": (write_cifar10, {}, 100),
    "cifar10_lt": (write_cifar10, {}, 100),
    "cifar100": (write_cifar100, {}, 100),
    "cifar100_lt": (write_cifar100, {}, 100),
    "svhn": (write_svhn, {}, 4),
    "tiny_imagenet": (lambda folder: write_tiny(folder, each=54), {}, 0),
    "image_folder": (write_photographs, FEW_PIXELS, 0),
    "imagenet": (write_all_of_imagenet, FEW_PIXELS, 0),
    "cub200": (write_cub, {**FEW_PIXELS, "val": 2}, 0),
    "imagenet_lt": (write_lists, FEW_PIXELS, 0),
    "places_lt": (write_lists, FEW_PIXELS, 0),
    "inaturalist2018": (write_lists, {**FEW_PIXELS, "images": "pictures"}, 0),
    "voc": (lambda folder: write_voc(folder, train=20), {**SMALL}, 2),
    "duts": (write_duts, {"size": 16}, 0),
    "newsgroups": (write_texts, {}, 12),
    "text_table": (write_texts, {}, 12),
}


@cache
def written(name: str) -> Path:
    """Return a folder with the miniature of a data set."""
    folder = Path(tempfile.mkdtemp())
    MINIATURES[name][0](folder)
    return folder


def read_miniature(recipe: Recipe) -> Data:
    """Let a recipe read the miniature of its data."""
    _, options, val = MINIATURES[recipe.data.name]
    recipe.data.root, recipe.data.workers = str(written(recipe.data.name)), 0
    recipe.data.args = recipe.data.args | options
    if recipe.data.val is not None:
        recipe.data.val = val
    return read_data(recipe)
