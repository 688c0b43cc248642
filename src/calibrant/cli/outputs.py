"""Where a command may write."""

from collections.abc import Iterable
from pathlib import Path

from calibrant.errors import InputError


def refuse_overwriting(out: str | Path, read: Iterable[str | Path]) -> None:
    """Raise `InputError` where `--out` names a file that the command reads.

    Example:
        >>> refuse_overwriting("page.html", ["a.npz", "b.npz"])
    """
    if Path(out).resolve() in [Path(path).resolve() for path in read]:
        raise InputError(f"--out names {out}, which is read: choose another file.")
