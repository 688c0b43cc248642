"""Affine maps of the logits: vector scaling, matrix scaling with ODIR, and Dirichlet calibration."""

import math
import warnings

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc.base import ConvergenceWarning, RowCalibrator
from calibrant.posthoc.newton import Dense, Elementwise, Minimum, softmax_regression
from calibrant.posthoc.registry import register
from calibrant.posthoc.temperature import TemperatureScaling


class _Start:
    """Where an affine fit begins: features of unit size, and the logits after temperature scaling.

    Args:
        features: (n, C) float64, what the map is applied to.
        labels: (n,).
    """

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        with warnings.catch_warnings():
            # The map itself says whether it converged.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaling = TemperatureScaling().fit(features, labels)
        self.temperature = float(scaling.temperature_)
        self.all_right = self.temperature <= scaling.bounds[0]
        self.offset = features / self.temperature
        self.scale = float(features.square().mean().sqrt()) or 1.0
        self.features = features / self.scale
        self.present = torch.bincount(labels, minlength=features.shape[1]) > 0


class _Affine(RowCalibrator):
    """Shared by the affine maps: what is said about a fit without a minimum."""

    weight_: Tensor
    bias_: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.converged_, self.gradient_ = False, math.nan
        self.register_buffer("weight_", torch.zeros(0, dtype=torch.float64))
        self.register_buffer("bias_", torch.zeros(0, dtype=torch.float64))

    def _keep(self, start: _Start, found: Minimum, weight: Tensor, bias: Tensor) -> None:
        classes = torch.tensor(len(bias))
        self._learned(classes_=classes, weight_=weight, bias_=bias - bias.mean())
        self.gradient_, self.converged_ = found.gradient, found.converged and not start.all_right
        if not self.converged_:
            warnings.warn(
                f"{type(self).__name__} did not converge: the classes can be told apart without error, so the "
                "likelihood grows without end; fit it to more rows, or use temperature scaling.",
                ConvergenceWarning,
                stacklevel=5,
            )

    def get_extra_state(self) -> Tensor:
        """Return how the fit ended, as a tensor, so that any format can hold it."""
        return torch.tensor([self.converged_, self.gradient_], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over how the fit ended."""
        converged, self.gradient_ = state.tolist()
        self.converged_ = bool(converged)


@register("vector")
class VectorScaling(_Affine):
    r"""Give each class its own factor and offset.

    $$\hat z_k = w_k z_k + b_k, \quad
      (w, b) = \arg\min \; -\frac1N \sum_i \log \mathrm{softmax}(w \odot z_i + b)_{y_i}$$

    The objective is convex; Newton's method, started from temperature scaling, finds its minimum in float64.
    A class that no label shows keeps the factor of temperature scaling and the offset 0: nothing is known of
    it. Offsets are given with mean 0.

    Attributes:
        weight_: (C,) factors.
        bias_: (C,) offsets.
        converged_: whether the minimum is certified; there is none when the classes can be told apart.
        gradient_: largest derivative at the result, for logits scaled to a root mean square of 1.

    Shape:
        - logits: (N, C, *); the output keeps shape, type and device.

    Raises:
        InputError: as `Calibrator.fit` says, and when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 2 * torch.randn(20_000, 3, generator=generator)
        >>> true = logits * torch.tensor([0.5, 1.0, 0.5]) + torch.tensor([1.0, 0.0, -1.0])
        >>> target = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
        >>> scaling = VectorScaling().fit(logits, target)
        >>> [round(float(w), 1) for w in scaling.weight_], scaling.converged_
        ([0.5, 1.0, 0.5], True)

    Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", ICML 2017.
    """

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Find factors and offsets."""
        start = _Start(logits.double(), labels)
        linear = Elementwise(start.features, start.present)
        found = softmax_regression(linear, start.offset, labels, start.features.new_zeros(2, logits.shape[1]))
        weight = found.at[0] / start.scale + 1 / start.temperature
        self._keep(start, found, weight, linear.centred(found.at[1]))

    def mend(self, rows: Tensor) -> Tensor:
        """Return w * z + b."""
        return rows * self.weight_.to(rows) + self.bias_.to(rows)


class _Matrix(_Affine):
    """A full matrix under off-diagonal and intercept regularisation."""

    def __init__(self, off_diagonal: float | None = None, intercept: float | None = None) -> None:
        super().__init__()
        for name, value in (("off_diagonal", off_diagonal), ("intercept", intercept)):
            if value is not None and not 0 <= value < math.inf:
                raise InputError(f"{name} must be a number from 0 up, or None, not {value!r}.")
        self.off_diagonal, self.intercept = off_diagonal, intercept

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Find matrix and intercept."""
        start = _Start(self.features(logits.double()), labels)
        classes = logits.shape[1]
        eye = torch.eye(classes, dtype=torch.bool, device=logits.device)
        free = torch.ones(classes, classes + 1, dtype=torch.bool, device=logits.device)
        free[:, :-1] = ~eye | start.present
        penalty = torch.zeros(free.shape, dtype=torch.float64, device=logits.device)
        across, along = self._strengths(start, len(labels), classes)
        penalty[:, :-1][~eye] = 2 * across / (classes * (classes - 1) * start.scale**2)
        penalty[:, -1] = 2 * along / classes
        found = softmax_regression(
            Dense(start.features, free), start.offset, labels, torch.zeros_like(penalty), penalty
        )
        weight = found.at[:, :-1] / start.scale + eye.double() / start.temperature
        self._keep(start, found, weight, found.at[:, -1])

    def _strengths(self, start: _Start, n: int, classes: int) -> tuple[float, float]:
        """Return lambda and mu; by default those of the normal priors that the docstrings name."""
        across = classes**2 * (classes - 1) * start.temperature**2 / (2 * n * 0.1**2)
        along = classes / (2 * n)
        return (
            across if self.off_diagonal is None else self.off_diagonal,
            along if self.intercept is None else self.intercept,
        )

    def features(self, rows: Tensor) -> Tensor:
        """Return what the matrix is applied to."""
        return rows

    def mend(self, rows: Tensor) -> Tensor:
        """Return W x + b."""
        return self.features(rows) @ self.weight_.to(rows).T + self.bias_.to(rows)


@register("matrix")
class MatrixScaling(_Matrix):
    r"""Map the logits by a full matrix and an intercept, with off-diagonal and intercept regularisation (ODIR).

    $$\hat z = W z + b, \quad \min_{W, b} \; -\frac1N \sum_i \log \mathrm{softmax}(W z_i + b)_{y_i}
      + \frac{\lambda}{C (C - 1)} \sum_{j \ne k} W_{jk}^2 + \frac{\mu}{C} \sum_k b_k^2$$

    Convex; Newton's method, started from temperature scaling, finds the minimum in float64. The regulariser
    keeps the C^2 numbers from fitting noise: C = 100 classes have 9,900 of them off the diagonal.

    Args:
        off_diagonal: lambda. None for the strength of a normal prior on each off-diagonal number, with a
            standard deviation of 0.1 / sqrt(C) times the factor 1/T that temperature scaling finds:
            lambda = C^2 (C - 1) T^2 / (2 N 0.1^2). So the result does not depend on the scale of the logits.
        intercept: mu. None for a normal prior of standard deviation 1: mu = C / (2 N).

    Attributes:
        weight_: (C, C) matrix.
        bias_: (C,) intercept.
        converged_: whether the minimum is certified.
        gradient_: largest derivative at the result, for logits scaled to a root mean square of 1.

    Shape:
        - logits: (N, C, *); the output keeps shape, type and device.

    Raises:
        InputError: for a negative strength; as `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = 2 * torch.randn(4000, 3, generator=generator)
        >>> mixed = logits @ torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]).T
        >>> target = torch.multinomial(mixed.softmax(1), 1, generator=generator).squeeze(1)
        >>> scaling = MatrixScaling(off_diagonal=0.0, intercept=0.0).fit(logits, target)
        >>> relative = scaling.weight_ - scaling.weight_[2]  # a row added to all rows changes no probability
        >>> round(float(relative[0, 1]), 1), scaling.converged_
        (0.5, True)

    Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", ICML 2017. ODIR: Kull,
    Perello-Nieto, Kängsepp, Silva Filho, Song, Flach: "Beyond temperature scaling: Obtaining well-calibrated
    multiclass probabilities with Dirichlet calibration", NeurIPS 2019.
    """


@register("dirichlet")
class DirichletCalibration(_Matrix):
    r"""Map the log-probabilities by a full matrix and an intercept, with ODIR.

    $$\hat z = W \ln p + b, \quad p = \mathrm{softmax}(z)$$

    It is what is right when the probabilities of each class follow a Dirichlet distribution, and beta
    calibration for two classes. The objective, its regulariser and its solution are those of `MatrixScaling`;
    unlike there, a number added to all logits of a row changes nothing.

    Args:
        off_diagonal: lambda; None as in `MatrixScaling`.
        intercept: mu; None as in `MatrixScaling`.

    Attributes:
        weight_: (C, C) matrix.
        bias_: (C,) intercept.
        converged_: whether the minimum is certified.
        gradient_: largest derivative at the result, for log-probabilities of root mean square 1.

    Shape:
        - logits: (N, C, *); the output keeps shape, type and device.

    Raises:
        InputError: for a negative strength; as `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(2000, 4, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> calibration = DirichletCalibration().fit(3 * logits, target)
        >>> [round(float(w), 1) for w in 3 * calibration.weight_.diagonal()], calibration.converged_
        ([1.0, 1.0, 1.0, 1.0], True)

    Kull, Perello-Nieto, Kängsepp, Silva Filho, Song, Flach: "Beyond temperature scaling: Obtaining
    well-calibrated multiclass probabilities with Dirichlet calibration", NeurIPS 2019.
    """

    def features(self, rows: Tensor) -> Tensor:
        """Return the log-probabilities."""
        return rows.log_softmax(-1)
