"""Predictions in tables: CSV, TSV and parquet, a row a sample, a column a class."""

import csv
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from calibrant.errors import InputError
from calibrant.predictions.arrays import reading
from calibrant.predictions.file import BATCH, Batch, PredictionFile
from calibrant.predictions.labels import Place
from calibrant.predictions.naming import Asked, choose, class_order

#: Values, labels if there are any, and what says where a row stands.
Piece = tuple[NDArray[Any], NDArray[Any] | None, Place]


class TableFile(PredictionFile):
    """Values in the columns of a table: one for each class, or that of class 1 of two alone.

    Args:
        path: the file.
        names: of all its columns, in order.
        asked: what the caller says of it.
    """

    def __init__(self, path: Path, names: Sequence[str], asked: Asked) -> None:
        chosen = choose(str(path), names, "column", asked)
        self.columns, classes = class_order(chosen.values)
        self.label = chosen.label
        self._rows: int | None = None
        channels = self._width()
        if len(self.columns) == 1 and classes == ["0"]:
            raise InputError(
                f"{path} holds {self.columns[0]!r}, of class 0, alone; a single column must be that of class 1."
            )
        if len(self.columns) == 1:
            classes = [str(k) for k in range(max(channels, 2))]
        labelled = self.label is not None
        super().__init__(path, chosen.inputs, channels, classes, labelled=labelled, ignore=asked.ignore)

    @property
    def rows(self) -> int:
        """Number of rows; the file is read once for it."""
        if self._rows is None:
            self._rows = self._counted()
        return self._rows

    def _pieces(self) -> Iterator[tuple[Batch, Place]]:
        for values, labels, place in self._read(max(1, BATCH // self.channels)):
            flat = torch.from_numpy(np.require(values, requirements=["C", "W"]))
            numbers = flat.reshape(-1, self.channels)
            target = self.no_labels(len(numbers)) if labels is None else self._labels.read(labels, place)
            yield Batch(numbers, target), place

    def _width(self) -> int:
        """Return the number of values of a row."""
        return len(self.columns)

    @abstractmethod
    def _counted(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def _read(self, rows: int) -> Iterator[Piece]:
        """Yield about so many rows at a time: values, raw labels, and where each stands."""


class TextTable(TableFile):
    """A CSV or TSV file with a line of headings.

    Fields are separated by tabs in TSV; in CSV by commas, or by semicolons where the headings hold no comma.
    """

    def __init__(self, path: Path, asked: Asked) -> None:
        self.path = path
        with reading(path), path.open(newline="", encoding="utf-8-sig") as file:
            first = file.readline()
        semicolons = ";" in first and "," not in first
        self._delimiter = ";" if semicolons else "," if path.suffix.lower() == ".csv" else "\t"
        self._names = [name.strip() for name in next(csv.reader([first], delimiter=self._delimiter), [])]
        if not any(self._names):
            raise InputError(f"{path} is empty; its first line must name the columns.")
        if all(_number(name) for name in self._names):
            raise InputError(
                f"The first line of {path} holds numbers; it must name the columns, such as proba_0, proba_1, "
                "label."
            )
        super().__init__(path, self._names, asked)

    def _records(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of its last line and the fields of each record."""
        with reading(self.path), self.path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=self._delimiter)
            next(reader)
            width = len(self._names)
            try:
                for record in reader:
                    if record:
                        if len(record) != width:
                            raise InputError(
                                f"Line {reader.line_num} of {self.path} has {len(record)} fields, not {width} "
                                "as the headings; mend it, or write the file again."
                            )
                        yield reader.line_num, record
            except csv.Error as error:
                raise InputError(f"Line {reader.line_num} of {self.path} cannot be read: {error}.") from None

    def _counted(self) -> int:
        return sum(1 for _ in self._records())

    def _read(self, rows: int) -> Iterator[Piece]:
        places = [self._names.index(name) for name in self.columns]
        label = None if self.label is None else self._names.index(self.label)
        records = self._records()
        # Text takes several times the memory of its numbers.
        while piece := list(islice(records, max(1, rows // 8))):
            lines = [line for line, _ in piece]
            values, labels = self._numbers(piece, places), None
            if label is not None:
                labels = np.array([record[label].strip() for _, record in piece], dtype=object)
            yield values, labels, _place(lines)

    def _numbers(self, piece: list[tuple[int, list[str]]], places: list[int]) -> NDArray[np.float64]:
        pick = itemgetter(*places) if len(places) > 1 else lambda record: (record[places[0]],)
        try:
            return np.frombuffer(array("d", map(float, chain.from_iterable(pick(r) for _, r in piece))))
        except ValueError:
            line, k, text = next(
                (line, k, record[k]) for line, record in piece for k in places if not _number(record[k])
            )
            raise InputError(
                f"The column {self._names[k]!r} of {self.path} holds {text!r} on line {line}; it must hold "
                "numbers (with a decimal point)."
            ) from None


def _place(lines: list[int]) -> Place:
    return lambda k: f"line {lines[k]}"


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


class ParquetTable(TableFile):
    """A parquet file; its values are columns of numbers, or one column of lists, a value for each class."""

    def __init__(self, path: Path, asked: Asked) -> None:
        try:
            from pyarrow import parquet
        except ModuleNotFoundError:
            raise InputError(f"Reading {path} needs pyarrow; pip install pyarrow brings it.") from None
        self.path = path
        with reading(path):
            self._file: Any = parquet.ParquetFile(path)
        super().__init__(path, self._file.schema_arrow.names, asked)

    @property
    def _lists(self) -> bool:
        from pyarrow import types

        if len(self.columns) != 1:
            return False
        kind = self._file.schema_arrow.field(self.columns[0]).type
        return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))

    def _width(self) -> int:
        if not self._lists:
            return len(self.columns)
        first = next(self._file.iter_batches(1, columns=self.columns), None)
        if first is None or not len(first) or first.column(0)[0].as_py() is None:
            raise InputError(f"The column {self.columns[0]!r} of {self.path} holds no first row.")
        return len(first.column(0)[0].as_py())

    def _counted(self) -> int:
        return int(self._file.metadata.num_rows)

    def _read(self, rows: int) -> Iterator[Piece]:
        start = 0
        with reading(self.path):
            names = self.columns if self.label is None else [*self.columns, self.label]
            for batch in self._file.iter_batches(min(rows, 65_536), columns=names):
                place = _row(start)
                found = [self._column(batch.column(name), name, place) for name in self.columns]
                values = found[0] if len(found) == 1 else np.stack(found, axis=1)
                yield values, self._raw_labels(batch, place), place
                start += len(batch)

    def _raw_labels(self, batch: Any, place: Place) -> NDArray[Any] | None:
        if self.label is None:
            return None
        labels = batch.column(self.label)
        if labels.null_count:
            where = place(labels.is_null().to_pylist().index(True))
            raise InputError(f"The column {self.label!r} of {self.path} has no value, {where}.")
        return np.asarray(labels.to_numpy(zero_copy_only=False))

    def _column(self, column: Any, name: str, place: Place) -> NDArray[np.float64]:
        if column.null_count:
            where = place(column.is_null().to_pylist().index(True))
            raise InputError(f"The column {name!r} of {self.path} has no value, {where}.")
        if self._lists:
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if (lengths != self.channels).any():
                k = int((lengths != self.channels).argmax())
                raise InputError(
                    f"The column {name!r} of {self.path} holds a list of {lengths[k]} values, {place(k)}, "
                    f"where the first row has {self.channels}."
                )
            column = column.flatten()
        numbers = column.to_numpy(zero_copy_only=False)
        if numbers.dtype.kind not in "fiub":
            raise InputError(
                f"The column {name!r} of {self.path} is of type {column.type}; it must hold numbers."
            )
        return np.asarray(numbers, dtype=np.float64)


def _row(start: int) -> Place:
    return lambda k: f"row {start + k} (the first is 0)"


def open_table(path: Path, asked: Asked) -> TableFile:
    """Return the predictions of a CSV, TSV or parquet file."""
    reader = ParquetTable if path.suffix.lower() in (".parquet", ".pq") else TextTable
    return reader(path, asked)
