"""Predictions in arrays: npz and safetensors files, and pairs of npy files."""

import json
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from numpy.lib import format as npy_format
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.rows import Inputs
from calibrant.predictions.file import BATCH, Batch, PredictionFile
from calibrant.predictions.labels import Place
from calibrant.predictions.naming import CLASS_NAMES, SAY, Asked, choose, is_label, kind_of, listed, plain

Raw = NDArray[Any] | Tensor


class Array(ABC):
    """An array in a file, read in pieces of rows.

    Attributes:
        path: the file.
        name: of the array.
        shape: its shape.
    """

    path: Path
    name: str
    shape: tuple[int, ...]

    @abstractmethod
    def pieces(self, rows: int) -> Iterator[Raw]:
        """Yield so many rows at a time, in order."""


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Make one sentence of what readers raise for a file that is missing, damaged or of another format."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give a file.") from None
    except PermissionError:
        # It is as good as it was.
        raise
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(
            f"{path} is damaged, or no {path.suffix[1:]} file ({reason}); write it again."
        ) from None


class MappedArray(Array):
    """An npy file, mapped into memory."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        with reading(path):
            self._array = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(self._array, np.ndarray):
            raise InputError(f"{path} holds no array; write it with numpy.save.")
        self.shape = self._array.shape

    def pieces(self, rows: int) -> Iterator[Raw]:
        """Yield so many rows at a time, in order."""
        for start in range(0, self.shape[0], rows):
            yield np.array(self._array[start : start + rows])


class ZippedArray(Array):
    """A member of an npz file, read from its stream; whole only where it lies in Fortran's order."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with self._open() as (_, header):
            self.shape, self._by_columns, self._type = header
        if self._type.hasobject:
            raise InputError(
                f"The array {name!r} of {path} holds Python objects; save it as numbers (or text for names)."
            )

    @contextmanager
    def _open(self) -> Iterator[tuple[IO[bytes], tuple[tuple[int, ...], bool, np.dtype[Any]]]]:
        with (
            reading(self.path),
            zipfile.ZipFile(self.path) as archive,
            archive.open(f"{self.name}.npy") as stream,
        ):
            version = npy_format.read_magic(stream)  # type: ignore[no-untyped-call]
            read = npy_format.read_array_header_1_0 if version[0] == 1 else npy_format.read_array_header_2_0
            yield stream, read(stream)  # type: ignore[no-untyped-call]

    def pieces(self, rows: int) -> Iterator[Raw]:
        """Yield so many rows at a time, in order."""
        with self._open() as (stream, _):
            if self._by_columns:
                whole = self._take(stream, self.shape[::-1]).T
                yield from (whole[start : start + rows] for start in range(0, len(whole), rows))
                return
            for start in range(0, self.shape[0], rows):
                count = min(rows, self.shape[0] - start)
                yield self._take(stream, (count, *self.shape[1:]))

    def _take(self, stream: IO[bytes], shape: tuple[int, ...]) -> NDArray[Any]:
        size = prod(shape) * self._type.itemsize
        data = stream.read(size)
        if len(data) < size:
            raise EOFError(f"{self.name!r} ends early")
        return np.frombuffer(bytearray(data), self._type).reshape(shape)


