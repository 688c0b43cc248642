"""Calibrators whose result is a step or piecewise linear function: histogram, scaling-binning, isotonic."""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.posthoc.one_vs_rest import OneVsRest, PlattScaling
from calibrant.posthoc.registry import register

Edges = Literal["equal_mass", "equal_width"]


class _Binned(OneVsRest):
    """One value for each bin of a score."""

    jumps = True

    edges_: Tensor
    values_: Tensor

    def __init__(self, n_bins: int) -> None:
        super().__init__()
        if n_bins < 1:
            raise InputError(f"n_bins must be 1 or more, not {n_bins}.")
        self.n_bins = n_bins
        self.register_buffer("edges_", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("values_", torch.zeros(0, dtype=torch.float64))

    def _keep(self, edges: Tensor, score: Tensor, target: Tensor) -> None:
        """Keep the mean of (n, K) targets in each bin of (n, K) scores, the middle of a bin that is empty."""
        index = _bins(edges, score)
        sums = torch.zeros_like(edges.new_zeros(len(edges), self.n_bins)).scatter_add(1, index.T, target.T)
        count = torch.zeros_like(sums).scatter_add(1, index.T, torch.ones_like(target.T))
        ends = (
            torch.nn.functional.pad(edges, (1, 0), value=0.0),
            torch.nn.functional.pad(edges, (0, 1), value=1.0),
        )
        empty = count == 0
        self._learned(edges_=edges, values_=torch.where(empty, (ends[0] + ends[1]) / 2, sums / count))
        self.converged_ = True

    def _look_up(self, score: Tensor) -> Tensor:
        """Return the log-odds of the bins that (*, K) scores fall into."""
        rows = score.reshape(-1, score.shape[-1])
        index = _bins(self.edges_.to(rows.device), rows)
        return self.from_probability(self.values_.to(rows.device).gather(1, index.T).T).reshape(score.shape)


@register("histogram")
class HistogramBinning(_Binned):
    r"""Replace the probability of each class by the frequency of the class in its bin.

    $$\hat p_k = \frac{\#\{i : p_{ik} \in B, \; y_i = k\}}{\#\{i : p_{ik} \in B\}} \quad \text{for } p_k \in B$$

    Bins are (lo, hi]. A frequency of 0 or 1 is moved to what N rows do not rule out, 1 / (C (N + 1)); a bin
    without a row keeps its middle. For more than two classes, each is binned against the rest, and the results
    are divided by their sum.

    Args:
        n_bins: number of bins.
        edges: "equal_mass", with as many rows in each bin as ties allow, or "equal_width".

    Attributes:
        edges_: (K, n_bins - 1) inner edges; K = 1 for two classes.
        values_: (K, n_bins) frequencies.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: for fewer than one bin; as `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> logits = torch.tensor([[2.0, 0.0], [3.0, 0.0], [0.0, 2.0], [0.0, 3.0]])
        >>> binning = HistogramBinning(n_bins=2).fit(logits, torch.tensor([0, 1, 1, 0]))
        >>> binning(logits).softmax(1)[:, 1].tolist()
        [0.5, 0.5, 0.5, 0.5]

    Zadrozny, Elkan: "Obtaining calibrated probability estimates from decision trees and naive Bayesian
    classifiers", ICML 2001.
    """

    # Two mirrored bins close on different sides.
    equivariant = False

    def __init__(self, n_bins: int = 15, edges: Edges = "equal_mass") -> None:
        super().__init__(n_bins)
        check_choice("edges", edges, ("equal_mass", "equal_width"))
        self.edges = edges

    def fit_scores(self, log_p: Tensor, log_rest: Tensor, truth: Tensor) -> None:
        """Count."""
        score = log_p.exp()
        if self.edges == "equal_mass":
            edges = _equal_mass(score, self.n_bins)
        else:
            edges = torch.arange(1, self.n_bins, dtype=score.dtype, device=score.device) / self.n_bins
            edges = edges.expand(score.shape[1], -1).contiguous()
        self._keep(edges, score, truth.double())

    def log_odds(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return the log-odds of the bin."""
        return self._look_up(log_p.exp())


@register("scaling_binning")
class ScalingBinning(_Binned):
    r"""Platt-scale each class, then replace the result by its mean in bins of equal mass.

    $$\hat p_k = \frac{1}{|B|} \sum_{i : g_k(z_i) \in B} g_k(z_i) \quad \text{for } g_k(z) \in B$$

    g is `PlattScaling`. The output takes few values, so that its calibration error can be measured, unlike that
    of g itself; averaging g instead of labels needs far fewer rows than histogram binning. Scaling, edges and
    means use the same rows, as the authors' library does; the theorem of the paper splits them in three.

    Args:
        n_bins: number of bins.

    Attributes:
        edges_: (K, n_bins - 1) inner edges of g; K = 1 for two classes.
        values_: (K, n_bins) means.
        converged_: whether the scaling converged.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: for fewer than one bin; as `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(1000, 2, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> binning = ScalingBinning(n_bins=10).fit(3 * logits, target)
        >>> len(binning(3 * logits).softmax(1)[:, 1].unique())
        10

    Kumar, Liang, Ma: "Verified uncertainty calibration", NeurIPS 2019.
    """

    equivariant = False

    def __init__(self, n_bins: int = 15) -> None:
        super().__init__(n_bins)
        self.scaling = PlattScaling()

    def fit_scores(self, log_p: Tensor, log_rest: Tensor, truth: Tensor) -> None:
        """Scale, then bin what came out."""
        self.scaling._learned(classes_=self.classes_, floor_=self.floor_)
        self.scaling.fit_scores(log_p, log_rest, truth)
        score = self.scaling.log_odds(log_p, log_rest).sigmoid()
        self._keep(_equal_mass(score, self.n_bins), score, score)
        self.converged_ = self.scaling.converged_

    def log_odds(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return the log-odds of the bin."""
        return self._look_up(self.scaling.log_odds(log_p, log_rest).sigmoid())


@register("isotonic")
class IsotonicCalibration(OneVsRest):
    r"""Map the probability of each class by the increasing function that fits the labels best.

    $$\min_{m \text{ increasing}} \; \sum_i \left(m(p_{ik}) - [y_i = k]\right)^2$$

    The regression is scikit-learn's; between its knots the function is linear, beyond them constant. A value of
    0 or 1 is moved to what N rows do not rule out, 1 / (C (N + 1)). For more than two classes, each is fitted
    against the rest, and the results are divided by their sum. Fitting needs scikit-learn; use does not.

    Attributes:
        scores_: knots of all classes, one class after the other.
        values_: values at the knots.
        ends_: (K + 1,) where the knots of each class begin and end; K = 1 for two classes.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: without scikit-learn; as `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> logits = torch.tensor([[0.0, -2.0], [0.0, -1.0], [0.0, 1.0], [0.0, 2.0]])
        >>> isotonic = IsotonicCalibration().fit(logits, torch.tensor([0, 1, 0, 1]))
        >>> [round(float(p), 2) for p in isotonic(logits).softmax(1)[:, 1]]
        [0.1, 0.5, 0.5, 0.9]

    Zadrozny, Elkan: "Transforming classifier scores into accurate multiclass probability estimates", KDD 2002.
    """

    # Between neighbouring knots it may rise by any amount.
    jumps = True

    scores_: Tensor
    values_: Tensor
    ends_: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scores_", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("values_", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("ends_", torch.zeros(1, dtype=torch.int64))

    def fit_scores(self, log_p: Tensor, log_rest: Tensor, truth: Tensor) -> None:
        """Regress."""
        try:
            from sklearn.isotonic import IsotonicRegression
        except ModuleNotFoundError:
            raise InputError(
                "Isotonic calibration needs scikit-learn; pip install 'calibrant[train]' brings it."
            ) from None
        knots: list[Tensor] = []
        values: list[Tensor] = []
        for score, target in zip(log_p.exp().T.cpu(), truth.double().T.cpu(), strict=True):
            fitted = IsotonicRegression(y_min=0.0, y_max=1.0).fit(score.numpy(), target.numpy())
            knots.append(torch.from_numpy(fitted.X_thresholds_))
            values.append(torch.from_numpy(fitted.y_thresholds_))
        ends = torch.tensor([0, *(len(k) for k in knots)]).cumsum(0)
        self._learned(scores_=torch.cat(knots), values_=torch.cat(values), ends_=ends)
        self.converged_ = True

    def log_odds(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Interpolate between the knots."""
        score, ends = log_p.exp(), self.ends_.tolist()
        columns = [
            interpolate(score[..., k], self.scores_[low:high], self.values_[low:high])
            for k, (low, high) in enumerate(pairwise(ends))
        ]
        return self.from_probability(torch.stack(columns, -1))


def interpolate(at: Tensor, knots: Tensor, values: Tensor) -> Tensor:
    """Return the piecewise linear function through sorted knots, constant beyond them."""
    knots, values = knots.to(at.device), values.to(at.device)
    if len(knots) == 1:
        return values[0].expand(at.shape)
    at = at.clamp(knots[0], knots[-1]).contiguous()
    right = torch.searchsorted(knots, at).clamp(1, len(knots) - 1)
    share = (at - knots[right - 1]) / (knots[right] - knots[right - 1])
    return torch.lerp(values[right - 1], values[right], share)


def _equal_mass(score: Tensor, n_bins: int) -> Tensor:
    """Return (K, n_bins - 1) edges halfway between the sorted (n, K) scores on both sides."""
    n = len(score)
    ordered = score.sort(0).values
    first = [min(max(round(k * n / n_bins), 1), n - 1) if n > 1 else 0 for k in range(1, n_bins)]
    after = torch.tensor(first, dtype=torch.int64, device=score.device)
    return ((ordered[(after - 1).clamp_min(0)] + ordered[after]) / 2).T.contiguous()


def _bins(edges: Tensor, score: Tensor) -> Tensor:
    """Return the (n, K) bins (lo, hi] that (n, K) scores fall into."""
    return torch.searchsorted(edges, score.T.contiguous()).T
