"""Files on disk beside the checksums that torchvision publishes of them."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from torchvision.datasets.utils import check_integrity

from calibrant.data.image_set import ImageTask


def compared(task: ImageTask, folder: Path, published: Iterable[tuple[str, str]]) -> ImageTask:
    """Return a task whose note names the files that are not the published ones.

    They are not refused: an archive that was packed again holds the same images in other bytes.

    Args:
        task: what was read.
        folder: of the files.
        published: pairs of a name and its MD5.
    """
    others = [name for name, md5 in published if not check_integrity(folder / name, md5)]
    if not others:
        return task
    said = f"not as published, by their MD5: {', '.join(others)}"
    return replace(task, note=f"{task.note}; {said}" if task.note else said)
