"""The levels that were learned for each image: a table, and pictures from both of its ends."""

import csv
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from PIL.Image import Image
from PIL.Image import open as open_picture

from calibrant.losses.adaptive_perturbation import AdaptiveScBCE
from calibrant.training.files import opened_table, replacing
from calibrant.training.run_folder import RunFolder, reading

if TYPE_CHECKING:
    # A page is made without the trainer that data need.
    from calibrant.data import PairSet

End = Literal["most", "least"]
#: How many images of each end are kept, and the longer side of their pictures, in pixels.
_KEPT, _SIDE = 6, 128


@dataclass(frozen=True)
class Perturbed:
    """An image and what was learned for it.

    Attributes:
        name: of the sample.
        level: how strongly its label is perturbed.
        photograph: the image, small.
        label: its map, likewise.
    """

    name: str
    level: float
    photograph: Image
    label: Image


def write_levels(run: RunFolder, loss: AdaptiveScBCE, images: "PairSet") -> None:
    """Write the level of each training image, the most perturbed first, and the pictures of both ends."""
    levels = loss.levels_table(images.names)
    position = {name: at for at, name in enumerate(images.names)}
    count = min(_KEPT, len(levels))
    for end, shown in (("most", levels[:count]), ("least", levels[::-1][:count])):
        for place, (name, _) in enumerate(shown, 1):
            photograph, label = images.thumbnail(position[name], _SIDE)
            for picture, ending in ((photograph, "jpg"), (label, "png")):
                with replacing(run.levels_path.parent / "levels" / f"{end}-{place}.{ending}") as temporary:
                    picture.save(temporary, format="jpeg" if ending == "jpg" else "png")
    with (
        replacing(run.levels_path) as temporary,
        opened_table(temporary, "w") as file,
    ):
        csv.writer(file).writerows([("name", "level"), *levels])


def read_levels(run: RunFolder) -> dict[str, float]:
    """Return the level of each training image, the most perturbed first; nothing where none was learned."""
    if not run.levels_path.is_file():
        return {}
    with (
        reading(run.levels_path),
        opened_table(run.levels_path) as file,
    ):
        return {row["name"]: float(row["level"]) for row in csv.DictReader(file)}


def read_ends(run: RunFolder) -> dict[End, list[Perturbed]]:
    """Return the most and the least perturbed images of a run, the outermost first."""
    levels = list(read_levels(run).items())
    ends: dict[End, list[tuple[str, float]]] = {"most": levels, "least": levels[::-1]}
    found: dict[End, list[Perturbed]] = {}
    for end, order in ends.items():
        found[end] = []
        for place, (name, level) in enumerate(order[:_KEPT], 1):
            path = run.levels_path.parent / "levels" / f"{end}-{place}.jpg"
            with (
                reading(run.levels_path),
                open_picture(path) as photograph,
                open_picture(path.with_suffix(".png")) as label,
            ):
                found[end].append(Perturbed(name, level, photograph.copy(), label.copy()))
    return found
