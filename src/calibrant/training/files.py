"""Files that are either whole or absent: each is written under another name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO, cast

from calibrant.errors import InputError

_UNFINISHED = ".unfinished"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there becomes `path` if the block succeeds.

    Raises:
        InputError: `path` is a folder.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "note.txt"
        >>> with replacing(target) as temporary:
        ...     _ = temporary.write_text("done")
        >>> target.read_text()
        'done'
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    made = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_UNFINISHED}")
    try:
        # Where nothing can be written, Python says so more plainly than what writes.
        temporary.touch()
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        if made and not any(path.parent.iterdir()):
            path.parent.rmdir()


def remove_unfinished(folder: Path) -> None:
    """Delete what killed processes were writing in a folder and below; no other may be writing there."""
    for path in folder.rglob(f".*{_UNFINISHED}"):
        path.unlink(missing_ok=True)


def opened_table(path: Path, mode: Literal["r", "w"] = "r") -> TextIO:
    """Open a CSV file; names of files that are no UTF-8, which a disk may hold, come back as they were."""
    return cast(TextIO, path.open(mode, newline="", encoding="utf-8", errors="surrogateescape"))


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
