"""How each class is predicted: what a table of the classes shows."""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor

from calibrant.metrics.state import State
from calibrant.metrics.views import ece

#: What a state must keep.
PARTS = frozenset({"class", "labels", "hits"})


@dataclass(frozen=True)
class ClassFacts:
    """Facts of each class, float64 tensors of shape (C,).

    Attributes:
        count: samples, or pixels, that have the class.
        share: their share of all.
        said: mean probability of the class, over all.
        found: share of its samples that are predicted as it; nan where there are none.
        error: calibration error of its probability.
    """

    count: Tensor
    share: Tensor
    said: Tensor
    found: Tensor
    error: Tensor

    @classmethod
    def of(cls, state: State) -> Self:
        """Return the facts that a state with `PARTS` holds.

        Example:
            >>> state = State(PARTS, num_classes=2)
            >>> probs = torch.tensor([[0.5, 0.5], [0.75, 0.25]])
            >>> state.update(probs, torch.tensor([0, 0]), inputs="probs")
            >>> facts = ClassFacts.of(state)
            >>> facts.said.tolist(), facts.share.tolist(), facts.found.tolist(), facts.error.tolist()
            ([0.625, 0.375], [1.0, 0.0], [1.0, nan], [0.375, 0.375])
        """
        bins, count = state.class_bins(), state.sums["label_count"].double()
        return cls(
            count,
            count / bins.total,
            bins.confidence.sum(1) / bins.total,
            state.sums["label_correct"].double() / count,
            ece(bins),
        )

    def as_json(self) -> dict[str, list[float | None]]:
        """Return the facts as a result keeps them: null for nan."""
        return {name: as_list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, tree: dict[str, Any]) -> Self:
        """Return what `as_json` wrote."""
        return cls(**{each.name: as_tensor(tree[each.name]) for each in fields(cls)})


def as_list(values: Tensor) -> list[float | None]:
    """Return numbers as JSON can hold them: null for nan.

    Example:
        >>> as_list(torch.tensor([1.0, float("nan")]))
        [1.0, None]
    """
    return [None if value != value else value for value in values.double().cpu().tolist()]


def as_tensor(values: list[float | None]) -> Tensor:
    """Return what `as_list` made a list, as float64."""
    return torch.tensor([float("nan") if value is None else value for value in values], dtype=torch.float64)
