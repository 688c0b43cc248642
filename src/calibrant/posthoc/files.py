"""Fitted calibrators in files: safetensors with a header that says how to build the calibrator again."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from calibrant import __version__
from calibrant.errors import InputError
from calibrant.posthoc.base import Calibrator
from calibrant.posthoc.conformal import ConformalSets
from calibrant.posthoc.registry import CALIBRATORS, create

_SCHEMA = 1
#: What a file calls `ConformalSets`, which is not registered since it gives sets in place of logits.
CONFORMAL = "conformal"


def first_other(names: Sequence[str], given: Sequence[str]) -> int | None:
    """Return the first of C classes that has another name; None where all agree, or are called by index.

    Example:
        >>> first_other(["cat", "dog"], ["dog", "cat"]), first_other(["cat", "dog"], ["0", "1"])
        (0, None)
    """
    indices = [str(k) for k in range(len(names))]
    if indices in (list(names), list(given)):
        return None
    return next((k for k, (one, other) in enumerate(zip(names, given, strict=True)) if one != other), None)


class SavedCalibrator(NamedTuple):
    """A calibrator from a file, its registered name, and the names of the classes if the file has them."""

    calibrator: Calibrator
    method: str
    class_names: list[str] | None

    def refuse_other_classes(self, path: str | Path, class_names: Sequence[str], of: str) -> None:
        """Raise `InputError` where the calibrator was fitted to other classes, or in another order.

        Indices are what classes without names are called: they go with any names.

        Args:
            path: file of the calibrator.
            class_names: C names of the classes that it is to be used for.
            of: what has these classes, for the message.
        """
        names, given = self.class_names, list(class_names)
        if names is None:
            return
        if len(names) != len(given):
            raise InputError(f"{path} was fitted to {len(names)} classes, {of} holds {len(given)}.")
        if (k := first_other(names, given)) is not None:
            raise InputError(
                f"{path} was fitted to classes in another order or of other names: class {k} is {names[k]!r} "
                f"there and {given[k]!r} in {of}."
            )


def save_calibrator(calibrator: Calibrator, path: str | Path, class_names: Sequence[str] | None = None) -> Path:
    """Write a fitted calibrator to a safetensors file, all of it or nothing.

    The metadata hold, under "calibrator", JSON with `schema`, `method` (the registered name), `arguments`,
    `class_names` and `version`; the tensors are the `state_dict`.

    Args:
        calibrator: one whose class is registered.
        path: the file.
        class_names: names of the classes, to be shown where it is used.

    Raises:
        InputError: a calibrator that is not registered, since no name would restore it.

    Example:
        >>> import tempfile, torch
        >>> from calibrant.posthoc import TemperatureScaling
        >>> logits = torch.tensor([[3.0, 0.0], [0.0, 3.0], [2.0, 0.0]])
        >>> fitted = TemperatureScaling().fit(logits, torch.tensor([0, 1, 1]))
        >>> path = save_calibrator(fitted, Path(tempfile.mkdtemp()) / "temperature.safetensors")
        >>> restored = load_calibrator(path)
        >>> restored.method, torch.equal(restored.calibrator(logits), fitted(logits))
        ('temperature', True)
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    header = {
        "schema": _SCHEMA,
        "method": method_of(calibrator),
        "arguments": calibrator.arguments(),
        "class_names": None if class_names is None else list(class_names),
        "version": __version__,
    }
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in calibrator.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # Where nothing can be written, Python says so more plainly than what writes.
        unfinished.touch()
        save_file(state, unfinished, {"calibrator": json.dumps(header)})
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def load_calibrator(path: str | Path) -> SavedCalibrator:
    """Read a calibrator that `save_calibrator` wrote.

    Args:
        path: the file.

    Raises:
        InputError: a file that is missing, damaged or holds something else, or whose method is not known here.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"There is no calibrator {path}; calibrant calibrate writes one.")
    # Likewise of what cannot be read.
    path.open("rb").close()
    try:
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {}).get("calibrator", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path} is no calibrator, or damaged ({error}); write it again.") from None
    if not isinstance(header, dict) or not {"schema", "method", "arguments"} <= header.keys():
        raise InputError(f"{path} holds no calibrator; calibrant calibrate writes one.")
    if header["schema"] != _SCHEMA:
        raise InputError(
            f"{path} was written by calibrant {header.get('version')} in a form that {__version__} does not "
            "read; install that version, or fit it again."
        )
    arguments = _arguments(header["arguments"])
    sets = header["method"] == CONFORMAL
    calibrator = ConformalSets(**arguments) if sets else create(header["method"], **arguments)
    try:
        calibrator.load_state_dict(state)
    except (RuntimeError, ValueError):
        raise InputError(f"{path} lacks parts of a {header['method']} calibrator; fit it again.") from None
    return SavedCalibrator(calibrator, header["method"], header.get("class_names"))


def method_of(calibrator: Calibrator) -> str:
    """Return the name under which the class of a calibrator is registered."""
    if type(calibrator) is ConformalSets:
        return CONFORMAL
    for name in CALIBRATORS.names():
        if CALIBRATORS.get(name) is type(calibrator):
            return name
    raise InputError(
        f"{type(calibrator).__name__} is not registered, so no file could name it; put "
        "@calibrant.posthoc.register(NAME) before its class."
    )


def _arguments(given: dict[str, Any]) -> dict[str, Any]:
    """Return arguments as constructors take them: what JSON made a list was a tuple."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
