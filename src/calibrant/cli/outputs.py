"""Where a command may write."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from calibrant.errors import InputError


def refuse_overwriting(options: dict[str, Any], read: Iterable[str | Path]) -> None:
    """Raise `InputError` where `--out` names a file that the command reads, that of `--label` among them.

    Example:
        >>> refuse_overwriting({"out": "page.html", "label": "labels.npy"}, ["a.npy", "b.npy"])
    """
    files = [*read, *([options["label"]] if "label" in options else [])]
    if Path(options["out"]).resolve() in [Path(path).resolve() for path in files]:
        raise InputError(f"--out names {options['out']}, which is read: choose another file.")
