"""Weights from files: read without unpickling, and put into a network or a part of one."""

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from calibrant.errors import InputError

#: How the files of state dicts end.
ENDINGS = (".pt", ".pth")


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read a state dict, out of a checkpoint if it lies in one; raises `InputError` when that fails."""
    path = Path(path).expanduser()
    if not path.is_file():
        raise InputError(f"There is no file {path}: give the path of a state dict saved by torch.save.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, KeyError, ValueError):
        raise InputError(f"{path} cannot be read as a state dict saved by torch.save.") from None
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise InputError(f"{path} does not hold a state dict: names and tensors.")
    return {key.removeprefix("module."): value for key, value in state.items()}


def load_state(module: nn.Module, state: Mapping[str, Tensor], path: str | Path) -> None:
    """Put a state dict, read from `path`, into a module; raises `InputError` when they do not fit."""
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = str(error).splitlines()[1].strip()
        raise InputError(f"The weights in {path} do not fit: {reason[:200]}") from None


def load_backbone(backbone: nn.Module, path: str | Path) -> None:
    """Put the weights of a classifier of images into the backbone of a dense network, which has no classifier.

    Raises:
        InputError: a file that cannot be read, or lacks a weight that the backbone has.
    """
    state = {key.removeprefix("features."): value for key, value in read_state(path).items()}
    fitting = {}
    for name, own in backbone.state_dict().items():
        bare = name.removeprefix("features.")
        if bare in state:
            fitting[name] = state[bare]
        elif name.endswith("num_batches_tracked"):
            # Counts nothing that these networks use; many files lack it.
            fitting[name] = own
    load_state(backbone, fitting, path)
