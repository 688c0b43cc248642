"""Whether an exported network says what the trained one says, on the test samples of its run."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calibrant import metrics
from calibrant.data import Data, DenseData
from calibrant.errors import InputError
from calibrant.export.samples import take
from calibrant.metrics.over_images import OverImages
from calibrant.training.maps import MapModule
from calibrant.training.module import TrainingModule

#: Largest difference between probabilities that rounding explains.
TOLERANCE = 1e-5
#: Share of the samples that rounding may move over a step of a calibrator that has steps.
OVER_STEPS = 0.01
#: Numbers in a batch of samples, about.
_BATCH = 1 << 22

Network = Callable[[Tensor], tuple[Tensor, Tensor]]


@dataclass
class Difference:
    """How far an exported network is from the trained one.

    Attributes:
        probs: largest difference between probabilities.
        logits: largest difference between logits, of finite ones, over the larger of 1 and their size.
        samples: how many were compared.
        apart: how many of them differ by more than `TOLERANCE`.
    """

    probs: float = 0.0
    logits: float = 0.0
    samples: int = 0
    apart: int = 0

    def note(self, given: tuple[Tensor, Tensor], expected: tuple[Tensor, Tensor]) -> None:
        """Take note of probabilities and logits, and of those that they should be."""
        apart = (given[0] - expected[0]).abs().flatten(1).amax(1)
        # NaN is as far apart as can be.
        apart = apart.nan_to_num(nan=math.inf)
        self.probs = max(self.probs, float(apart.max()))
        self.samples += len(apart)
        self.apart += int((apart > TOLERANCE).sum())
        size = expected[1].abs().clamp(min=1)
        relative = ((given[1] - expected[1]).abs() / size)[expected[1].isfinite()]
        if len(relative):
            self.logits = max(self.logits, float(relative.max()))


@dataclass
class Checked:
    """What a check found.

    Attributes:
        samples: how many samples were compared.
        metrics: by name, what the trained network is worth on them.
        exported: by format, the same of the exported network.
        differences: by format, how far it is from the trained one.
    """

    samples: int
    metrics: dict[str, float]
    exported: dict[str, dict[str, float]] = field(default_factory=dict)
    differences: dict[str, Difference] = field(default_factory=dict)


def check(
    trained: Network, exported: Mapping[str, Network], data: Data, module: TrainingModule, count: int | None
) -> Checked:
    """Run test samples through the trained network and each exported one, and compare.

    Args:
        trained: from samples to probabilities and logits.
        exported: the same by format.
        data: whose test samples are taken.
        module: measures maps in the sizes of their files.
        count: how many, evenly spaced; None for all.

    Raises:
        InputError: a count below 1.
    """
    size = len(data.task.test)
    if count is not None and count < 1:
        raise InputError(f"samples must be 1 or more, not {count}.")
    count = size if count is None else min(count, size)
    positions = torch.linspace(0, size - 1, count).round().long()
    judges = {name: _judge(data, module) for name in ("", *exported)}
    differences = {name: Difference() for name in exported}
    step = max(1, _BATCH // max(take(data, positions[:1]).numel(), 1))
    for part in torch.split(positions, min(step, 500)):
        samples = take(data, part)
        with torch.no_grad():
            expected = trained(samples)
        judges[""].note(part, expected[1])
        for name, network in exported.items():
            said = network(samples)
            differences[name].note(said, expected)
            judges[name].note(part, said[1])
    found = {name: judge.metrics() for name, judge in judges.items()}
    return Checked(count, found.pop(""), found, differences)


def _judge(data: Data, module: TrainingModule) -> "_Rows | _Maps":
    if isinstance(data, DenseData):
        assert isinstance(module, MapModule)
        return _Maps(data, module)
    return _Rows(data)


class _Rows:
    """The metrics of samples with one label each."""

    def __init__(self, data: Data) -> None:
        assert not isinstance(data, DenseData)
        self._targets = data.task.test.targets
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def note(self, positions: Tensor, logits: Tensor) -> None:
        """Take note of the logits of the samples at some positions."""
        self._logits.append(logits)
        self._labels.append(self._targets[positions])

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name."""
        logits, labels = torch.cat(self._logits), torch.cat(self._labels)
        found = metrics.evaluate(logits, labels, inputs="logits", intervals=False)
        return {name: estimate.value for name, estimate in found.items()}


class _Maps:
    """The metrics of maps, each in the size of its file."""

    def __init__(self, data: DenseData, module: MapModule) -> None:
        self._images, self._module = data.task.test, module
        self._scores: OverImages = module.new_scores()

    def note(self, positions: Tensor, logits: Tensor) -> None:
        """Take note of the logits of the images at some positions, which are calibrated already."""
        for position, map_ in zip(positions.tolist(), logits, strict=True):
            self._module.measure(self._scores, self._images, position, map_, None)

    def metrics(self) -> dict[str, float]:
        """Return the metrics by name."""
        return {name: estimate.value for name, estimate in self._scores.estimates(intervals=False).items()}
