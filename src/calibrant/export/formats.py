"""ONNX and `torch.export`: how a traced network is written, and how such a file is run."""

import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from calibrant.errors import InputError

OUTPUTS = ("probs", "logits")
#: Name of the file inside a `.pt2` that holds the metadata.
FACTS = "calibrant.json"
#: Under which ONNX nodes say where in the code they come from.
_TRACE = "pkg.torch.onnx.stack_trace"
_BATCH = ({0: Dim("batch")},)


def traced(folded: nn.Module, samples: Tensor) -> ExportedProgram:
    """Return the program of a network for batches of any size.

    Args:
        folded: in evaluation mode, from a tensor to (probs, logits).
        samples: two or more, as an example.

    Raises:
        InputError: what the network or its calibrator does cannot be exported; PyTorch's reason is quoted.
    """
    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(folded, (samples,), dynamic_shapes=_BATCH, strict=False)
        except Exception as error:
            # torch.export has dozens of errors for what it cannot follow.
            raise InputError(f"The network cannot be exported by torch.export: {_reason(error)}") from error
    for node in program.graph.nodes:
        # Paths of this machine are nobody's business who gets the file.
        node.meta.pop("stack_trace", None)
    return program


class Format(ABC):
    """A format of exported networks.

    Attributes:
        title: what it is called.
        suffix: of its files.
    """

    title: ClassVar[str]
    suffix: ClassVar[str]

    @abstractmethod
    def require(self) -> None:
        """Import what the format needs, so that a missing package is told before the work."""

    @abstractmethod
    def write(self, program: ExportedProgram, facts: dict[str, Any], name: str, path: Path) -> None:
        """Write a program; `name` is that of its input, `facts` its metadata."""

    @abstractmethod
    def load(self, path: Path) -> "Loaded":
        """Return what runs a file."""


class Loaded(ABC):
    """An exported network that was read from its file."""

    @abstractmethod
    def __call__(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits of samples."""


class Onnx(Format):
    """ONNX, by PyTorch's exporter, run by onnxruntime; each of the metadata is an entry of JSON."""

    title, suffix = "ONNX", ".onnx"

    def require(self) -> None:
        """Import onnx, onnxscript and onnxruntime."""
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401

    def write(self, program: ExportedProgram, facts: dict[str, Any], name: str, path: Path) -> None:
        """Translate a program and write it, weights inside."""
        with _quiet(), torch.no_grad():
            try:
                plain = program.run_decompositions(_decompositions())
                exported = torch.onnx.export(
                    plain,
                    dynamo=True,
                    verbose=False,
                    input_names=[name],
                    output_names=OUTPUTS,
                    dynamic_shapes=_BATCH,
                )
                assert exported is not None
                for key, value in facts.items():
                    exported.model.metadata_props[key] = json.dumps(value)
                for node in exported.model.graph:
                    node.metadata_props.pop(_TRACE, None)
                exported.save(path, external_data=False)
            except Exception as error:
                # The exporter wraps whatever went wrong in errors of its own.
                raise InputError(
                    f"The network cannot be written as ONNX ({_reason(error)}); --format torch may take it."
                ) from error

    def load(self, path: Path) -> Loaded:
        """Return what runs a file."""
        return _Session(path)


class _Session(Loaded):
    def __init__(self, path: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._name = self._session.get_inputs()[0].name

    def __call__(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        probs, logits = self._session.run(list(OUTPUTS), {self._name: samples.numpy()})
        return torch.from_numpy(probs), torch.from_numpy(logits)


class Program(Format):
    """What `torch.export.load` reads; the metadata are a file of JSON in it, "calibrant.json"."""

    title, suffix = "torch.export", ".pt2"

    def require(self) -> None:
        """PyTorch alone is enough."""

    def write(self, program: ExportedProgram, facts: dict[str, Any], name: str, path: Path) -> None:
        """Write a program, weights inside."""
        # By a handle: PyTorch warns of a name that does not end in .pt2.
        with _quiet(), path.open("wb") as file:
            torch.export.save(program, file, extra_files={FACTS: json.dumps(facts)})

    def load(self, path: Path) -> Loaded:
        """Return what runs a file."""
        return _Module(path)


class _Module(Loaded):
    def __init__(self, path: Path) -> None:
        with _quiet(), path.open("rb") as file:
            self._module = torch.export.load(file).module()

    def __call__(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            probs, logits = self._module(samples)
        return probs, logits


#: By the names that the command line has for them.
FORMATS: dict[str, Format] = {"onnx": Onnx(), "torch": Program()}


def bisected(
    knots: Tensor,
    at: Tensor,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Tensor | None = None,
) -> Tensor:
    """Return `torch.searchsorted(knots, at)` by operations that ONNX has: the interval halved, step by step.

    Args:
        knots: (L,) sorted, or (*, L).
        at: of any shape, or (*, n).
        out_int32: not used: the result is int64.
        right: count the knots that are equal too.
        side: "right" for the same.
        sorter: not used: knots are sorted.

    Example:
        >>> bisected(torch.tensor([0.1, 0.5]), torch.tensor([0.0, 0.5, 0.9]))
        tensor([0, 1, 2])
    """
    size = knots.shape[-1]
    low = torch.zeros_like(at, dtype=torch.int64)
    high = torch.full_like(low, size)
    for _ in range(size.bit_length()):
        middle = torch.div(low + high, 2, rounding_mode="floor")
        place = middle.clamp(max=size - 1)
        knot = knots[place] if knots.dim() == 1 else knots.gather(-1, place)
        above = ((knot <= at) if right or side == "right" else (knot < at)) & (low < high)
        low, high = torch.where(above, middle + 1, low), torch.where(above, high, middle)
    return low


def _decompositions() -> dict[Any, Callable[..., Any]]:
    """Return what is written with other operations, since PyTorch's exporter to ONNX does not have it."""
    aten = torch.ops.aten
    return {aten.searchsorted.Tensor: bisected, aten.adaptive_max_pool2d.default: _largest}


def _largest(maps: Tensor, size: list[int]) -> Any:
    """Return the maximum of each map, as older PyTorch cannot; the places, which nothing uses, are 0."""
    if list(size) != [1, 1]:
        return NotImplemented
    found = maps.amax((-2, -1), keepdim=True)
    return found, torch.zeros_like(found, dtype=torch.int64)


def _reason(error: BaseException) -> str:
    """Return the first sentence of the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters say about themselves."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
