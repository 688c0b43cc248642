"""Data sets by name."""

import inspect
from pathlib import Path
from typing import Any

from calibrant.errors import InputError
from calibrant.registry import Registry

#: Of functions that return an `ImageTask`; a `FileImageTask`, whose images stay on disk; a `DenseTask`, where
#: every pixel has a label; or a `TextTask`.
DATASETS: Registry[Any] = Registry("data set", "calibrant.data")
register = DATASETS.register


def create(
    name: str,
    /,
    *,
    root: str | Path = "data",
    download: bool = False,
    train: int | None = None,
    val: int | None = None,
    imbalance: float | None = None,
    split_seed: int = 1,
    tokenizer: str | None = None,
    **options: Any,
) -> Any:
    """Read a data set by its name.

    Args:
        name: one of `list_data()`.
        root: folder that holds the data sets on disk.
        download: fetch what is missing, through torchvision or scikit-learn; a set that lies in files and that
            neither can fetch whole is refused.
        train: number of training samples kept; None for all.
        val: number of validation samples; None for the data set's own number.
        imbalance: images of the largest class over those of the smallest, of the long-tailed sets; None for the
            data set's own number.
        split_seed: seed of the division.
        tokenizer: folder of the tokenizer of the network, which texts are cut by.
        **options: the data set's own arguments.

    Raises:
        InputError: no such data set or option, or files that are missing.

    Example:
        >>> task = create("digits", train=100)
        >>> len(task.train), len(task.val), len(task.test)
        (100, 400, 1197)
    """
    given = {"train": train, "val": val, "imbalance": imbalance}
    folder = Path(root).expanduser()
    if download:
        _refuse_download(name, folder)
    return DATASETS.create(
        name,
        {
            "root": folder,
            "download": download,
            "split_seed": split_seed,
            "tokenizer": tokenizer,
        },
        **{key: value for key, value in given.items() if value is not None},
        **options,
    )


def _refuse_download(name: str, folder: Path) -> None:
    taken = inspect.signature(DATASETS.get(name)).parameters
    if "root" in taken and "download" not in taken:
        raise InputError(
            f"The data set {name!r} is not fetched from anywhere: put its files into data.root, "
            f"{folder.resolve()}, and leave data.download out."
        )


def list_data() -> list[str]:
    """Return the names of all data sets, those of other packages included."""
    return DATASETS.names()
