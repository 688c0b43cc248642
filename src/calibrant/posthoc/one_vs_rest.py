"""Binary calibrators, class against the rest: what they share, Platt scaling and beta calibration."""

import math
import warnings

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from calibrant.errors import InputError
from calibrant.posthoc.base import ConvergenceWarning, RowCalibrator
from calibrant.posthoc.newton import logistic_regression
from calibrant.posthoc.registry import register


def log_shares(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return ln p and ln(1 - p) of each class of (*, C) logits, both to full relative precision."""
    logits = logits.double()
    log_p = logits.log_softmax(-1)
    # Only the largest p can be near 1, where 1 - p cancels: there the others are added up.
    top = log_p.argmax(-1, keepdim=True)
    log_rest = torch.log1p(-log_p.exp().clamp(max=0.75))
    others = log_p.scatter(-1, top, -math.inf).logsumexp(-1, keepdim=True)
    return log_p, log_rest.scatter(-1, top, others)


class OneVsRest(RowCalibrator):
    """A binary calibrator, fitted to each class against the rest, whose results are normalised to sum to 1.

    Two classes are one problem: class 1 against class 0, as elsewhere. A method writes `fit_scores` and
    `log_odds`. All is computed in float64.
    """

    improves_nll = False

    floor_: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("floor_", torch.zeros((), dtype=torch.float64))

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Fit to each class."""
        n, classes = logits.shape
        truth = labels.unsqueeze(1) == torch.arange(classes, device=labels.device)
        self._learned(
            classes_=torch.tensor(classes), floor_=torch.tensor(1 / (classes * (n + 1)), dtype=torch.float64)
        )
        self.fit_scores(*(self._problems(part) for part in (*log_shares(logits), truth)))

    def mend(self, rows: Tensor) -> Tensor:
        """Return calibrated log-probabilities."""
        log_odds = self.log_odds(*(self._problems(part) for part in log_shares(rows)))
        if int(self.classes_) == 2:
            return torch.cat([logsigmoid(-log_odds), logsigmoid(log_odds)], -1)
        return logsigmoid(log_odds).log_softmax(-1)

    def fit_scores(self, log_p: Tensor, log_rest: Tensor, truth: Tensor) -> None:
        """Fit to (n, K) float64 ln p and ln(1 - p), and (n, K) bool whether the class is the label."""
        raise InputError(f"{type(self).__name__} must define fit_scores(log_p, log_rest, truth).")

    def log_odds(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return the calibrated log-odds (*, K) of (*, K) ln p and ln(1 - p)."""
        raise InputError(f"{type(self).__name__} must define log_odds(log_p, log_rest).")

    def from_probability(self, probability: Tensor) -> Tensor:
        """Return log-odds of probabilities, 0 and 1 replaced by what n rows do not rule out.

        That is one row more, shared among the classes: 1 / (C (n + 1)). A probability of 0 would be refuted
        without end by one label.
        """
        return probability.clamp(self.floor_, 1 - self.floor_).logit()

    def _problems(self, values: Tensor) -> Tensor:
        return values[..., 1:] if values.shape[-1] == 2 else values


class _Logistic(OneVsRest):
    """Log-odds that are linear in features, with one set of coefficients a class."""

    coefficients_: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.converged_ = False
        self.register_buffer("coefficients_", torch.zeros(0, dtype=torch.float64))

    def features(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return the (F, *, K) features."""
        raise InputError(f"{type(self).__name__} must define features(log_p, log_rest).")

    def log_odds(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return coefficients * features."""
        coefficients = self.coefficients_.to(log_p.device)
        return torch.einsum("f...k,kf->...k", self.features(log_p, log_rest), coefficients)

    def _keep(self, coefficients: Tensor, certain: Tensor, truth: Tensor) -> None:
        self._learned(coefficients_=coefficients)
        self.converged_ = bool(certain.all())
        if not self.converged_:
            of = "" if truth.shape[1] == 1 else f" for {int((~certain).sum())} of {truth.shape[1]} classes"
            warnings.warn(
                f"{type(self).__name__} did not converge{of}: labels that the scores tell apart without error "
                "have no most likely slope.",
                ConvergenceWarning,
                stacklevel=6,
            )


@register("platt")
class PlattScaling(_Logistic):
    r"""Map the log-odds of each class by a factor and an offset: logistic regression on the score.

    $$\hat p_k = \sigma\left(a_k s_k + b_k\right), \quad s_k = \ln \frac{p_k}{1 - p_k}$$

    For two classes s = z_1 - z_0. For more, each class is fitted against the rest, and the results are divided
    by their sum. Each fit is convex and solved by Newton's method in float64.

    Args:
        smoothing: whether the targets are Platt's, (N+ + 1) / (N+ + 2) and 1 / (N- + 2) instead of 1 and 0,
            which keep the slope finite where the scores tell the labels apart; N+ and N- count both kinds.
            scikit-learn's `CalibratedClassifierCV(method="sigmoid")` does the same. False for the minimum of
            the NLL.

    Attributes:
        coefficients_: (K, 2) factor and offset of each class; K = 1 for two classes.
        converged_: whether every minimum is certified.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: as `Calibrator.fit` says, and when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> score = torch.randn(10_000, generator=generator)
        >>> target = torch.bernoulli(torch.sigmoid(2 * score - 1), generator=generator).long()
        >>> scaling = PlattScaling().fit(torch.stack([-score, score], 1), target)
        >>> [round(float(c), 1) for c in scaling.coefficients_[0]]
        [1.0, -1.0]

    Platt: "Probabilistic outputs for support vector machines and comparisons to regularized likelihood
    methods", Advances in Large Margin Classifiers, 1999; Lin, Lin, Weng: "A note on Platt's probabilistic
    outputs for support vector machines", Machine Learning 68, 2007.
    """

    def __init__(self, smoothing: bool = True) -> None:
        super().__init__()
        self.smoothing = smoothing

    def fit_scores(self, log_p: Tensor, log_rest: Tensor, truth: Tensor) -> None:
        """Find factors and offsets."""
        targets = truth.double()
        if self.smoothing:
            positive = targets.sum(0)
            high, low = (positive + 1) / (positive + 2), 1 / (len(truth) - positive + 2)
            targets = torch.where(truth, high, low)
        self._keep(*_fit(self.features(log_p, log_rest), targets, truth, self.floor_), truth)

    def features(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return the log-odds, and 1."""
        return torch.stack([log_p - log_rest, torch.ones_like(log_p)])


@register("beta")
class BetaCalibration(_Logistic):
    r"""Map p and 1 - p of each class by powers: what is right when scores follow beta distributions.

    $$\hat p_k = \sigma\left(a_k \ln p_k - b_k \ln(1 - p_k) + c_k\right), \quad a_k, b_k \ge 0$$

    With a = b it is Platt scaling of the log-odds; a and b apart, it also mends scores that are too sure at
    one end and not sure enough at the other, and holds the identity (a = b = 1, c = 0). The fit is convex: of
    the minima with a and b free, with a = 0, with b = 0 and with both 0, it is the best with a, b >= 0.
    For more than two classes, each is fitted against the rest, and the results are divided by their sum.

    Attributes:
        coefficients_: (K, 3) a, b and c of each class; K = 1 for two classes.
        converged_: whether every minimum is certified.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: as `Calibrator.fit` says, and when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(50_000, 2, generator=generator)
        >>> p = logits.softmax(1)[:, 1]
        >>> odds = p**2 / (1 - p) ** 0.5
        >>> target = torch.bernoulli(odds / (1 + odds), generator=generator).long()
        >>> [round(float(c), 1) for c in BetaCalibration().fit(logits, target).coefficients_[0]]
        [2.0, 0.5, 0.0]

    Kull, Silva Filho, Flach: "Beta calibration: a well-founded and easily implemented improvement on logistic
    calibration for binary classifiers", AISTATS 2017.
    """

    def fit_scores(self, log_p: Tensor, log_rest: Tensor, truth: Tensor) -> None:
        """Find a, b and c."""
        features, targets = self.features(log_p, log_rest), truth.double()
        best, certain = _fit(features, targets, truth, self.floor_)
        signed = (best[:, :2] < 0).any(1).nonzero().squeeze(1)
        if len(signed):
            best[signed], certain[signed] = self._on_the_edge(
                features[:, :, signed], targets[:, signed], truth[:, signed]
            )
        self._keep(best, certain, truth)

    def _on_the_edge(self, features: Tensor, targets: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best coefficients among those with a = 0, b = 0 or both, for classes that need it."""
        best, certain = features.new_zeros(truth.shape[1], 3), torch.zeros_like(truth[0])
        lowest = torch.full_like(best[:, 0], math.inf)
        for free in ((False, True), (True, False), (False, False)):
            chosen = torch.tensor([*free, True], device=features.device)
            found, sure = _fit(features[chosen], targets, truth, self.floor_)
            tried = torch.zeros_like(best)
            tried[:, chosen] = found
            score = torch.einsum("fnk,kf->nk", features, tried)
            nll = (torch.nn.functional.softplus(score) - targets * score).mean(0)
            better = (tried[:, :2] >= 0).all(1) & (nll < lowest)
            best, lowest = torch.where(better.unsqueeze(1), tried, best), torch.where(better, nll, lowest)
            certain = torch.where(better, sure, certain)
        return best, certain

    def features(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return ln p, -ln(1 - p), and 1."""
        return torch.stack([log_p, -log_rest, torch.ones_like(log_p)])


def _fit(features: Tensor, targets: Tensor, truth: Tensor, floor: Tensor) -> tuple[Tensor, Tensor]:
    """Fit features of unit size; a class that all labels show, or none, gets a constant."""
    size = features.square().mean(1).sqrt().clamp_min(1e-300)
    constant = truth.all(0) | ~truth.any(0)
    found, certain = logistic_regression(features / size.unsqueeze(1), targets.where(~constant, 0.5))
    fixed = torch.zeros_like(found)
    fixed[:, -1] = torch.where(truth.all(0), 1 - floor, floor).logit()
    return torch.where(constant.unsqueeze(1), fixed, found / size.T), certain | constant
