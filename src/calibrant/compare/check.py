"""What can be known to fail before anything is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrant.errors import InputError
from calibrant.training.recipe import Recipe
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import describe_data, read_data, refuse_other
from calibrant.training.stages import build, build_second


def refuse_others(runs: Sequence[tuple[Recipe, Path]]) -> None:
    """Raise `InputError` if a folder holds a run, finished or not, of another recipe."""
    for recipe, folder in runs:
        refuse_other(RunFolder(folder), recipe)


def refuse_other_data(runs: Sequence[tuple[Recipe, Path]]) -> None:
    """Raise `InputError` where the data are not the same for all."""
    first = runs[0][0]
    for recipe, _ in runs:
        if recipe.data != first.data:
            raise InputError(
                f"{first.name} and {recipe.name} are of different data ({first.data.name} and "
                f"{recipe.data.name}, or other sizes): compare recipes of the same data."
            )


def check(runs: Sequence[tuple[Recipe, Path]]) -> dict[str, Any]:
    """Build the data, the network and the loss of each method once; return the description of the data.

    Raises:
        InputError: one of them cannot be built, or the data are not the same for all.
    """
    first = runs[0][0]
    refuse_other_data(runs)
    images = read_data(first)
    for recipe in {(recipe.name, recipe.method): recipe for recipe, _ in runs}.values():
        if recipe.trainer.devices > 1:
            raise InputError(
                f"trainer.devices is {recipe.trainer.devices}, but a comparison runs each method on one: "
                "leave it at 1, or use calibrant run."
            )
        module = build(recipe, images)
        if recipe.decouple.method != "none":
            build_second(recipe, images, module.network)
    return describe_data(first, images)
