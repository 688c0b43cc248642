"""Ensemble temperature scaling: a mixture of scaled, given and uniform probabilities."""

import math
import warnings
from itertools import product

import torch
from torch import Tensor

from calibrant.posthoc.base import ConvergenceWarning, RowCalibrator
from calibrant.posthoc.registry import register
from calibrant.posthoc.temperature import TemperatureScaling

_TOLERANCE = 1e-9
#: Directions in which the curvature is less than this share of the largest are those of like components.
_ALIKE = 1e-13


@register("ensemble_temperature")
class EnsembleTemperatureScaling(RowCalibrator):
    r"""Mix the probabilities of temperature scaling with those given and with the uniform ones.

    $$\hat p = w_1 \, \mathrm{softmax}(z / T) + w_2 \, \mathrm{softmax}(z) + w_3 / C,
      \quad w \ge 0, \; w_1 + w_2 + w_3 = 1$$

    T is that of `TemperatureScaling`; then the NLL is convex in w, and Newton's method on each face of the
    simplex finds its minimum, certified by the derivatives (Karush-Kuhn-Tucker). The order of the classes never
    changes, so accuracy stays.

    Args:
        bounds: least and greatest T.

    Attributes:
        temperature_: T.
        weights_: (3,) w.
        converged_: whether temperature and weights are certified.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: as `Calibrator.fit` says, and when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 4 * torch.randn(20_000, 4, generator=generator)
        >>> true = 0.5 * (logits / 2).softmax(1) + 0.3 * logits.softmax(1) + 0.2 / 4
        >>> target = torch.multinomial(true, 1, generator=generator).squeeze(1)
        >>> scaling = EnsembleTemperatureScaling().fit(logits, target)
        >>> scaling.converged_, bool(scaling.weights_[2] > 0.1)
        (True, True)

    Zhang, Kailkhura, Han: "Mix-n-Match: Ensemble and compositional methods for uncertainty calibration in deep
    learning", ICML 2020.
    """

    keeps_argmax = True

    temperature_: Tensor
    weights_: Tensor

    def __init__(self, bounds: tuple[float, float] = (1e-3, 1e3)) -> None:
        super().__init__()
        # Says what is wrong with bounds.
        TemperatureScaling(bounds=bounds)
        self.bounds, self.converged_ = bounds, False
        self.register_buffer("temperature_", torch.ones((), dtype=torch.float64))
        self.register_buffer("weights_", torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Find the temperature, then the weights."""
        with warnings.catch_warnings():
            # The mixture has a minimum even where the temperature has none.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaling = TemperatureScaling(bounds=self.bounds).fit(logits, labels)
        temperature = scaling.temperature_.clone()
        self._learned(classes_=torch.tensor(logits.shape[1]), temperature_=temperature)
        at_label = self._components(logits.double()).gather(-1, labels.view(1, -1, 1).expand(3, -1, 1))
        weights, certain = mixture_weights(at_label.squeeze(-1).T.exp())
        self._learned(weights_=weights)
        self.converged_ = certain
        if not certain:
            warnings.warn(
                "EnsembleTemperatureScaling did not converge: no weights were certified; the best are kept.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def mend(self, rows: Tensor) -> Tensor:
        """Return the logarithm of the mixture."""
        weights = self.weights_.to(rows)
        return (self._components(rows) + weights.log().view(3, *[1] * rows.dim())).logsumexp(0)

    def extra_repr(self) -> str:
        """Show temperature and weights."""
        weights = ", ".join(f"{float(w):.4g}" for w in self.weights_)
        return f"temperature={float(self.temperature_):.6g}, weights=({weights})"

    def _components(self, rows: Tensor) -> Tensor:
        """Return the (3, *, C) log-probabilities that are mixed."""
        scaled = (rows / self.temperature_.to(rows)).log_softmax(-1)
        uniform = torch.full_like(rows, -math.log(rows.shape[-1]))
        return torch.stack([scaled, rows.log_softmax(-1), uniform])


def mixture_weights(likelihoods: Tensor) -> tuple[Tensor, bool]:
    r"""Minimise $-\frac1n \sum_i \ln \sum_m w_m \ell_{im}$ over the simplex.

    Args:
        likelihoods: (n, M) of each component, M small; no row all 0.

    Returns:
        The (M,) weights, and whether the conditions of a minimum hold.

    On every set of components that may be mixed, the minimum of the function plus the sum of the weights is
    sought, which has its minimum where they sum to 1; the best that has no negative weight is the answer.
    """
    components = likelihoods.shape[1]
    best, lowest = likelihoods.new_full((components,), 1 / components), math.inf
    for support in product((True, False), repeat=components):
        if not any(support):
            continue
        chosen = torch.tensor(support, device=likelihoods.device)
        part = _unconstrained(likelihoods[:, chosen])
        if part is None or (part < -1e-12).any():
            continue
        weights = torch.zeros_like(best)
        weights[chosen] = part.clamp_min(0)
        weights /= weights.sum()
        value = float(-(likelihoods @ weights).log().mean())
        if value < lowest:
            best, lowest = weights, value
    slope = 1 - (likelihoods / (likelihoods @ best).unsqueeze(1)).mean(0)
    certain = bool((slope >= -_TOLERANCE).all() and (slope * best).abs().max() <= _TOLERANCE)
    return best, certain


def _unconstrained(likelihoods: Tensor) -> Tensor | None:
    """Minimise -mean ln(L w) + sum w over all w where L w > 0, or return None where there is no such w."""
    n, components = likelihoods.shape
    weights = likelihoods.new_full((components,), 1 / components)
    if (likelihoods @ weights <= 0).any():
        return None
    for _ in range(200):
        ratio = likelihoods / (likelihoods @ weights).unsqueeze(1)
        gradient = 1 - ratio.mean(0)
        # Components that are alike on every row make the matrix singular: then the shortest step.
        inverse = torch.linalg.pinv(ratio.T @ ratio / n, rtol=_ALIKE, hermitian=True)
        step = -inverse @ gradient
        # The function is self-concordant: this length keeps L w positive and descends without a search.
        decrement = float((n * -(gradient * step).sum()).clamp_min(0).sqrt())
        weights = weights + step / (1 + decrement if decrement > 0.25 else 1)
        # Steps shorten quadratically: the next one would be below rounding.
        if decrement <= 1e-7:
            break
    return weights
