"""What the methods of a comparison are called."""

import os
from collections.abc import Mapping, Sequence
from typing import Any


def method_names(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the name of the method of each result.

    The loss, where all are of one recipe. Of several recipes: what tells them apart, with the loss where
    one of them was run with several.

    Example:
        >>> method_names([{"recipe": "digits", "method": "ce"}, {"recipe": "digits", "method": "mbls"}])
        ['ce', 'mbls']
        >>> method_names([{"recipe": "lt/ce", "method": "ce"}, {"recipe": "lt/crt", "method": "ce"}])
        ['ce', 'crt']
    """
    recipes = list(dict.fromkeys(str(result["recipe"]) for result in results))
    if len(recipes) == 1:
        return [str(result["method"]) for result in results]
    shared = os.path.commonpath([os.path.dirname(recipe) for recipe in recipes])
    several = {
        recipe: len({result["method"] for result in results if result["recipe"] == recipe}) > 1
        for recipe in recipes
    }
    names = []
    for result in results:
        recipe = str(result["recipe"])
        name = os.path.relpath(recipe, shared) if shared else recipe
        names.append(f"{name} {result['method']}" if several[recipe] else name)
    return names
