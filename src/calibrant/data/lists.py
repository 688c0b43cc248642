"""Lists in text files."""

from pathlib import Path

from calibrant.errors import InputError


def lines_of(path: Path) -> list[str]:
    """Return the lines of a file in UTF-8, with or without the mark of it.

    Raises:
        InputError: it is in another code.
    """
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"{path} cannot be read as text in UTF-8 ({error}); convert it.") from None
