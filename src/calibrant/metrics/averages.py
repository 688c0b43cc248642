"""Pooled values, or means over images or batches: three different quantities, chosen by name."""

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.binning import convention as by_name
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.rows import Inputs, Rows, checked
from calibrant.metrics.state import Spec, State

Average = Literal["pooled", "image", "image_weighted", "batch", "batch_weighted"]
Value = Tensor | tuple[Tensor, ...]


def check_average(average: str, *, batches: bool) -> None:
    """Raise `InputError` for an unknown average; those over batches need a metric that sees them."""
    names = ("pooled", "image", "image_weighted") + (("batch", "batch_weighted") if batches else ())
    if average not in names:
        raise InputError(f"average must be one of {', '.join(names)}, not {average!r}.")


def measured(
    name: str,
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    n_bins: int = 15,
    convention: str = "calibrant",
    ignore_index: int | Iterable[int] | None = None,
    task: str = "top_label",
    average: str = "pooled",
    **options: Any,
) -> Any:
    """Return a metric of one set of predictions: what every function of `functional` calls."""
    rows = checked(values, target, inputs=inputs, ignore_index=ignore_index)
    spec = Spec(DEFINITIONS[name].parts, max(values.shape[1], 2), n_bins, by_name(convention), task)
    check_average(average, batches=False)
    if average == "pooled":
        return of_rows(name, spec, rows, options)[0]
    units = UnitMeans(weighted=average.endswith("weighted"))
    for image in rows.images():
        units.add(*of_rows(name, spec, image, options, empty_is_none=True))
    return units.value()


def of_rows(
    name: str, spec: Spec, rows: Rows, options: dict[str, Any], *, empty_is_none: bool = False
) -> tuple[Any, int]:
    """Return a metric of rows and how many of them count."""
    state = State.over(spec, spec.zeros(rows.values.device), {})
    state.add(rows)
    count = int(state.sums["total"])
    if count == 0 and empty_is_none:
        return None, 0
    return DEFINITIONS[name].view(state, **options), count


class UnitMeans:
    """Mean of a metric over images or batches that hold any row that counts.

    Args:
        weighted: whether a unit weighs by the number of its rows.
    """

    def __init__(self, weighted: bool) -> None:
        self.weighted = weighted
        self.sum = torch.zeros((), dtype=torch.float64)
        self.weight = torch.zeros((), dtype=torch.float64)

    def add(self, value: Any, count: int) -> None:
        """Add the value of one unit of `count` rows."""
        if isinstance(value, tuple):
            raise InputError("A metric of several parts has no average over images or batches; use 'pooled'.")
        if count:
            weight = float(count) if self.weighted else 1.0
            self.sum = self.sum.to(value.device) + weight * value
            self.weight = self.weight.to(value.device) + weight

    def value(self) -> Tensor:
        """Return the mean; raises `InputError` when no unit has a row that counts."""
        if float(self.weight) == 0:
            raise InputError("There are no samples: nothing was given, or every label is ignored.")
        return self.sum / self.weight
