"""Spline calibration of the confidence: the slope of a cubic spline through accumulated labels."""

import math

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc.base import RowCalibrator
from calibrant.posthoc.binning import interpolate
from calibrant.posthoc.registry import register

#: Points of the confidence at which the result is kept.
_POINTS = 1001
_NEWTON_STEPS = 20
#: Between these factors of the logits a row can become anything that keeps its order.
_FLATTEST, _SHARPEST = 1e-3, 1e4


@register("spline")
class SplineCalibration(RowCalibrator):
    r"""Correct the confidence by the slope of a spline through accumulated right answers minus confidences.

    Let s be the confidences (largest probabilities) in rising order, a whether each prediction is right, and
    t in [0, 1] the fraction of rows up to a confidence:

    $$h(t) = \frac1N \sum_{i \le tN} (a_i - s_i), \quad \hat s(t) = s(t) + g'(t)$$

    where g is the natural cubic spline with equally spaced knots that fits h best in least squares. No bins,
    and h is what the Kolmogorov-Smirnov calibration error is the maximum of. The corrected confidence is kept
    between 1 / C and 1 - 1 / (C (N + 1)), which N rows do not rule out. The paper mends this one number; the
    other classes follow by the sharpness that gives the row its new confidence, softmax(beta z), so that the
    order of the classes, and accuracy, stay.

    Args:
        n_knots: knots of the spline, 6 in the paper.

    Attributes:
        confidence_: confidences in rising order, at most 1001 of them.
        corrected_: what each becomes; linear between, constant beyond.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: for fewer than 3 knots; as `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(5000, 5, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> mended = SplineCalibration().fit(3 * logits, target)(3 * logits)
        >>> right = (logits.argmax(1) == target).float().mean()
        >>> bool((mended.softmax(1).amax(1).mean() - right).abs() < 0.005)
        True

    Gupta, Rahimi, Ajanthan, Mensink, Sminchisescu, Hartley: "Calibration of neural networks using splines",
    ICLR 2021.
    """

    keeps_argmax = True
    improves_nll = False

    confidence_: Tensor
    corrected_: Tensor
    floor_: Tensor

    def __init__(self, n_knots: int = 6) -> None:
        super().__init__()
        if n_knots < 3:
            raise InputError(f"n_knots must be 3 or more, not {n_knots}.")
        self.n_knots = n_knots
        for name in ("confidence_", "corrected_"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.float64))
        self.register_buffer("floor_", torch.zeros((), dtype=torch.float64))

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Fit the spline."""
        n, classes = logits.shape
        confidence, top = logits.double().softmax(1).max(1)
        order = confidence.argsort(stable=True)
        confidence, right = confidence[order], (top == labels)[order].double()
        gap = (right - confidence).cumsum(0) / n
        at = torch.linspace(0, 1, n, dtype=torch.float64, device=logits.device)
        values, slopes = natural_spline(at, self.n_knots)
        # Fewer rows than knots leave the spline open; the pseudo-inverse takes the smallest.
        corrected = confidence + slopes @ (torch.linalg.pinv(values) @ gap)
        # Rows of one confidence get one result, whatever their order.
        knots, group, size = torch.unique(confidence, return_inverse=True, return_counts=True)
        corrected = torch.zeros_like(knots).index_add(0, group, corrected) / size
        kept = torch.linspace(0, len(knots) - 1, min(len(knots), _POINTS)).round().long().to(logits.device)
        self._learned(
            classes_=torch.tensor(classes),
            confidence_=knots[kept],
            corrected_=corrected[kept],
            floor_=torch.tensor(1 / (classes * (n + 1)), dtype=torch.float64),
        )
        self.converged_ = True

    def mend(self, rows: Tensor) -> Tensor:
        """Return log-probabilities with the corrected confidence."""
        log_p = rows.double().log_softmax(-1)
        confidence = log_p.amax(-1)
        corrected = interpolate(confidence.exp(), self.confidence_, self.corrected_)
        least, most = 1 / rows.shape[-1], 1 - self.floor_.to(rows.device)
        return with_confidence(log_p, corrected.clamp(min=least).minimum(most))


def with_confidence(logits: Tensor, confidence: Tensor) -> Tensor:
    """Return log_softmax(beta * logits), with beta > 0 for each row such that its largest is the confidence.

    The log-odds of the largest are a concave rising function of beta, on which Newton's method reaches the
    root from below. A row whose largest logits are tied comes as near as it can.

    Args:
        logits: (*, C) float64.
        confidence: (*,) in [1 / C, 1).
    """
    top = logits.argmax(-1, keepdim=True)
    below = logits - logits.gather(-1, top)
    goal = confidence.logit().unsqueeze(-1)
    beta = torch.ones_like(goal)
    for _ in range(_NEWTON_STEPS):
        others = (beta * below).scatter(-1, top, -math.inf)
        mass = others.logsumexp(-1, keepdim=True)
        slope = -((others - mass).exp() * below).sum(-1, keepdim=True)
        beta = (beta + (goal + mass) / slope.clamp_min(1e-12)).clamp(_FLATTEST, _SHARPEST)
    return (beta * below).log_softmax(-1)


def natural_spline(at: Tensor, n_knots: int) -> tuple[Tensor, Tensor]:
    """Return the natural cubic splines through equally spaced knots in [0, 1], as matrices.

    Args:
        at: (n,) points in [0, 1], float64.
        n_knots: number of knots.

    Returns:
        (n, n_knots) matrices that take the values at the knots to the values, and to the slopes, at the points.
    """
    step = 1 / (n_knots - 1)
    eye = torch.eye(n_knots, dtype=at.dtype, device=at.device)
    # Second derivatives at the knots: 0 at both ends, continuous slope in between.
    bands = torch.diag(at.new_full((n_knots,), 4.0))
    bands += torch.diag(at.new_ones(n_knots - 1), 1) + torch.diag(at.new_ones(n_knots - 1), -1)
    bands[0], bands[-1] = eye[0], eye[-1]
    differences = torch.zeros_like(bands)
    differences[1:-1] = 6 / step**2 * (eye[:-2] - 2 * eye[1:-1] + eye[2:])
    bends = torch.linalg.solve(bands, differences)
    left = (at / step).floor().long().clamp(0, n_knots - 2)
    b = (at / step - left).unsqueeze(1)
    a = 1 - b
    values = a * eye[left] + b * eye[left + 1]
    values = values + step**2 / 6 * ((a**3 - a) * bends[left] + (b**3 - b) * bends[left + 1])
    slopes = (eye[left + 1] - eye[left]) / step
    slopes = slopes + step / 6 * ((1 - 3 * a**2) * bends[left] + (3 * b**2 - 1) * bends[left + 1])
    return values, slopes
