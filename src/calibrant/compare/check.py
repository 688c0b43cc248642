"""What can be known to fail before anything is trained."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from calibrant.training.recipe import Recipe
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import build, describe_data, read_data, refuse_other


def refuse_others(runs: Sequence[tuple[Recipe, Path]]) -> None:
    """Raise `InputError` if a folder holds a run, finished or not, of another recipe."""
    for recipe, folder in runs:
        refuse_other(RunFolder(folder), recipe)


def check(runs: Sequence[tuple[Recipe, Path]]) -> dict[str, Any]:
    """Build the data, the network and the loss of each method once; return the description of the data.

    Raises:
        InputError: one of them cannot be built.
    """
    first = runs[0][0]
    images = read_data(first)
    for recipe in {recipe.method: recipe for recipe, _ in runs}.values():
        build(recipe, images)
    return describe_data(first, images)
