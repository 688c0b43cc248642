"""What is compared: losses with options, each with every seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from calibrant.errors import InputError
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import folder_of, load_recipe, merge


def parse_loss(text: str) -> dict[str, Any]:
    """Read "name" or "name:option=value,option=value" as the tree of a recipe's loss.

    Raises:
        InputError: an option without a value.

    Example:
        >>> parse_loss("mbls:margin=6,class_reduction=sum")
        {'name': 'mbls', 'args': {'margin': 6, 'class_reduction': 'sum'}}
        >>> parse_loss("ce")
        {'name': 'ce'}
    """
    name, colon, rest = text.partition(":")
    if not colon:
        return {"name": name}
    options = {}
    for pair in rest.split(","):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise InputError(f"The loss {text!r} has no value for {key!r}; write mbls:margin=6,alpha=0.1.")
        options[key.strip()] = yaml.safe_load(value)
    return {"name": name, "args": options}


def plan(
    name: str,
    overrides: Mapping[str, Any],
    *,
    losses: list[str] | None = None,
    seeds: list[int] | None = None,
    root: Path = Path("runs"),
) -> list[tuple[Recipe, Path]]:
    """Return every run of a comparison with its folder, one seed of all methods after the other.

    Args:
        name: the recipe.
        overrides: fields of it to set.
        losses: the losses, as `parse_loss` reads them; None for those that the recipe names, or else its own.
        seeds: the seeds; None for the recipe's.
        root: folder of all runs.

    Example:
        >>> [str(folder) for _, folder in plan("digits", {}, losses=["ce", "mbls:margin=4"], seeds=[0])]
        ['runs/digits/ce/seed0', 'runs/digits/mbls-margin=4/seed0']
    """
    base = load_recipe(name, overrides)
    chosen = losses or list(base.losses) or [base.train.loss.name]
    runs: dict[Path, Recipe] = {}
    for seed in seeds or base.seeds:
        for loss in chosen:
            setting = {"train": {"loss": parse_loss(loss)}, "seed": seed}
            recipe = load_recipe(name, merge(overrides, setting))
            runs[folder_of(recipe, root)] = recipe
    return [(recipe, folder) for folder, recipe in runs.items()]
