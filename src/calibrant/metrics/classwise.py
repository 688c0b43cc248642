"""Binned sums of every class's probability, at the cost of the few entries that leave the first bin.

The probabilities of a row sum to 1, so fewer than B of them exceed 1/B. Only those are binned; what the first
bin of a class holds is the sum over its column less the rest.
"""

import torch
from torch import Tensor

from calibrant.metrics.binning import Convention, bin_index
from calibrant.metrics.rows import Piece


def add_classwise(piece: Piece, n_bins: int, rule: Convention, sums: dict[str, Tensor]) -> None:
    """Add to the class-wise sums, (C, bins) each; to "class_residual_sq" where it is kept."""
    whole = rule.outside == "clamp" and rule.hidden_bin is None and rule.edges != "ceil"
    add = _add_sparse if whole and len(piece.labels) else _add_plain
    add(piece, n_bins, rule, sums)


def _add_plain(piece: Piece, n_bins: int, rule: Convention, sums: dict[str, Tensor]) -> None:
    """Bin every entry: for the conventions that drop some."""
    bins = rule.bins(n_bins)
    probs = piece.probs.movedim(1, 2).reshape(-1, piece.probs.shape[1])
    if piece.valid is not None:
        probs = probs[piece.valid.reshape(-1)]
    classes = torch.arange(probs.shape[1], device=probs.device)
    key = (bin_index(probs, n_bins, rule) + (bins + 1) * classes).reshape(-1)
    hit = (piece.labels.unsqueeze(1) == classes).reshape(-1)
    wide = probs.double().reshape(-1)
    size = len(classes) * (bins + 1)

    def by_bin(values: Tensor) -> Tensor:
        return values.view(-1, bins + 1)[:, :bins]

    sums["class_count"] += by_bin(torch.bincount(key, minlength=size))
    sums["class_correct"] += by_bin(torch.bincount(key[hit], minlength=size))
    sums["class_confidence"] += by_bin(_sum(key, wide, size))
    if "class_residual_sq" in sums:
        sums["class_residual_sq"] += by_bin(_sum(key, (wide - hit.double()).square(), size))


def _add_sparse(piece: Piece, n_bins: int, rule: Convention, sums: dict[str, Tensor]) -> None:
    probs = piece.probs
    if piece.valid is not None:
        probs = probs.masked_fill(~piece.valid.unsqueeze(1), 0.0)
    _, classes, pixels = probs.shape
    bins = rule.bins(n_bins)
    size = classes * bins
    rows = len(piece.labels)
    high = _entries_above((1 - 1e-6) / n_bins, probs)
    values = probs.reshape(-1)[high]
    key = bin_index(values, n_bins, rule) + bins * (high // pixels % classes)
    wide = values.double()
    label_value = piece.at_label.double()
    label_key = bin_index(piece.at_label, n_bins, rule) + bins * piece.labels

    count = torch.bincount(key, minlength=size).view(classes, bins)
    count[:, 0] += rows - count.sum(1)
    sums["class_count"] += count
    sums["class_correct"] += torch.bincount(label_key, minlength=size).view(classes, bins)

    mass, squares = _column_sums(probs, squares="class_residual_sq" in sums)
    sums["class_confidence"] += _completed(_sum(key, wide, size).view(classes, bins), mass)
    if squares is not None:
        squared = _completed(_sum(key, wide.square(), size).view(classes, bins), squares)
        # (p - 1)^2 in place of p^2 where the class is the label.
        squared += _sum(label_key, 1 - 2 * label_value, size).view(classes, bins)
        sums["class_residual_sq"] += squared


#: Rows of which one maximum is looked at first.
_BLOCK = 8


def _entries_above(floor: float, probs: Tensor) -> Tensor:
    """Return the flat indices of the entries above `floor`: of few, in blocks of rows with such an entry."""
    n, classes, pixels = probs.shape
    if pixels > 1 or n < 4 * _BLOCK:
        return (probs > floor).reshape(-1).nonzero().squeeze(1)
    flat = probs.reshape(n, classes)
    whole = n - n % _BLOCK
    block, column = (flat[:whole].reshape(-1, _BLOCK, classes).amax(1) > floor).nonzero(as_tuple=True)
    first = block * (_BLOCK * classes) + column
    found = (first.unsqueeze(1) + classes * torch.arange(_BLOCK, device=probs.device)).reshape(-1)
    found = found[flat.reshape(-1)[found] > floor]
    rest = (flat[whole:] > floor).reshape(-1).nonzero().squeeze(1) + whole * classes
    return torch.cat([found, rest])


def _completed(binned: Tensor, total: Tensor) -> Tensor:
    """Put what is missing from the (C,) totals into the first bin."""
    binned[:, 0] += (total - binned.sum(1)).clamp(min=0)
    return binned


def _column_sums(probs: Tensor, squares: bool) -> tuple[Tensor, Tensor | None]:
    """Return the (C,) sums of the probabilities, and on request of their squares, in float64."""
    if probs.shape[2] == 1 and probs.device.type == "cpu":
        wide = probs.squeeze(2).double()
        ones = wide.new_ones(len(wide))
        mass = ones @ wide
        return mass, ones @ wide.square() if squares else None
    mass = probs.sum((0, 2), dtype=torch.float64)
    return mass, probs.square().sum((0, 2), dtype=torch.float64) if squares else None


def _sum(index: Tensor, values: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).scatter_add_(0, index, values)
