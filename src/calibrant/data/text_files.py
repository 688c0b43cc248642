"""Texts with the names of their labels, read from folders, tables or through scikit-learn."""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from calibrant.data.downloads import fetching
from calibrant.data.pictures import is_litter
from calibrant.errors import InputError


@dataclass(frozen=True)
class Corpus:
    """Texts as they were read, with the names of their labels, in the order of the files."""

    texts: list[str]
    labels: list[str]

    def __add__(self, other: "Corpus") -> "Corpus":
        return Corpus(self.texts + other.texts, self.labels + other.labels)


def read_folders(folder: Path) -> Corpus:
    """Read a folder of one folder a class, one file a text, both in the order of their names."""
    texts, labels = [], []
    for group in sorted(path for path in folder.iterdir() if path.is_dir() and not is_litter(path.name)):
        for path in sorted(path for path in group.iterdir() if path.is_file() and not is_litter(path.name)):
            texts.append(without_header(path.read_text(encoding="latin-1")))
            labels.append(group.name)
    if not texts:
        raise InputError(f"{folder} holds no folder with texts; one folder a class was expected.")
    return Corpus(texts, labels)


def without_header(message: str) -> str:
    r"""Return a message without what stands before its first empty line, if it has one.

    Example:
        >>> without_header("From: me\n\nHello"), without_header("Hello")
        ('\n\nHello', 'Hello')
    """
    end = message.find("\n\n")
    return message[end:] if end > 0 else message


def read_newsgroups(root: Path, download: bool, by_date: bool) -> tuple[Corpus, Corpus]:
    """Return 20 Newsgroups, the training and the test texts by date; or all in the first.

    Args:
        root: folder that holds 20_newsgroups (or 20_newsgroup), or 20news-bydate-train and 20news-bydate-test,
            or scikit-learn's own copy.
        download: fetch scikit-learn's copy when none is there.
        by_date: tell training and test apart; else 20_newsgroups goes before the other two.

    Raises:
        InputError: the texts are not there, or could not be fetched.
    """
    whole = [root / name for name in ("20_newsgroups", "20_newsgroup") if (root / name).is_dir()]
    if not by_date and whole:
        return read_folders(whole[0]), Corpus([], [])
    folders = [root / "20news-bydate-train", root / "20news-bydate-test"]
    if all(folder.is_dir() for folder in folders):
        first, second = (read_folders(folder) for folder in folders)
        return first, second
    if download:
        with fetching("20 Newsgroups", root):
            return _scikit_learns(root, download=True)
    try:
        # Which makes the folder that it looks in.
        if not root.is_dir():
            raise FileNotFoundError("no such folder")
        return _scikit_learns(root, download=False)
    except OSError as error:
        expected = "20news-bydate-train and 20news-bydate-test" + ("" if by_date else ", or 20_newsgroups,")
        raise InputError(
            f"20 Newsgroups was looked for in {root.resolve()}, where {expected} was expected; set "
            f"data.root to the folder that holds it, or data.download to true ({error})."
        ) from None


def _scikit_learns(root: Path, *, download: bool) -> tuple[Corpus, Corpus]:
    from sklearn.datasets import fetch_20newsgroups

    parts = []
    for subset in ("train", "test"):
        bunch = fetch_20newsgroups(data_home=root, subset=subset, shuffle=False, download_if_missing=download)
        labels = [bunch.target_names[target] for target in bunch.target]
        parts.append(Corpus([without_header(text) for text in bunch.data], labels))
    return parts[0], parts[1]


def read_table(path: Path, text: str | int, label: str | int) -> Corpus:
    """Read the column of texts and the column of labels of a CSV, TSV or parquet file.

    Raises:
        InputError: no such file, a kind that is not known, one that cannot be read, no such column, a row
            without a label.
    """
    if not path.is_file():
        raise InputError(f"Texts were looked for in {path.resolve()}, which is not there; set data.root.")
    if path.suffix.lower() == ".parquet":
        rows = _read_parquet(path, text, label)
    elif path.suffix.lower() in (".csv", ".tsv"):
        rows = _read_csv(path, text, label)
    else:
        raise InputError(
            f"{path.name} is no .csv, .tsv or .parquet file, which are the kinds that can be read."
        )
    if not rows:
        raise InputError(f"{path} holds no text.")
    unlabelled = [number for number, (_, name) in enumerate(rows, start=1) if not name]
    if unlabelled:
        raise InputError(f"Row {unlabelled[0]} of {path} has no label; leave such rows out.")
    texts, labels = zip(*rows, strict=True)
    return Corpus([*texts], [*labels])


def _column(header: Sequence[str], column: str | int, path: Path) -> int:
    if isinstance(column, int):
        if column < 0:
            raise InputError(f"There is no column {column} of {path}; count the columns from 0.")
        return column
    if column not in header:
        raise InputError(f"{path} has no column {column!r}; it has {', '.join(header)}.")
    return header.index(column)


def _read_csv(path: Path, text: str | int, label: str | int) -> list[tuple[str, str]]:
    rows = _csv_rows(path)
    if not rows:
        return []
    headed = isinstance(text, str) or isinstance(label, str)
    header = rows.pop(0) if headed else []
    at = [_column(header, column, path) for column in (text, label)]
    short = [number for number, row in enumerate(rows, start=1) if len(row) <= max(at)]
    if short:
        raise InputError(f"Row {short[0]} of {path} has no column {max(at)}; count the columns from 0.")
    return [(row[at[0]], row[at[1]]) for row in rows]


def _csv_rows(path: Path) -> list[list[str]]:
    csv.field_size_limit(sys.maxsize)
    tabs = path.suffix.lower() == ".tsv"
    # The first character may mark a file as UTF-8, as spreadsheets write it.
    with path.open(encoding="utf-8-sig", newline="") as file:
        how = {"delimiter": "\t", "quoting": csv.QUOTE_NONE} if tabs else {"strict": True}
        lines = csv.reader(file, **how)
        try:
            return [row for row in lines if row]
        except UnicodeDecodeError as error:
            raise InputError(f"{path} cannot be read as text in UTF-8 ({error}); convert it.") from None
        except csv.Error as error:
            raise InputError(
                f"Line {lines.line_num} of {path} cannot be read as CSV ({error}); mend it."
            ) from None


def _read_parquet(path: Path, text: str | int, label: str | int) -> list[tuple[str, str]]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ModuleNotFoundError:
        raise InputError(f"Reading {path.name} needs pyarrow: pip install pyarrow.") from None
    try:
        with parquet.ParquetFile(path) as file:
            header = list(file.schema_arrow.names)
            at = [_column(header, column, path) for column in (text, label)]
            if max(at) >= len(header):
                raise InputError(f"{path} has no column {max(at)}; count the columns from 0.")
            # Of columns of one name none can be asked for alone.
            alone = len({*header}) == len(header)
            table = file.read(columns=[header[i] for i in {*at}] if alone else None)
    except (ArrowInvalid, OSError) as error:
        raise InputError(f"{path} cannot be read as parquet ({error}); write it again.") from None
    found = [table[header[i]] if alone else table.column(i) for i in at]
    columns = (["" if value is None else str(value) for value in column.to_pylist()] for column in found)
    return list(zip(*columns, strict=True))
