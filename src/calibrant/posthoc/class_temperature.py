"""Class-distribution-aware temperature scaling: a temperature for each class, by its frequency."""

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc.base import ConvergenceWarning, RowCalibrator
from calibrant.posthoc.registry import register
from calibrant.posthoc.temperature import TemperatureScaling

_TOLERANCE = 1e-9
_GROWTH = 1.25


@register("class_temperature")
class ClassTemperatureScaling(RowCalibrator):
    r"""Divide the logit of each class by a temperature that rises with the frequency of the class.

    $$\hat z_k = \frac{z_k}{T + \omega \, n_k / \max_j n_j}$$

    A network trained on a long tail is too sure of its frequent classes; so their temperature is higher, by a
    share omega of 0.1 as in the authors' code. T minimises the NLL: it is the minimum that descending from the
    T of temperature scaling meets first, found by bisection of the derivative.

    Args:
        class_counts: (C,) training samples of each class. None for those of the labels of the fit, which show
            the distribution of training only where held-out data are as long-tailed.
        omega: how much higher the temperature of the most frequent class is.

    Attributes:
        temperatures_: (C,) temperatures.
        converged_: whether the derivative vanishes.

    Shape:
        - logits: (N, C, *); the output keeps shape, type and device.

    Raises:
        InputError: counts that are negative, all 0 or not as many as classes, a negative omega; as
            `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(20_000, 3, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> frequent = torch.tensor([2.0 + 0.5, 2.0 + 0.25, 2.0 + 0.05])
        >>> scaling = ClassTemperatureScaling([100, 50, 10], omega=0.5).fit(frequent * logits, target)
        >>> [round(float(t), 1) for t in scaling.temperatures_], scaling.converged_
        ([2.5, 2.3, 2.1], True)

    Islam, Seenivasan, Ren, Glocker: "Class-distribution-aware calibration for long-tailed visual recognition",
    ICML workshop on uncertainty and robustness in deep learning, 2021.
    """

    # omega is given, not fitted, so the identity is not among the choices.
    improves_nll = False

    temperatures_: Tensor

    def __init__(self, class_counts: Sequence[int] | None = None, omega: float = 0.1) -> None:
        super().__init__()
        if class_counts is not None and (min(class_counts, default=0) < 0 or max(class_counts, default=0) <= 0):
            raise InputError(
                f"class_counts must be one number a class, none below 0, not {list(class_counts)}."
            )
        if not 0 <= omega < math.inf:
            raise InputError(f"omega must be a number from 0 up, not {omega}.")
        self.class_counts = None if class_counts is None else tuple(int(n) for n in class_counts)
        self.omega = omega
        self.register_buffer("temperatures_", torch.zeros(0, dtype=torch.float64))

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Find T."""
        classes = logits.shape[1]
        counts = torch.bincount(labels, minlength=classes)
        if self.class_counts is not None:
            if len(self.class_counts) != classes:
                raise InputError(
                    f"class_counts holds {len(self.class_counts)} numbers, but there are {classes} classes."
                )
            counts = torch.tensor(self.class_counts, device=logits.device)
        above = self.omega * counts.double() / counts.max()
        with warnings.catch_warnings():
            # The search below says whether there is a minimum.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaling = TemperatureScaling().fit(logits, labels)
        found, self.converged_ = _descend(logits.double(), labels, above, scaling)
        self._learned(classes_=torch.tensor(classes), temperatures_=found + above)
        if not self.converged_:
            warnings.warn(
                "ClassTemperatureScaling did not converge: the likelihood grows without end as T falls or "
                f"rises; T = {found:g} is kept.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def mend(self, rows: Tensor) -> Tensor:
        """Return z / T."""
        return rows / self.temperatures_.to(rows)

    def extra_repr(self) -> str:
        """Show the least and the greatest temperature."""
        if not len(self.temperatures_):
            return super().extra_repr()
        low, high = (float(t) for t in self.temperatures_.aminmax())
        return f"temperatures={low:.4g} to {high:.4g}"


def _descend(logits: Tensor, labels: Tensor, above: Tensor, scaling: TemperatureScaling) -> tuple[float, bool]:
    """Return the T nearest to that of temperature scaling where the NLL is least, and whether it is certain."""
    n = len(labels)

    def slope(log_t: float) -> float:
        temperatures = math.exp(log_t) + above
        share = (logits / temperatures).softmax(1)
        share.scatter_add_(1, labels.unsqueeze(1), share.new_full((n, 1), -1.0))
        return -float((share * logits).sum(0).div(temperatures**2).sum() / n) * math.exp(log_t)

    least, most = (math.log(bound) for bound in scaling.bounds)
    at = math.log(max(float(scaling.temperature_) - float(above.mean()), scaling.bounds[0]))
    first = slope(at)
    if abs(first) <= _TOLERANCE:
        return math.exp(at), True
    # Widen in the direction of descent until the derivative changes its sign, then halve.
    step = -math.copysign(math.log(_GROWTH), first)
    other = at
    while slope(other) * first > 0:
        at, other = other, min(max(other + step, least), most)
        if other == at:
            return math.exp(at), False
        step *= 2
    low, high = sorted((at, other))
    for _ in range(60):
        middle = (low + high) / 2
        value = slope(middle)
        if abs(value) <= _TOLERANCE:
            return math.exp(middle), True
        low, high = (low, middle) if value > 0 else (middle, high)
    return math.exp(middle), abs(value) <= 1e-6
