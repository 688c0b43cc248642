"""What is compared: losses with options, each with every seed."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from calibrant.errors import InputError
from calibrant.registry import parse_named
from calibrant.training.recipe import DecoupleConfig, Recipe
from calibrant.training.recipe_files import difference, folder_of, load_recipe, merge, to_yaml
from calibrant.training.run_folder import RunFolder

Planned = tuple[Recipe, Path]


def parse_loss(text: str) -> dict[str, Any]:
    """Read "name" or "name:option=value,option=value" as the tree of a recipe's loss.

    Raises:
        InputError: an option without a value, or with one that cannot be read.

    Example:
        >>> parse_loss("mbls:margin=6,class_reduction=sum")
        {'name': 'mbls', 'args': {'margin': 6, 'class_reduction': 'sum'}}
        >>> parse_loss("ce")
        {'name': 'ce'}
    """
    name, options = parse_named(text, "loss", "mbls:margin=6,alpha=0.1")
    return {"name": name, "args": options} if options else {"name": name}


def plan(
    names: Sequence[str],
    overrides: Mapping[str, Any],
    *,
    losses: list[str] | None = None,
    seeds: list[int] | None = None,
    root: Path = Path("runs"),
) -> list[Planned]:
    """Return every run of a comparison with its folder, one seed of all methods after the other.

    Args:
        names: the recipes. One of them stands for every loss that it lists, several for their own losses.
        overrides: fields of them to set.
        losses: the losses, as `parse_loss` reads them, instead; of the second stage where there is one.
        seeds: the seeds; None for those of the first recipe.
        root: folder of all runs.

    Example:
        >>> [str(folder) for _, folder in plan(["digits"], {}, losses=["ce", "mbls:margin=4"], seeds=[0])]
        ['runs/digits/ce/seed0', 'runs/digits/mbls-margin=4/seed0']
    """
    bases = {name: load_recipe(name, overrides) for name in names}
    runs: dict[Path, Recipe] = {}
    for seed in seeds or bases[names[0]].seeds:
        for name, base in bases.items():
            listed = losses or (list(base.losses) if len(bases) == 1 else [])
            stage = "train" if base.decouple.method == "none" else "decouple"
            settings: list[dict[str, Any]] = [{stage: {"loss": parse_loss(loss)}} for loss in listed] or [{}]
            for setting in settings:
                recipe = load_recipe(name, merge(merge(overrides, setting), {"seed": seed}))
                folder = folder_of(recipe, root)
                if runs.setdefault(folder, recipe) != recipe:
                    raise InputError(
                        f"Two recipes called {recipe.name!r} would both be kept in {folder}; rename a file."
                    )
    return [(recipe, folder) for folder, recipe in runs.items()]


def home_of(names: Sequence[str]) -> str:
    """Return the folder, below that of all runs, of what a comparison of recipes writes.

    Example:
        >>> home_of(["cifar10/mbls"]), home_of(["cifar10_lt/crt", "cifar10_lt/lws"]), home_of(["a", "b"])
        ('cifar10-mbls', 'cifar10_lt', 'comparison')
    """
    if len(set(names)) == 1:
        return names[0].replace("/", "-")
    return os.path.commonpath([os.path.dirname(name) for name in names]).replace("/", "-") or "comparison"


def share_first_stages(runs: Sequence[Planned], root: Path) -> list[list[Planned]]:
    """Let the runs that have the same first stage take it from one run.

    That run is one of the comparison itself where there is one, and else a run of its own, of a recipe called
    `RECIPE/first-stage`, which is not in the table. A run that has begun goes on with the first stage it has.

    Returns:
        two lists: what must be finished first, and what starts from it.
    """
    known = {folder: recipe for recipe, folder in runs}
    alone = {_first_stage(recipe): folder for recipe, folder in runs if recipe.decouple.method == "none"}
    first: dict[Path, Recipe] = {}
    rest: list[Planned] = []
    for recipe, folder in runs:
        if recipe.decouple.method == "none" or recipe.decouple.from_run:
            rest.append((recipe, folder))
            continue
        begun = _begun(recipe, folder)
        if begun is None:
            key = _first_stage(recipe)
            if key not in alone:
                own = replace(recipe, name=f"{recipe.name}/first-stage", decouple=DecoupleConfig())
                alone[key] = folder_of(own, root)
                known[alone[key]] = own
            begun = _starting_from(str(alone[key]), recipe)
        rest.append((begun, folder))
        if begun.decouple.from_run:
            source = RunFolder(begun.decouple.from_run)
            if source.path not in known and source.recipe_path.is_file():
                known[source.path] = load_recipe(str(source.recipe_path))
            if source.path in known:
                first[source.path] = known[source.path]
    return [
        [(recipe, folder) for folder, recipe in first.items()],
        [(recipe, folder) for recipe, folder in rest if folder not in first],
    ]


def _first_stage(recipe: Recipe) -> str:
    """Return everything on which the first stage of a recipe depends, as text."""
    return to_yaml(replace(recipe, name="", decouple=DecoupleConfig(), losses={}, seeds=[], posthoc=[]))


def _begun(recipe: Recipe, folder: Path) -> Recipe | None:
    """Return a recipe with the first stage that its run took when it began; None where it has not begun."""
    target = RunFolder(folder)
    if not target.recipe_path.is_file():
        return None
    begun = _starting_from(load_recipe(str(target.recipe_path)).decouple.from_run, recipe)
    return None if difference(target.recipe_text(), begun) else begun


def _starting_from(source: str | None, recipe: Recipe) -> Recipe:
    return replace(recipe, decouple=replace(recipe.decouple, from_run=source))
