"""Golden cases: inputs and outputs of the published code, which ours must reproduce.

A folder holds pairs NAME.json / NAME.npz. Each case has a kind and a target; a handler
for that pair runs our code on the inputs and returns the outputs by name.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from tests.golden.refused import REFUSED

HERE = Path(__file__).parent
Outputs = Mapping[str, Tensor | float | int | np.ndarray]


@dataclass(frozen=True)
class Case:
    """One case of a golden file; arrays as tensors."""

    file: str
    name: str
    kind: str
    target: str
    params: dict[str, Any]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    note: str

    @property
    def key(self) -> str:
        return f"{self.file}/{self.name}"


@dataclass(frozen=True)
class Handler:
    run: Callable[[Case], Outputs]
    tolerance: float | dict[str, float] | None


@dataclass(frozen=True)
class Verdict:
    """What became of a case: the worst relative error of its outputs, or why there is none."""

    case: Case
    status: Literal["passed", "refused", "failed", "without counterpart"]
    error: float
    message: str


HANDLERS: dict[tuple[str, str], Handler] = {}


def handles(
    kind: str, *targets: str, tolerance: float | dict[str, float] | None = None
) -> Callable[[Callable[[Case], Outputs]], Callable[[Case], Outputs]]:
    """File a function as the counterpart of the cases of `kind` whose target is one of `targets`.

    Args:
        kind: as in the json.
        *targets: as in the json.
        tolerance: how far an output may be off, relative to the largest magnitude of the expected array or to
            1, whichever is larger; one number or one by output name. Default by type: 1e-10 in float64, 1e-5
            in float32, exact for integers.
    """

    def file(run: Callable[[Case], Outputs]) -> Callable[[Case], Outputs]:
        for target in targets:
            assert (kind, target) not in HANDLERS, f"two handlers for {kind} {target}"
            HANDLERS[kind, target] = Handler(run, tolerance)
        return run

    return file


def load(folder: Path) -> Iterator[Case]:
    """Yield every case of every golden file in `folder`."""
    for path in sorted(folder.glob("*.json")):
        description = json.loads(path.read_text())
        with np.load(path.with_suffix(".npz")) as arrays:
            held = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays.files}
        for case in description["cases"]:
            yield Case(
                file=path.stem,
                name=case["name"],
                kind=case["kind"],
                target=case["target"],
                params=case["params"],
                inputs={name: held[key] for name, key in case["inputs"].items()},
                outputs={name: held[key] for name, key in case["outputs"].items()},
                note=case.get("note") or "",
            )


def judge(case: Case) -> Verdict:
    """Run the counterpart of a case and compare every output that is not refused."""
    if case.key in REFUSED:
        return Verdict(case, "refused", 0.0, REFUSED[case.key])
    handler = HANDLERS.get((case.kind, case.target))
    if handler is None:
        return Verdict(case, "without counterpart", 0.0, f"no handler for {case.kind} {case.target}")
    try:
        produced = handler.run(case)
    except Exception as error:
        return Verdict(case, "failed", float("inf"), f"{type(error).__name__}: {error}")
    worst, complaints = 0.0, []
    for name, expected in case.outputs.items():
        if f"{case.key}:{name}" in REFUSED:
            continue
        if name not in produced:
            complaints.append(f"{name} was not produced")
            continue
        error = _distance(produced[name], expected)
        worst = max(worst, error)
        allowed = _allowed(handler.tolerance, name, expected)
        if not error <= allowed:
            complaints.append(f"{name} is off by {error:.3g}, allowed {allowed:.0e}")
    return Verdict(case, "failed" if complaints else "passed", worst, "; ".join(complaints))


def _distance(produced: Tensor | float | int | np.ndarray, expected: Tensor) -> float:
    ours = torch.as_tensor(produced).detach().double()
    theirs = expected.double()
    if ours.shape != theirs.shape:
        return float("inf")
    if theirs.numel() == 0:
        return 0.0
    if not torch.equal(ours.isnan(), theirs.isnan()):
        return float("inf")
    ours, theirs = ours.nan_to_num(), theirs.nan_to_num()
    return float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1.0))


def _allowed(tolerance: float | dict[str, float] | None, name: str, expected: Tensor) -> float:
    if isinstance(tolerance, float):
        return tolerance
    if tolerance and name in tolerance:
        return tolerance[name]
    if not expected.is_floating_point():
        return 0.0
    return 1e-10 if expected.dtype == torch.float64 else 1e-5
