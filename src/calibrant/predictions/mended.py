"""Predictions of a file as calibrators take and mend them: logits in, logits out, batch by batch."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc.base import LEAST
from calibrant.predictions.file import Batch, PredictionFile
from calibrant.predictions.labels import IGNORED, Place

_ENDINGS = (".npz", ".safetensors")


def as_logits(values: Tensor, inputs: str) -> Tensor:
    """Return (N, C, *) logits, C at least 2, of logits or probabilities.

    Probabilities become their logarithms, below 1e-12 that of 1e-12; those of class 1 of two become both.

    Args:
        values: (N, C, *) values; C = 1 where only class 1 of two is given.
        inputs: "logits" or "probs".

    Example:
        >>> as_logits(torch.tensor([[0.25]]), "probs").exp()
        tensor([[0.7500, 0.2500]])
        >>> as_logits(torch.tensor([[2.0]]), "logits")
        tensor([[0., 2.]])
    """
    if inputs == "logits":
        return values if values.shape[1] > 1 else torch.cat([torch.zeros_like(values), values], 1)
    values = values.to(torch.promote_types(values.dtype, torch.float32))
    if values.shape[1] == 1:
        values = torch.cat([1 - values, values], 1)
    return values.clamp_min(LEAST).log()


class MendedFile(PredictionFile):
    """The predictions of a file, mended: logits of all classes, with the labels and names of the file.

    Args:
        file: what was opened.
        mend: takes (n, C, *) logits and the index of their first row, and returns mended logits.
    """

    def __init__(self, file: PredictionFile, mend: Callable[[Tensor, int], Tensor]) -> None:
        ignored = () if file.ignore_index is None else (IGNORED,)
        super().__init__(
            file.path,
            "logits",
            file.classes,
            file.class_names,
            dense=file.dense,
            labelled=file.labelled,
            ignore=ignored,
        )
        self.file, self.mend = file, mend

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.file.rows

    def _pieces(self) -> Iterator[tuple[Batch, Place]]:
        start = 0
        for batch, place in self.file.checked_pieces():
            logits = as_logits(batch.values, self.file.inputs)
            yield Batch(self.mend(logits, start), batch.target), place
            start += len(logits)


def write_predictions(
    file: PredictionFile,
    path: Path,
    inputs: str = "logits",
    sets: Callable[[Tensor], Tensor] | None = None,
) -> Path:
    """Write predictions to an npz or a safetensors file that `open_predictions` reads.

    It holds an array `logits` or `probs`, (N, C, *), `targets` if there are any, and the names of the classes;
    a label that does not count is -1.

    Args:
        file: predictions whose values are logits.
        path: the file; it appears whole or not at all.
        inputs: "logits", or "probs" to write their softmax.
        sets: takes (N, C, *) logits and returns booleans of that shape, which are written too: `sets`, and
            `set_sizes` (N, *), how many classes each holds.

    Raises:
        InputError: an ending that is neither, or maps of different sizes.
    """
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(f"Predictions are written to {' or '.join(_ENDINGS)}, not to {path.name}.")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    tensors = _tensors(file, inputs, sets)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        if path.suffix.lower() == ".npz":
            arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
            with unfinished.open("wb") as opened:
                np.savez(opened, class_names=np.array(file.class_names), **arrays)  # type: ignore[arg-type]
        else:
            names = {"class_names": json.dumps(file.class_names)}
            save_file(tensors, unfinished, names)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _tensors(file: PredictionFile, inputs: str, sets: Callable[[Tensor], Tensor] | None) -> dict[str, Tensor]:
    """Return what a file of predictions holds, by name."""
    logits, target = file.read()
    values = logits.softmax(1) if inputs == "probs" else logits
    # NumPy has no bfloat16.
    tensors = {inputs: values.float() if values.dtype == torch.bfloat16 else values}
    if file.labelled:
        tensors["targets"] = target
    if sets is not None:
        tensors["sets"] = sets(logits)
        tensors["set_sizes"] = tensors["sets"].sum(1)
    return {name: tensor.contiguous() for name, tensor in tensors.items()}
