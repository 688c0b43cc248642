"""Files that torchvision knows where to fetch."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from shutil import copytree
from tempfile import TemporaryDirectory

from torchvision.datasets.utils import check_integrity, download_url, extract_archive

from calibrant.errors import InputError


@contextmanager
def fetching(title: str, folder: Path) -> Iterator[None]:
    """Raise `InputError` where the block fails to fetch a data set.

    Args:
        title: of the set.
        folder: where its files would go.
    """
    try:
        yield
    # torchvision's word for a file of another checksum is RuntimeError.
    except (OSError, HTTPException, RuntimeError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise InputError(
            f"{title} could not be downloaded ({reason or type(error).__name__}): try again, or put its files "
            f"into {folder.resolve()}."
        ) from None


def fetch(url: str, path: Path, md5: str) -> None:
    """Fetch a file, which has its name only when it is whole.

    Args:
        url: its address.
        path: where it goes.
        md5: its checksum.

    Raises:
        OSError: it cannot be fetched or written.
        RuntimeError: its checksum is another.
    """
    part = path.with_name(f"{path.name}.part")
    download_url(url, part.parent, part.name, md5)
    part.replace(path)


def fetch_archive(title: str, root: Path, url: str, name: str, md5: str) -> None:
    """Fetch an archive, unless it lies there whole; its files go beside it once all are unpacked.

    Args:
        title: of the data set.
        root: where both go.
        url: its address.
        name: of the archive.
        md5: its checksum.

    Raises:
        InputError: it cannot be fetched or unpacked.
    """
    archive = root / name
    with fetching(title, root):
        if not check_integrity(archive, md5):
            fetch(url, archive, md5)
        with TemporaryDirectory(prefix=f".{name}.", dir=root) as unpacked:
            extract_archive(archive, unpacked)
            copytree(unpacked, root, dirs_exist_ok=True, copy_function=os.replace)
