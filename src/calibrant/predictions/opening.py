"""Which reader a path needs, by its suffix or by what a folder holds."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from calibrant.errors import InputError
from calibrant.metrics.rows import Inputs
from calibrant.predictions.arrays import open_npy, open_npz, open_safetensors
from calibrant.predictions.file import PredictionFile
from calibrant.predictions.maps import open_maps
from calibrant.predictions.naming import Asked, kind_of
from calibrant.predictions.tables import open_table

Opener = Callable[[Path, Asked], PredictionFile]
OPENERS: dict[str, Opener] = {
    ".npz": open_npz,
    ".npy": open_npy,
    ".safetensors": open_safetensors,
    ".csv": open_table,
    ".tsv": open_table,
    ".tab": open_table,
    ".parquet": open_table,
    ".pq": open_table,
}


def open_predictions(
    path: str | Path,
    inputs: Inputs | None = None,
    *,
    columns: Sequence[str] | None = None,
    label: str | None = None,
    ignore_index: int | Iterable[int] | None = None,
    unlabelled: bool = False,
) -> PredictionFile:
    r"""Open predictions of any kind; their head is read, and their names decide what they are.

    ================================== ===============================================================
    `.npz`                             an array of values, one of labels, perhaps one of `class_names`
    `.npy`                             values; the labels lie beside it (`targets.npy`) or are `label`
    `.safetensors`                     as npz; the metadata may hold `class_names`
    `.csv`, `.tsv`, `.parquet`         a column for each class, or that of class 1 of two; one of labels
    folder of npy files                `probs.npy` or `logits.npy`, and `targets.npy`
    folder of folders                  maps in `probs` or `logits`, their labels in `targets`, `masks`, `gt`
    folder of a run                    its `predictions/test.safetensors`
    ================================== ===============================================================

    Args:
        path: file or folder.
        inputs: "logits" or "probs": what the values are; by default their names say it (`naming`).
        columns: names of the columns, or of the one array, of the values.
        label: name of the column or array of the labels; of the file or folder, where they are apart.
        ignore_index: label, or labels, that count nowhere.
        unlabelled: take files without labels too, whose axis after the first is that of the classes; what is
            opened says `labelled`.

    Raises:
        InputError: a path that is missing, damaged or of no known kind, names that say nothing or leave a
            choice, shapes that do not fit.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "said.csv"
        >>> _ = path.write_text("proba_cat,proba_dog,label\n0.9,0.1,cat\n0.3,0.7,cat\n")
        >>> said = open_predictions(path)
        >>> said.inputs, said.class_names, said.rows
        ('probs', ['cat', 'dog'], 2)
        >>> said.read().target
        tensor([0, 0])
    """
    path = Path(path)
    if inputs not in (None, "logits", "probs"):
        raise InputError(f"inputs must be 'logits' or 'probs', not {inputs!r}.")
    if not path.exists():
        raise InputError(f"There is no file or folder {path}.")
    ignore = (ignore_index,) if isinstance(ignore_index, int) else tuple(ignore_index or ())
    asked = Asked(inputs, columns, label, ignore, unlabelled)
    if path.is_dir():
        run = path / "predictions" / "test.safetensors"
        if run.is_file():
            return open_safetensors(run, asked)
        apart = label is not None and ((path / label).is_dir() or Path(label).is_dir())
        if not apart and any(kind_of(file.stem) or columns for file in path.glob("*.npy")):
            return open_npy(path, asked)
        return open_maps(path, asked)
    opener = OPENERS.get(path.suffix.lower())
    if opener is None:
        raise InputError(
            f"{path} ends in {path.suffix!r}, which is no known kind of predictions; give "
            f"{', '.join(OPENERS)}, or a folder."
        )
    return opener(path, asked)
