"""The one exception for a mistake in what the user gave, and the words for a name that is unknown."""

from collections.abc import Iterable
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
