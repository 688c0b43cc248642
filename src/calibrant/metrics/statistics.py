"""What a network's outputs look like: distances between logits, spread of probabilities, known from unknown."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.ranking import auroc
from calibrant.metrics.rows import Inputs, checked


class LogitStatistics(NamedTuple):
    """Means over rows of distances between logits, float64.

    Attributes:
        mean_diff: mean distance of the other classes from the largest logit.
        max_diff: distance between the largest and the smallest logit.
        margin: distance between the largest and the second largest; 0 for a tie.
        max_diff_of_top: mean of the largest `max_diff`, by the shares that were asked for.
    """

    mean_diff: Tensor
    max_diff: Tensor
    margin: Tensor
    max_diff_of_top: dict[float, Tensor]


def logit_statistics(
    logits: Tensor,
    target: Tensor | None = None,
    *,
    ignore_index: int | Iterable[int] | None = None,
    top: Iterable[float] = (),
) -> LogitStatistics:
    """Distances between logits, which margin-based losses restrain.

    Args:
        logits: (N, C, *) real, C > 1.
        target: (N, *) labels; only needed to leave out the rows that are ignored.
        ignore_index: label, or labels, whose rows count nowhere.
        top: shares q in (0, 1]; for each, the mean over the fraction q of rows with the largest `max_diff`, at
            least one row.

    Raises:
        InputError: for shapes or labels that do not fit, for shares outside (0, 1], and when no row counts.

    Example:
        >>> found = logit_statistics(torch.tensor([[4.0, 2.0, 0.0]]))
        >>> float(found.mean_diff), float(found.max_diff), float(found.margin)
        (3.0, 4.0, 2.0)
    """
    rows = _flat(logits, target, ignore_index, inputs="logits", probs=False)
    if rows.shape[1] < 2:
        raise InputError("Distances between logits need at least two classes.")
    highest = rows.topk(2, dim=1).values
    spread = highest[:, 0] - rows.amin(1)
    mean_diff = (highest[:, :1] - rows).sum(1) / (rows.shape[1] - 1)
    of_top: dict[float, Tensor] = {}
    for share in top:
        if not 0 < share <= 1:
            raise InputError(f"A share of the rows must lie in (0, 1], not {share}.")
        of_top[share] = spread.topk(max(1, int(share * len(spread)))).values.mean()
    return LogitStatistics(mean_diff.mean(), spread.mean(), (highest[:, 0] - highest[:, 1]).mean(), of_top)


class ProbabilityStatistics(NamedTuple):
    """Means over rows, float64.

    Attributes:
        confidence: largest probability.
        kl_from_uniform: KL(uniform || p), in nats.
        l1_from_uniform: mean over the classes of |1/C - p|.
    """

    confidence: Tensor
    kl_from_uniform: Tensor
    l1_from_uniform: Tensor


def probability_statistics(
    values: Tensor,
    target: Tensor | None = None,
    *,
    inputs: Inputs,
    ignore_index: int | Iterable[int] | None = None,
    eps: float = 1e-10,
) -> ProbabilityStatistics:
    r"""How far the probabilities are from uniform.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) labels; only needed to leave out the rows that are ignored.
        inputs: "logits" or "probs".
        ignore_index: label, or labels, whose rows count nowhere.
        eps: added to a probability inside the logarithm, which keeps one that is 0 finite.

    Raises:
        InputError: for shapes, labels or values that cannot be used, and when no row counts.

    Example:
        >>> found = probability_statistics(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), inputs="probs")
        >>> float(found.confidence), float(found.l1_from_uniform)
        (0.75, 0.25)
    """
    probs = _flat(values, target, ignore_index, inputs=inputs, probs=True)
    uniform = torch.tensor(1 / probs.shape[1], dtype=torch.float64, device=probs.device)
    return ProbabilityStatistics(
        probs.amax(1).mean(),
        (uniform.log() - (probs + eps).log()).mean(1).mean(),
        (uniform - probs).abs().mean(),
    )


def entropy(values: Tensor, *, inputs: Inputs, normalised: bool = True, eps: float = 1e-10) -> Tensor:
    r"""Entropy of each row, $-\sum_k p_k \log(p_k + \epsilon)$, (N, *) float64.

    Args:
        values: (N, C, *) logits or probabilities.
        inputs: "logits" or "probs".
        normalised: whether to divide by log C, so that a uniform row has 1.
        eps: added inside the logarithm.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5], [1.0, 0.0]]), inputs="probs").abs().round(decimals=6)
        tensor([1., 0.], dtype=torch.float64)
    """
    probs = _flat(values, None, None, inputs=inputs, probs=True)
    found = -(probs * (probs + eps).log()).sum(1)
    if normalised:
        found = found / torch.tensor(float(probs.shape[1]), dtype=torch.float64).log()
    return found.reshape(values.shape[:1] + values.shape[2:])


class OODScores(NamedTuple):
    """Area under the ROC curve, float64, of two scores that tell unknown data from known."""

    entropy: Tensor
    confidence: Tensor


def ood_auroc(known: Tensor, unknown: Tensor, *, inputs: Inputs) -> OODScores:
    """How well entropy and confidence tell out-of-distribution data from in-distribution data.

    Args:
        known: (N, C, *) logits or probabilities of data like the training data.
        unknown: (M, C, *) those of other data.
        inputs: "logits" or "probs".

    Returns:
        `OODScores`: the probability that an unknown row has the larger entropy, and that a known row has the
        larger confidence; ties count half.

    Raises:
        InputError: for shapes or values that cannot be used.

    Example:
        >>> known, unknown = torch.tensor([[0.9, 0.1], [0.6, 0.4]]), torch.tensor([[0.5, 0.5], [0.3, 0.7]])
        >>> ood_auroc(known, unknown, inputs="probs").confidence
        tensor(0.7500, dtype=torch.float64)
    """
    label = torch.cat([torch.zeros(_rows(known)), torch.ones(_rows(unknown))]).to(known.device)
    spread = torch.cat([entropy(x, inputs=inputs).reshape(-1) for x in (known, unknown)])
    top = torch.cat([_flat(x, None, None, inputs=inputs, probs=True).amax(1) for x in (known, unknown)])
    return OODScores(auroc(spread, label), auroc(top, 1 - label))


def _rows(values: Tensor) -> int:
    return values.numel() // max(values.shape[1], 1)


def _flat(
    values: Tensor,
    target: Tensor | None,
    ignore_index: int | Iterable[int] | None,
    *,
    inputs: Inputs,
    probs: bool,
) -> Tensor:
    """Return the rows that count as (m, C) float64: probabilities, or the values as they were given."""
    if values.dim() < 2:
        raise InputError(f"values must be of shape (N, C, *), not {tuple(values.shape)}.")
    if target is None:
        target = torch.zeros(values.shape[:1] + values.shape[2:], dtype=torch.int64, device=values.device)
        ignore_index = None
    rows = checked(values, target, inputs=inputs, ignore_index=ignore_index)
    found = []
    for piece in rows.pieces():
        _ = piece.confidence  # looks for NaN and values out of range
        classes_last = (piece.probs if probs else piece.values).movedim(1, 2)
        found.append(classes_last.flatten(0, 1) if piece.valid is None else classes_last[piece.valid])
    if not sum(len(x) for x in found):
        raise InputError("There are no samples: nothing was given, or every label is ignored.")
    return torch.cat(found).double()
