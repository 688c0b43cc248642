"""Probability maps in a folder, each with a map of labels of the same name: PNG or npy, read one by one."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.rows import Inputs
from calibrant.predictions.arrays import MappedArray, reading, real
from calibrant.predictions.file import Batch, PredictionFile
from calibrant.predictions.labels import Place
from calibrant.predictions.naming import LABELS, SAY, Asked, kind_of, listed, plain

#: Names of folders that hold maps of labels.
FOLDERS = (*LABELS, "masks", "mask", "gt", "ground_truth")
_ENDINGS = (".png", ".npy")
#: The largest grey level of a PNG, by its type.
_WHITE = {"uint8": 255.0, "uint16": 65_535.0, "int32": 65_535.0, "bool": 1.0}


class MapFolder(PredictionFile):
    """Maps of values and maps of labels, paired by their names.

    A map of values is an (H, W) npy or a grey PNG (0 is 0, white is 1) of the probability of class 1 of two,
    or a (C, H, W) npy. A map of labels is an (H, W) npy or PNG. Where there are two classes, a PNG of labels
    shows class 1 as white (128 and more of 255), or holds the labels 0 and 1 themselves; with labels that do
    not count, it holds the labels themselves.

    Args:
        path: what was named by the user.
        values: folder of the values.
        labels: folder of the labels; None without.
        inputs: what the values are.
        ignore: labels that do not count.
    """

    def __init__(
        self, path: Path, values: Path, labels: Path | None, inputs: Inputs, ignore: Iterable[int] = ()
    ) -> None:
        ignored = tuple(ignore)
        self._pairs = _paired(values, labels)
        self._inputs = inputs
        first = _values(self._pairs[0][0], inputs)
        self._levels = not ignored and len(first) == 1
        names = [str(k) for k in range(max(len(first), 2))]
        labelled = labels is not None
        super().__init__(path, inputs, len(first), names, dense=True, labelled=labelled, ignore=ignored)

    @property
    def rows(self) -> int:
        """Number of maps."""
        return len(self._pairs)

    def _pieces(self) -> Iterator[tuple[Batch, Place]]:
        for map_file, label_file in self._pairs:
            values = _values(map_file, self.inputs)
            if len(values) != self.channels:
                raise InputError(
                    f"{map_file} holds a map of {len(values)} classes, the first of its folder one of "
                    f"{self.channels}."
                )
            yield Batch(values.unsqueeze(0), self._target(map_file, label_file, values)), _place(map_file)

    def _target(self, map_file: Path, label_file: Path | None, values: Tensor) -> Tensor:
        """Return the (1, H, W) labels of a (C, H, W) map."""
        size = values.shape[1:]
        if label_file is None:
            return self.no_labels(1, size)
        raw = self._raw_labels(label_file)
        if size != raw.shape:
            raise InputError(
                f"{map_file} is a map of shape {tuple(size)}, its labels in {label_file} are of shape "
                f"{tuple(raw.shape)}; write both in one size."
            )
        return self._labels.read(raw[None], _place(map_file))

    def _raw_labels(self, path: Path) -> NDArray[Any]:
        labels = _array(path)
        if labels.ndim == 3 and 1 in (labels.shape[0], labels.shape[2]):
            labels = labels.reshape([size for size in labels.shape if size > 1] or [1])
        if labels.ndim != 2:
            raise InputError(f"{path} has shape {labels.shape}; a map of labels is (H, W), not a colour image.")
        if not self._levels or path.suffix.lower() != ".png" or labels.max(initial=0) <= 1:
            return labels
        if labels.max() < 128:
            raise InputError(
                f"{path} holds the level {labels.max()} at most; a map of two classes holds 0 and 255, or 0 "
                "and 1."
            )
        return labels >= 128


def _place(file: Path) -> Place:
    return lambda _: file.name


def open_maps(folder: Path, asked: Asked) -> MapFolder:
    """Return the maps of a folder.

    It holds two folders: one named as logits or probabilities (`probs`), one as labels (`targets`, `masks`,
    `gt`). Or it holds the maps themselves, and `label` is the folder of the labels, if there are any.

    Raises:
        InputError: folders that are missing or leave a choice, and maps without labels.
    """
    inputs, label = asked.inputs, asked.label
    below = sorted(entry for entry in folder.iterdir() if entry.is_dir())
    values = [entry for entry in below if kind_of(entry.name)]
    if label is not None:
        labels = [entry for entry in (folder / label, Path(label)) if entry.is_dir()][:1]
        if not labels:
            raise InputError(f"There is no folder {label} of labels, neither in {folder} nor here.")
        values = values or [folder]
    else:
        labels = [entry for entry in below if plain(entry.name) in FOLDERS]
    without = asked.unlabelled and not labels
    if without:
        values = values or [folder]
    said = [entry for entry in values if inputs is None or _kind(entry) in (inputs, None)]
    if len(said) != 1 or (len(labels) != 1 and not without):
        raise InputError(
            f"{folder} holds {listed([entry.name for entry in folder.iterdir()])}; a folder of predictions "
            "holds npy files such as probs.npy and targets.npy, folders of maps such as probs and targets, or "
            "predictions/test.safetensors of a run (--inputs and --label choose)."
        )
    kind = inputs or _kind(said[0])
    if kind is None:
        raise InputError(f"The name of {said[0]} does not say what its maps hold; {SAY}.")
    return MapFolder(folder, said[0], None if without else labels[0], kind, asked.ignore)


def _kind(folder: Path) -> Inputs | None:
    kind = kind_of(folder.name)
    return kind.inputs if kind else None


def _paired(values: Path, labels: Path | None) -> Sequence[tuple[Path, Path | None]]:
    found = _maps(values)
    if not found:
        raise InputError(f"{values} holds no maps: no PNG and no npy file.")
    if labels is None:
        return [(found[name], None) for name in sorted(found)]
    truth = _maps(labels)
    lacking = sorted(set(found) - set(truth)) or sorted(set(truth) - set(found))
    if lacking:
        here, there = (labels, values) if lacking[0] in found else (values, labels)
        raise InputError(
            f"{here} holds no map {lacking[0]!r} (PNG or npy) as {there} does; {len(lacking)} of "
            f"{len(set(found) | set(truth))} have no counterpart."
        )
    return [(found[name], truth[name]) for name in sorted(found)]


def _maps(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in _ENDINGS and not path.name.startswith("."):
            if path.stem in found:
                raise InputError(f"{folder} holds both {found[path.stem].name} and {path.name}; keep one.")
            found[path.stem] = path
    return found


def _array(path: Path) -> NDArray[Any]:
    if path.suffix.lower() == ".npy":
        array = MappedArray(path)
        if not array.shape or 0 in array.shape:
            raise InputError(f"{path} has shape {array.shape}: there is nothing in it.")
        return np.asarray(next(array.pieces(array.shape[0])))
    try:
        from PIL import Image
    except ModuleNotFoundError:
        raise InputError(f"Reading {path} needs Pillow; pip install pillow brings it.") from None
    with reading(path), Image.open(path) as image:
        return np.asarray(image)


def _values(path: Path, inputs: Inputs) -> Tensor:
    """Return the values of a map, (C, H, W); (1, H, W) where they are those of class 1 of two."""
    raw = _array(path)
    if path.suffix.lower() == ".png":
        white = _WHITE.get(raw.dtype.name)
        if inputs == "logits" or raw.ndim != 2 or white is None:
            raise InputError(
                f"{path} cannot hold {'logits' if inputs == 'logits' else 'a map'}: a PNG of probabilities is "
                "a grey image of 8 or 16 bits; write npy."
            )
        return torch.from_numpy(raw / white).unsqueeze(0)
    if raw.ndim == 2:
        raw = raw[None]
    if raw.ndim != 3:
        raise InputError(f"{path} has shape {raw.shape}; a map of values is (H, W) or (C, H, W).")
    return real(raw, str(path))
