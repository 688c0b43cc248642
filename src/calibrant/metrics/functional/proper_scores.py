"""Proper scores, and what they are made of."""

from collections.abc import Iterable
from typing import Unpack

from torch import Tensor

from calibrant.metrics.averages import measured
from calibrant.metrics.functional.arguments import Averaged
from calibrant.metrics.rows import Inputs
from calibrant.metrics.views import BrierDecomposition


def nll(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[Averaged]) -> Tensor:
    r"""Negative log-likelihood of the labels, in nats: the mean of $-\log p_y$.

    From logits it never overflows; of probabilities, one that is exactly 0 at a label gives inf: nothing is
    clipped.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> nll(torch.tensor([[0.5, 0.5]]), torch.tensor([1]), inputs="probs")
        tensor(0.6931, dtype=torch.float64)
    """
    value: Tensor = measured("nll", values, target, inputs=inputs, **settings)
    return value


def brier(values: Tensor, target: Tensor, *, inputs: Inputs, **settings: Unpack[Averaged]) -> Tensor:
    r"""Brier score: the mean of $\sum_k (p_k - [y = k])^2$, between 0 and 2.

    The sum runs over the classes, with two of them as well; scikit-learn's score of a binary task is half of
    it.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        **settings: `ignore_index` and `average`, as in `functional`.

    Example:
        >>> import torch
        >>> brier(torch.tensor([[0.7, 0.3]]), torch.tensor([0]), inputs="probs")
        tensor(0.1800, dtype=torch.float64)

    Brier: "Verification of forecasts expressed in terms of probability", Monthly Weather Review 1950.
    """
    value: Tensor = measured("brier", values, target, inputs=inputs, **settings)
    return value


def brier_decomposition(
    values: Tensor,
    target: Tensor,
    *,
    inputs: Inputs,
    n_bins: int = 15,
    ignore_index: int | Iterable[int] | None = None,
) -> BrierDecomposition:
    r"""Brier score as reliability - resolution + uncertainty + what the bins hide; the parts sum to it exactly.

    Reliability is the squared class-wise calibration error, resolution how far the outcomes differ between
    bins, uncertainty the score of always predicting the class frequencies; see `views.brier_decomposition`.

    Args:
        values: (N, C, *) logits or probabilities.
        target: (N, *) integer labels.
        inputs: "logits" or "probs": what the values are.
        n_bins: number of bins of each class's probability.
        ignore_index: label, or labels, whose rows count nowhere.

    Example:
        >>> import torch
        >>> probs = torch.tensor([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
        >>> parts = brier_decomposition(probs, torch.tensor([0, 1, 1, 0]), inputs="probs")
        >>> float(parts.uncertainty)
        0.5

    Murphy: "A New Vector Partition of the Probability Score", Journal of Applied Meteorology 1973; Stephenson,
    Coelho, Jolliffe: "Two Extra Components in the Brier Score Decomposition", Weather and Forecasting 2008.
    """
    value: BrierDecomposition = measured(
        "brier_decomposition", values, target, inputs=inputs, n_bins=n_bins, ignore_index=ignore_index
    )
    return value