class SlicedArray(Array):
    """A tensor of a safetensors file, read by slices."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        with reading(path), safe_open(path, framework="pt") as file:
            self.shape = tuple(file.get_slice(name).get_shape())

    def pieces(self, rows: int) -> Iterator[Raw]:
        """Yield so many rows at a time, in order."""
        with reading(self.path), safe_open(self.path, framework="pt") as file:
            tensor = file.get_slice(self.name)
            for start in range(0, self.shape[0], rows):
                yield tensor[start : start + rows]


class ArrayFile(PredictionFile):
    """Values and labels in two arrays, along whose first axis the rows lie.

    Args:
        path: what was named by the user.
        values: (N, C, *) values; those of class 1 of two may be (N,), (N, 1) or of the shape of the labels.
        labels: (N, *) labels; None without, and then the axis of the classes is the second.
        inputs: what the values are.
        class_names: where there are any.
        ignore: labels that do not count.

    Raises:
        InputError: shapes that do not fit, or that hold nothing.
    """

    def __init__(
        self,
        path: Path,
        values: Array,
        labels: Array | None,
        inputs: Inputs,
        class_names: Sequence[str] = (),
        ignore: Iterable[int] = (),
    ) -> None:
        self._values, self._raw = values, labels
        channels = _channels(path, values, labels)
        self._rows = values.shape[0]
        self._rest = values.shape[2:] if labels is None else labels.shape[1:]
        dense = bool(self._rest) and prod(self._rest) != 1
        names = list(class_names) or [str(k) for k in range(max(channels, 2))]
        labelled = labels is not None
        super().__init__(path, inputs, channels, names, dense=dense, labelled=labelled, ignore=ignore)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._rows

    def _pieces(self) -> Iterator[tuple[Batch, Place]]:
        shape = self._rest if self.dense else ()
        rows = max(1, BATCH // max(prod(self._values.shape[1:]), 1))
        start = 0
        labels = repeat(None) if self._raw is None else self._raw.pieces(rows)
        for raw, raw_labels in zip(self._values.pieces(rows), labels, strict=self._raw is not None):
            place = _place(start)
            values = real(raw, f"{self._values.name!r} of {self.path}")
            n = len(values)
            if raw_labels is None:
                target = self.no_labels(n, shape)
            else:
                target = self._labels.read(raw_labels, place).reshape(n, *shape)
            yield Batch(values.reshape(n, self.channels, *shape), target), place
            start += n


def _place(start: int) -> Place:
    return lambda k: f"row {start + k} (the first is 0)"


def real(raw: Raw, what: str) -> Tensor:
    """Return real numbers as a tensor of a type that is at hand; integers become float64."""
    if isinstance(raw, Tensor):
        if raw.is_complex():
            raise InputError(f"The array {what} is of type {raw.dtype}; give real numbers.")
        # Those of a byte cannot be computed with.
        return raw if raw.is_floating_point() and raw.itemsize > 1 else raw.double()
    if raw.dtype.kind not in "fiub":
        raise InputError(f"The array {what} is of type {raw.dtype}; give real numbers.")
    if raw.dtype.kind == "f" and raw.dtype.itemsize <= 8:
        return torch.from_numpy(np.ascontiguousarray(raw, dtype=raw.dtype.newbyteorder("=")))
    return torch.from_numpy(np.ascontiguousarray(raw, dtype=np.float64))


def _channels(path: Path, values: Array, labels: Array | None) -> int:
    """Return the number of columns of the values: 1 where they have no axis of classes."""
    if labels is None:
        if not values.shape or 0 in values.shape:
            raise InputError(
                f"The array {values.name!r} of {path} has shape {values.shape}: there are no predictions in it."
            )
        return values.shape[1] if len(values.shape) > 1 else 1
    shown = f"{values.name!r} of {path} has shape {values.shape} and {labels.name!r} shape {labels.shape}"
    if not labels.shape or not values.shape or 0 in values.shape or 0 in labels.shape:
        raise InputError(f"The array {shown}: there are no predictions in it.")
    if values.shape[0] != labels.shape[0]:
        raise InputError(f"The array {shown}; give as many labels as predictions.")
    shape, target = values.shape, labels.shape
    if len(target) == 2 and target[1] == 1 and len(shape) <= 2:
        target = target[:1]
    if shape == target and len(shape) != 2:
        return 1
    if shape[:1] + shape[2:] == target and len(shape) > 1:
        return shape[1]
    if shape == target and len(shape) == 2:
        raise InputError(f"The array {shown}; give the index of its class as the label of a row, not one-hot.")
    raise InputError(
        f"The array {shown}; values of shape (N, C, *) go with labels (N, *), and those of class 1 of two with "
        "labels of their own shape."
    )


def open_npz(path: Path, asked: Asked) -> ArrayFile:
    """Return the predictions of an npz file, compressed or not."""
    with reading(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    chosen = choose(str(path), names, "array", asked)
    class_names: list[str] = []
    for name in names:
        if plain(name) in CLASS_NAMES:
            array = ZippedArray(path, name)
            if len(array.shape) != 1:
                raise InputError(f"The array {name!r} of {path} must hold one name for each class.")
            class_names = [str(word) for word in next(array.pieces(array.shape[0]), ())]
    values = ZippedArray(path, _only(path, chosen.values))
    labels = None if chosen.label is None else ZippedArray(path, chosen.label)
    return ArrayFile(path, values, labels, chosen.inputs, class_names, asked.ignore)


def open_safetensors(path: Path, asked: Asked) -> ArrayFile:
    """Return the predictions of a safetensors file; its metadata may hold `class_names`, a JSON list."""
    with reading(path), safe_open(path, framework="pt") as file:
        names = [name for name in file.keys() if plain(name) != "ids"]  # noqa: SIM118
        said = (file.metadata() or {}).get("class_names", "[]")
    try:
        class_names = [str(name) for name in json.loads(said)]
    except (json.JSONDecodeError, TypeError):
        raise InputError(f"The class_names in the metadata of {path} are no JSON list of names.") from None
    chosen = choose(str(path), names, "array", asked)
    values = SlicedArray(path, _only(path, chosen.values))
    labels = None if chosen.label is None else SlicedArray(path, chosen.label)
    return ArrayFile(path, values, labels, chosen.inputs, class_names, asked.ignore)


def open_npy(path: Path, asked: Asked) -> ArrayFile:
    """Return the predictions of a pair of npy files: a folder of both, or the values with labels beside them.

    The labels of a file are those of its folder that are named as labels, or of the file `label`.
    """
    if path.is_dir():
        files = _arrays_in(path)
        stems = [file.stem for file in files]
        columns = asked.columns and [name.removesuffix(".npy") for name in asked.columns]
        label = asked.label and asked.label.removesuffix(".npy")
        chosen = choose(str(path), stems, "array", asked._replace(columns=columns, label=label))
        values = MappedArray(path / f"{_only(path, chosen.values)}.npy")
        labels = None if chosen.label is None else MappedArray(path / f"{chosen.label}.npy")
        return ArrayFile(path, values, labels, chosen.inputs, (), asked.ignore)
    array = MappedArray(path)
    kind = kind_of(path.stem)
    if asked.inputs is None and kind is None:
        raise InputError(f"The name of {path} does not say whether it holds logits or probabilities; {SAY}.")
    said = asked.inputs or (kind.inputs if kind else "probs")
    return ArrayFile(path, array, _labels_of(path, asked), said, (), asked.ignore)


def _arrays_in(folder: Path) -> list[Path]:
    """Return the npy files of a folder, without what archivers leave behind."""
    return [file for file in sorted(folder.glob("*.npy")) if not file.name.startswith(".")]


def _labels_of(path: Path, asked: Asked) -> MappedArray | None:
    if asked.label is not None:
        beside = path.with_name(asked.label)
        return MappedArray(beside if beside.is_file() else Path(asked.label))
    found = [file for file in _arrays_in(path.parent) if is_label(file.stem)]
    if not found and asked.unlabelled:
        return None
    if len(found) != 1:
        which = listed([file.name for file in found]) if found else "no labels (such as targets.npy)"
        raise InputError(f"Beside {path} there are {which}; name the file of the labels with --label.")
    return MappedArray(found[0])


def _only(path: Path, names: Sequence[str]) -> str:
    if len(names) != 1:
        raise InputError(f"The values of {path} are one array; name one with --columns, not {listed(names)}.")
    return names[0]
