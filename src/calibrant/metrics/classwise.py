"""Binned sums of every class's probability, at the cost of the few entries that leave the first bin.

The probabilities of a row sum to 1, so fewer than B of them exceed 1/B. Only those are binned; what the first
bin of a class holds is the sum over its column less the rest.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from calibrant.metrics.binning import Convention, bin_index
from calibrant.metrics.rows import Piece


def classwise(piece: Piece, n_bins: int, rule: Convention, *, squares: bool) -> dict[str, Tensor]:
    """Return the class-wise sums of a piece, (C, bins) each; "class_residual_sq" on request."""
    whole = rule.outside == "clamp" and rule.hidden_bin is None and rule.edges != "ceil"
    of = _sparse if whole and len(piece.labels) else _plain
    return of(piece, n_bins, rule, squares)


def _plain(piece: Piece, n_bins: int, rule: Convention, squares: bool) -> dict[str, Tensor]:
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

    sums = {
        "class_count": torch.bincount(key, minlength=size),
        "class_correct": torch.bincount(key[hit], minlength=size),
        "class_confidence": _sum(key, wide, size),
    }
    if squares:
        sums["class_residual_sq"] = _sum(key, (wide - hit.double()).square(), size)
    return {name: values.view(-1, bins + 1)[:, :bins] for name, values in sums.items()}


def _sparse(piece: Piece, n_bins: int, rule: Convention, squares: bool) -> dict[str, Tensor]:
    probs = piece.probs
    if piece.valid is not None:
        probs = probs.masked_fill(~piece.valid.unsqueeze(1), 0.0)
    _, classes, pixels = probs.shape
    bins = rule.bins(n_bins)
    size = classes * bins
    high = _positions(_above(probs, (1 - 1e-6) / n_bins))
    values = probs.reshape(-1)[high]
    key = bin_index(values, n_bins, rule) + bins * ((high // pixels if pixels > 1 else high) % classes)
    wide = values.double()
    label_key = bin_index(piece.at_label, n_bins, rule) + bins * piece.labels

    count = torch.bincount(key, minlength=size).view(classes, bins)
    count[:, 0] += len(piece.labels) - count.sum(1)
    mass, mass_of_squares = _column_sums(probs, squares)
    sums = {
        "class_count": count,
        "class_correct": torch.bincount(label_key, minlength=size).view(classes, bins),
        "class_confidence": _completed(_sum(key, wide, size).view(classes, bins), mass, count),
    }
    if mass_of_squares is not None:
        squared = _completed(_sum(key, wide.square(), size).view(classes, bins), mass_of_squares, count)
        # (p - 1)^2 in place of p^2 where the class is the label.
        squared += _sum(label_key, 1 - 2 * piece.at_label.double(), size).view(classes, bins)
        sums["class_residual_sq"] = squared
    return sums


def _above(probs: Tensor, floor: float) -> Tensor:
    """Return where probabilities exceed `floor`.

    Floats that are not negative have the order of the integers of the same bits, which compare faster.
    """
    bits = {torch.float32: torch.int32, torch.float64: torch.int64}[probs.dtype]
    return probs.view(bits) > int(torch.tensor(floor, dtype=probs.dtype).view(bits))


def _positions(mask: Tensor) -> Tensor:
    """Return the flat positions of the few that are True: of the words of eight first, then within them."""
    flat = mask.reshape(-1)
    padded = pad(flat, (0, -len(flat) % 8))
    words = padded.view(torch.int64).nonzero(as_tuple=True)[0]
    at = 8 * words.unsqueeze(1) + torch.arange(8, device=mask.device)
    return at[padded.view(-1, 8)[words]]


def _completed(binned: Tensor, total: Tensor, count: Tensor) -> Tensor:
    """Put what is missing from the (C,) totals into the first bin; into an empty one not even the rounding."""
    binned[:, 0] += (total - binned.sum(1)).clamp(min=0) * (count[:, 0] > 0)
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
