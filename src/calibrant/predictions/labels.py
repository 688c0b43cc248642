"""Labels as files hold them, brought to the indices of the classes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from calibrant.errors import InputError

#: Label of what does not count, in every batch, whatever the file calls it.
IGNORED = -1

Place = Callable[[int], str]


class LabelReader:
    """Reads labels: indices 0 to C - 1, or names of the classes.

    Where the names of the classes are integers other than 0 to C - 1, labels are these integers; where they
    are words, labels are the words or indices.

    Args:
        path: the file, for the messages.
        names: C names of the classes.
        ignore: labels that count nowhere; they become `IGNORED`.
    """

    def __init__(self, path: str, names: Sequence[str], ignore: Iterable[int] = ()) -> None:
        self.path, self.names = path, list(names)
        self.ignore = np.array(sorted(ignore), dtype=np.int64)
        numbers = [int(float(name)) for name in names if _whole(name)]
        self._by_number: dict[int, int] | None = None
        if len(numbers) == len(names) and numbers != list(range(len(numbers))):
            self._by_number = {number: k for k, number in enumerate(numbers)}
        self._by_name = {name: str(k) for k, name in enumerate(names)} if self._by_number is None else {}

    def read(self, raw: NDArray[Any] | Tensor, place: Place) -> Tensor:
        """Return int64 indices of labels of any type and shape, one sample an entry of the first axis.

        Raises:
            InputError: a label that is no class; `place` says where.
        """
        if isinstance(raw, Tensor):
            # NumPy knows no bfloat16.
            values = (raw.double() if raw.is_floating_point() else raw).numpy()
        else:
            values = np.asarray(raw)
        whole = self._integers(values, place)
        ignored = np.isin(whole, self.ignore)
        found = self._indices(whole)
        wrong = ((found < 0) | (found >= len(self.names))) & ~ignored
        if wrong.any():
            at = tuple(np.argwhere(wrong)[0])
            self._refuse(str(whole[at]), place(int(at[0])), f"; {self._remedy(int(whole[at]))}")
        found = np.where(ignored, IGNORED, found)
        return torch.from_numpy(np.ascontiguousarray(found))

    def _indices(self, whole: NDArray[np.int64]) -> NDArray[np.int64]:
        if self._by_number is None:
            return whole
        numbers = np.array(sorted(self._by_number), dtype=np.int64)
        index = np.searchsorted(numbers, whole).clip(0, len(numbers) - 1)
        known = np.array([self._by_number[int(n)] for n in numbers], dtype=np.int64)
        return np.where(numbers[index] == whole, known[index], -2)

    def _integers(self, values: NDArray[Any], place: Place) -> NDArray[np.int64]:
        if values.dtype.kind in "biu":
            return values.astype(np.int64)
        if values.dtype.kind == "f":
            broken = ~np.isfinite(values) | (values != np.floor(values))
            if broken.any():
                at = tuple(np.argwhere(broken)[0])
                self._refuse(f"{values[at]:g}", place(int(at[0])), "")
            return values.astype(np.int64)
        if values.dtype.kind in "SUO":
            return self._words(values, place)
        raise InputError(f"The labels of {self.path} are of type {values.dtype}; give integers.")

    def _words(self, values: NDArray[Any], place: Place) -> NDArray[np.int64]:
        flat = [word.decode() if isinstance(word, bytes) else str(word) for word in values.reshape(-1)]
        indices: list[int] = []
        for k, word in enumerate(flat):
            known = self._by_name.get(word, word).strip()
            if not _whole(known) or abs(float(known)) >= 2**53:
                row = k // max(values[0].size if values.ndim > 1 else 1, 1)
                self._refuse(repr(word), place(row), "")
            indices.append(int(float(known)))
        return np.array(indices, dtype=np.int64).reshape(values.shape)

    def _remedy(self, label: int) -> str:
        # The class that is counted from 1, or the other one of two, is not to be left out.
        if self._by_number is None and label == len(self.names):
            return f"if yours are 1 to {label}, write 0 to {label - 1}"
        if self._by_number is None and label == -1 and len(self.names) == 2:
            return "if yours are -1 and 1, write 0 and 1; if it does not count, pass --ignore-index=-1"
        return f"if it does not count, pass --ignore-index{' ' if label >= 0 else '='}{label}"

    def _refuse(self, label: str, place: str, remedy: str) -> None:
        last = len(self.names) - 1
        classes = f"0 to {last}" if self._by_number is None else ", ".join(self.names[:8])
        if self._by_name and self.names != [str(k) for k in range(last + 1)]:
            classes += f" or one of {', '.join(self.names[:8])}"
        raise InputError(
            f"The label {label} of {self.path}, {place}, is no class: labels are {classes}{remedy}."
        )


def _whole(text: str) -> bool:
    """Return whether a text is an integer, as "3" and "3.0" are."""
    try:
        return float(text).is_integer()
    except ValueError:
        return False
