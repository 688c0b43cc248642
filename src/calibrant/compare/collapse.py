"""Runs that give every sample the same class."""

from collections.abc import Sequence
from typing import Any


def collapsed(method: str, results: Sequence[dict[str, Any]]) -> str:
    """Return a sentence on the runs of a method that give every test sample the same class; empty if none does.

    Example:
        >>> said = collapsed("acls", [{"seed": 0, "only_class": "cat"}, {"seed": 1, "only_class": None}])
        >>> said.split(",")[0]
        "acls gives every test sample the class 'cat' (seed 0): it tells nothing apart"
    """
    found = [(result["only_class"], result["seed"]) for result in results if result.get("only_class")]
    if not found:
        return ""
    which = ", ".join(f"{name!r} (seed {seed})" for name, seed in found)
    return (
        f"{method} gives every test sample the class {which}: it tells nothing apart, so its ECE is worth "
        "nothing and it is not ranked; a lower learning rate, a longer warm-up or a limit on the gradient may "
        "help."
    )
