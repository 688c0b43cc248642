"""Equal-mass bins: as many samples in each as ties allow. Nothing depends on the order of the data."""

from dataclasses import replace

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.binning import Convention
from calibrant.metrics.ranking import Groups, grouped
from calibrant.metrics.samples import Cells
from calibrant.metrics.views import Bins


def equal_mass_bins(cells: Cells, n_bins: int, rule: Convention) -> Bins:
    r"""Return bins (lo, hi] that end at the samples of rank $\lceil k N / B \rceil$, k = 1 … B.

    Equal confidences stay together, in the lower bin; so a bin may be empty and another larger. Other
    conventions place the ends elsewhere and drop the lowest sample; they need every sample.

    Raises:
        InputError: if another convention is asked for beyond the number of samples that are kept exactly.
    """
    rule.bins(n_bins)
    order = grouped(cells.confidence, cells.correct, cells.count)
    confidence, _, count = order
    if rule.adaptive == "ranks":
        last = _last_groups(count, n_bins)
        inner = confidence[last]
        index = torch.bucketize(torch.arange(len(count), device=last.device), last)
    else:
        if not cells.exact:
            raise InputError(
                f"The adaptive bins of the convention {rule.name!r} need every sample: take the metric's class "
                "with a higher exact_limit."
            )
        edges = _foreign_edges(cells.confidence.sort().values, n_bins, rule)
        inner = edges[1:-1]
        index = torch.bucketize(confidence, inner)
        index[(confidence <= edges[0]) | (confidence > edges[-1])] = n_bins
    return _collect(order, index, n_bins, torch.cat([confidence[:1], inner, confidence[-1:]]))


def _collect(order: Groups, index: Tensor, n_bins: int, edges: Tensor) -> Bins:
    def by_bin(values: Tensor) -> Tensor:
        return values.new_zeros(n_bins + 1).index_add_(0, index, values)[:n_bins]

    confidence, correct, count = order
    squares = correct * (1 - confidence).square() + (count - correct) * confidence.square()
    return Bins(
        count=by_bin(count).round().long(),
        confidence=by_bin(confidence * count),
        correct=by_bin(correct).round().long(),
        residual_sq=by_bin(squares),
        total=int(count.sum().round()),
        edges=edges,
    )


def _last_groups(count: Tensor, n_bins: int) -> Tensor:
    """Return which group of ties holds the last sample of each bin but the final one."""
    seen = count.cumsum(0).round().long()
    k = torch.arange(1, n_bins, device=seen.device)
    ranks = (k * seen[-1] + n_bins - 1) // n_bins
    return torch.searchsorted(seen, ranks)


def aece_error_bound(cells: Cells, n_bins: int) -> Tensor:
    """Return how far AECE from a histogram can be from AECE of the samples themselves; 0 where they are held.

    Only the cells in which a bin ends matter: a sample that sits in the other bin changes the sum by at most
    twice its own residual, and the correct and the wrong samples of a cell pull in opposite directions. The
    confidences of a cell differ by less than 1/512 of their distance to the nearer end of [0, 1], which the
    factor covers.
    """
    if cells.exact:
        return torch.zeros((), dtype=torch.float64, device=cells.count.device)
    order = grouped(cells.confidence, cells.correct, cells.count)
    last = _last_groups(order[2], n_bins)
    confidence, correct, count = (x[last] for x in order)
    least = 2.0**-24
    # The sample at the end of the bin itself stays where it is: a cell of one sample is exact.
    others = count - 1
    moved = torch.maximum(
        torch.minimum(count - correct, others) * confidence.clamp(min=least),
        torch.minimum(correct, others) * (1 - confidence).clamp(min=least),
    )
    return 2 * (1 + 1 / 256) * moved.sum() / cells.count.sum()


def _foreign_edges(ordered: Tensor, n_bins: int, rule: Convention) -> Tensor:
    """Return the ends of the bins that the reference code makes of sorted values."""
    n = len(ordered)
    if rule.adaptive == "floor_ranks":
        ranks = torch.arange(n_bins, device=ordered.device) * (n // n_bins)
        return torch.cat([ordered[ranks], ordered.new_ones(1)])
    place = torch.linspace(0, n, n_bins + 1, dtype=torch.float64, device=ordered.device).clamp(max=n - 1)
    below = place.floor().long()
    above = (below + 1).clamp(max=n - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def adaptive_class_errors(
    cells: Cells, num_classes: int, n_bins: int, rule: Convention, threshold: float
) -> Tensor:
    """Return (C,) the error of each class over equal-mass ranges of its probabilities above the threshold.

    By our rule the plain mean of the gaps over the ranges that hold any, nan for a class without a probability
    above the threshold. By the convention "mdca" the gaps weigh by their share of all samples.
    """
    errors = []
    for k in range(num_classes):
        mine = cells.group == k
        own = cells.where(mine)
        if rule.adaptive != "ranks":
            silenced = torch.where(own.confidence < threshold, 0.0, own.confidence)
            bins = equal_mass_bins(replace(own, confidence=silenced), n_bins, rule)
            errors.append(bins.gap.abs().sum())
            continue
        above = own.confidence > threshold if threshold > 0 else torch.ones_like(own.group, dtype=torch.bool)
        if not above.any():
            errors.append(cells.confidence.new_tensor(float("nan")))
            continue
        bins = equal_mass_bins(own.where(above), n_bins, rule)
        held = bins.count > 0
        errors.append((bins.mean_confidence - bins.accuracy)[held].abs().mean())
    return torch.stack(errors)
