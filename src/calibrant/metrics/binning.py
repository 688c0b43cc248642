"""The one binning rule, and by name the rules of other software, so that published values can be compared.

Our rule: bins (lo, hi], 0 in the first bin, edges k/B compared as if every value were float64, on every type
and device.
"""

import operator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from calibrant.errors import InputError, nearest


@dataclass(frozen=True)
class Convention:
    """How some software bins.

    Attributes:
        name: under which it is chosen.
        edges: "exact" for k/B; "linspace32" and "linspace64" for the numbers that `torch.linspace` makes in
            float32 and `numpy.linspace` in float64; "ceil" for the index ceil(B p - 1), where the rounding of
            the product decides.
        rounds: whether float64 values are rounded to float32 first.
        closed: the side on which a bin includes its edge.
        outside: what becomes of 0 (where bins are open below) and of values above 1 by rounding: "clamp" into
            the first and last bin, "drop", or "raise".
        hidden_bin: which end of the range has a bin of its own: 1 "above" the last, 0 "below" the first.
        counts_edges: whether the number of bins is meant as the number of edges.
        classes: over which the class-wise mean runs: "all" columns, or those up to the largest label.
        weights: whether the shares are of "all" samples or of those that fell in a bin.
        adaptive: where equal-mass bins end: at "ranks" (ties kept together), at "interpolated" quantiles or
            at "floor_ranks", both with the lowest sample dropped.
    """

    name: str
    edges: Literal["exact", "linspace32", "linspace64", "ceil"] = "exact"
    rounds: bool = False
    closed: Literal["left", "right"] = "right"
    outside: Literal["clamp", "drop", "raise"] = "clamp"
    hidden_bin: Literal["above", "below"] | None = None
    counts_edges: bool = False
    classes: Literal["all", "to_max_label"] = "all"
    weights: Literal["all", "binned"] = "all"
    adaptive: Literal["ranks", "interpolated", "floor_ranks"] = "ranks"

    def bins(self, n_bins: int) -> int:
        """Return how many bins there are when the caller asks for `n_bins`."""
        least = 1 + self.counts_edges
        try:
            whole = operator.index(n_bins)
        except TypeError:
            whole = 0
        if whole < least:
            raise InputError(f"n_bins must be an integer of at least {least}, not {n_bins!r}.")
        return whole - self.counts_edges + (self.hidden_bin is not None)


CONVENTIONS = {
    c.name: c
    for c in (
        Convention("calibrant"),
        Convention(
            "guo2017", edges="linspace32", outside="drop", classes="to_max_label", adaptive="interpolated"
        ),
        Convention("focal_calibration_dict", edges="ceil", outside="raise"),
        Convention("torchmetrics", edges="linspace32", rounds=True, closed="left", hidden_bin="above"),
        Convention("netcal", edges="linspace64", closed="left"),
        Convention("mapie", edges="linspace64", counts_edges=True, hidden_bin="below"),
        Convention("mdca", edges="linspace64", outside="drop", adaptive="floor_ranks"),
        Convention("mislas", edges="linspace64", outside="drop", weights="binned"),
        Convention("aslp", edges="linspace32", outside="drop", weights="binned"),
    )
}


def convention(name: str) -> Convention:
    """Return the convention called `name`; raises `InputError` with the known names.

    Example:
        >>> convention("netcal").closed
        'left'
    """
    if name not in CONVENTIONS:
        raise InputError(f"There is no convention {name!r}; {nearest(name, CONVENTIONS)}")
    return CONVENTIONS[name]


def bin_edges(n_bins: int, rule: Convention) -> Tensor:
    """Return the edges as float64, hidden bin aside.

    Example:
        >>> bin_edges(2, convention("calibrant"))
        tensor([0.0000, 0.5000, 1.0000], dtype=torch.float64)
    """
    bins = rule.bins(n_bins) - (rule.hidden_bin is not None)
    if rule.edges == "linspace64":
        edges = torch.arange(bins + 1, dtype=torch.float64) * (1.0 / bins)
        edges[-1] = 1.0
        return edges
    if rule.edges == "linspace32":
        return torch.linspace(0, 1, bins + 1).double()
    return torch.arange(bins + 1, dtype=torch.float64) / bins


def bin_index(values: Tensor, n_bins: int, rule: Convention) -> Tensor:
    """Return the bin of each value, int64; a dropped value gets one past the last bin.

    Args:
        values: real, any shape, in [0, 1] up to rounding.
        n_bins: number of bins as the caller gave it.
        rule: the convention.

    Raises:
        InputError: for a value that a rule with `outside="raise"` has no bin for.

    Example:
        >>> bin_index(torch.tensor([0.0, 0.1, 0.5, 0.51, 1.0]), 2, convention("calibrant"))
        tensor([0, 0, 0, 1, 1])
    """
    bins = rule.bins(n_bins)
    if rule.rounds or values.dtype in (torch.float16, torch.bfloat16):
        values = values.float()
    if rule.edges == "ceil":
        index = (values.double() * n_bins - 1).ceil().long()
    elif rule.edges == "exact" and rule.closed == "right":
        index = _exact_index(values, n_bins, _edges_below(n_bins, rule, values.dtype, values.device))
    else:
        inner = _inner_edges(n_bins, rule, values.dtype, values.device)
        index = torch.bucketize(values, inner, right=rule.closed == "left")
    if rule.outside == "clamp":
        return index
    out = (values <= 0) | (values > 1)
    if rule.outside == "raise" and out.any():
        raise InputError(
            f"The convention {rule.name!r} has no bin for a confidence of {float(values[out][0]):g}; "
            "choose another convention."
        )
    return torch.where(out, bins, index)


def _exact_index(values: Tensor, n_bins: int, edges: Tensor) -> Tensor:
    """Return the bin by arithmetic and one look at an edge, which is much faster than a search.

    Let a value lie in (g/B, (g+1)/B]. Rounding is monotone, so the rounded product B p lies in [g, g + 1]; its
    floor k is g or g + 1, and whether p > k/B tells which.
    """
    guess = (values * n_bins).long().clamp_(0, n_bins)
    return guess.add_(values > edges[guess]).sub_(1).clamp_(0, n_bins - 1)


@lru_cache(maxsize=256)
def _edges_below(n_bins: int, rule: Convention, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return all edges, rounded down to `dtype`."""
    inner = _inner_edges(n_bins, rule, dtype, device)
    return torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])


@lru_cache(maxsize=256)
def _inner_edges(n_bins: int, rule: Convention, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the edges between bins, so rounded to `dtype` that every comparison falls as in float64.

    For float32 p, `p > edge` holds exactly when p > (edge rounded down to float32), and `p >= edge` exactly
    when p >= (edge rounded up): no value need be cast.
    """
    edges = bin_edges(n_bins, rule)
    inner = {None: edges[1:-1], "above": edges[1:], "below": edges[:-1]}[rule.hidden_bin]
    rounded = inner.to(dtype)
    if dtype != torch.float64:
        away = rounded.new_tensor(float("inf" if rule.closed == "left" else "-inf"))
        wrong = rounded.double() < inner if rule.closed == "left" else rounded.double() > inner
        rounded = torch.where(wrong, rounded.nextafter(away), rounded)
    return rounded.to(device)
