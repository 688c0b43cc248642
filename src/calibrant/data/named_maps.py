"""The test sets of salient and camouflaged objects, as they are distributed: by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrant.data.map_set import LAYOUTS, MapSet, read_pairs
from calibrant.data.pair_set import GIB
from calibrant.errors import InputError


@dataclass(frozen=True)
class NamedSet:
    """A set as its authors pack it.

    Attributes:
        title: what it is, and how many images.
        layouts: folders of images and of maps, within the folder of the set.
        only: how the names of the images that count begin.
    """

    title: str
    layouts: tuple[tuple[str, str], ...] = ()
    only: str = ""


#: Maps of several levels, as those of PASCAL-S, are left as they are; half and more counts as object.
NAMED: dict[str, NamedSet] = {
    "DUTS-TE": NamedSet("5,019 photographs; Wang et al., CVPR 2017"),
    "DUT-OMRON": NamedSet(
        "5,168 photographs; Yang et al., CVPR 2013", (("DUT-OMRON-image", "pixelwiseGT-new-PNG"),)
    ),
    "PASCAL-S": NamedSet(
        "850 photographs; Li et al., CVPR 2014",
        (("imgs/pascal", "masks/pascal"), ("datasets/imgs/pascal", "datasets/masks/pascal")),
    ),
    "SOD": NamedSet("300 photographs; Movahedi, Elder, CVPR workshops 2010"),
    "ECSSD": NamedSet("1,000 photographs; Yan et al., CVPR 2013", (("images", "ground_truth_mask"),)),
    "HKU-IS": NamedSet("4,447 photographs; Li, Yu, CVPR 2015"),
    "COD10K": NamedSet(
        "2,026 photographs with camouflaged objects; Fan et al., CVPR 2020",
        (("Test/Image", "Test/GT_Object"), ("Image", "GT_Object")),
        only="COD10K-CAM",
    ),
}
#: What else the folder of a set is called.
_ALIASES = {"COD10K": ("COD10K-v3",)}


def read_named(root: Path, name: str, size: int, *, keep: float = 2 * GIB, binarise: bool = False) -> MapSet:
    """Read a set by its name, or that of its folder, from `root`, `root`/Test or `root`/TestDataset.

    Args:
        root: folder around it.
        name: one of `NAMED`; or the name of any other folder with images and maps.
        size: side of the network's input, in pixels.
        keep: as in `MapSet`.
        binarise: as in `MapSet`.

    Raises:
        InputError: it is not there, naming every folder that was looked in and what was expected.
    """
    known = NAMED.get(name)
    places, layouts = _candidates(root, name)
    found = _find(places, layouts)
    if found is None:
        looked = " or ".join(str(place.resolve()) for place in places)
        expected = ", ".join(f"{image} and {label}" for image, label in _named(layouts, name))
        raise InputError(
            f"{name}{f' ({known.title})' if known else ''} was looked for in {looked}, where two folders were "
            f"expected: {expected}; set data.root to the folder around it."
        )
    images = read_pairs(*found, size, keep=keep, binarise=binarise)
    if known and known.only and any(one.startswith(known.only) for one in images.names):
        images = images.subset(i for i, one in enumerate(images.names) if one.startswith(known.only))
    return images


def named_below(root: Path) -> list[str]:
    """Return which sets of `NAMED` are in `root`, `root`/Test or `root`/TestDataset."""
    return [name for name in NAMED if _find(*_candidates(root, name)) is not None]


_ABOVE = ("Test", "TestDataset")


def _candidates(root: Path, name: str) -> tuple[list[Path], list[tuple[str, str]]]:
    """Return the folders in which a set may be, and the folders of images and of maps that it may have."""
    places = [root / above / called for called in (name, *_ALIASES.get(name, ())) for above in (".", *_ABOVE)]
    return places, [*(NAMED[name].layouts if name in NAMED else ()), *LAYOUTS]


def _named(layouts: Sequence[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    return [(image.replace("NAME", name), label.replace("NAME", name)) for image, label in layouts]


def _find(places: Sequence[Path], layouts: Sequence[tuple[str, str]]) -> tuple[Path, Path] | None:
    for place in places:
        for image, label in _named(layouts, place.name):
            if (place / image).is_dir() and (place / label).is_dir():
                return place / image, place / label
    return None
