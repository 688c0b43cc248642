"""The one exception for a mistake in what the user gave, and the words for a value or name that is none."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches


class InputError(ValueError):
    """A value that the user gave cannot be used.

    The message is one sentence: which value was wrong, and what would be right. The command line prints it
    without a traceback and exits with status 2.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the remedy for an unknown name: the nearest of the known ones, or all of them.

    Example:
        >>> nearest("mbsl", ["ce", "mbls"])
        "did you mean 'mbls'?"
        >>> nearest("unlike", ["ce", "mbls"])
        'known are ce, mbls.'
        >>> nearest("any", [])
        'there is none.'
    """
    names = list(known)
    near = get_close_matches(name, names, n=1)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known are {', '.join(names)}." if names else "there is none."


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """Raise `InputError` when a setting is none of the values that it can have.

    Example:
        >>> check_choice("reduction", "avg", ("mean", "sum"))
        Traceback (most recent call last):
        ...
        calibrant.errors.InputError: reduction must be 'mean' or 'sum', not 'avg'.
    """
    if value not in choices:
        known = ", ".join(map(repr, choices[:-1]))
        raise InputError(f"{name} must be {known} or {choices[-1]!r}, not {value!r}.")
