"""`calibrant run RECIPE`."""

from pathlib import Path
from typing import Any

from rich.console import Console

from calibrant.cli.display import StepProgress, show
from calibrant.training.processes import is_first
from calibrant.training.recipe_files import folder_of, load_recipe


def execute(options: dict[str, Any]) -> None:
    """Train one recipe and print its metrics."""
    name, folder = options.pop("recipe"), options.pop("folder", None)
    recipe = load_recipe(name, options)
    target = Path(folder) if folder else folder_of(recipe, Path("runs"))

    from calibrant.compare.table import tabulate
    from calibrant.training.runner import run

    # Of several processes that train together, one speaks.
    first = is_first(recipe.trainer.devices)
    console = Console(quiet=not first)
    with StepProgress(console, recipe.epochs) as progress:
        finished = run(recipe, target, listener=progress.note)
    if not first:
        return
    show(console, tabulate([finished]))
    console.print(f"The run is in {target}.", highlight=False, soft_wrap=True, markup=False)
