"""Temperature scaling: one number that all logits are divided by."""

import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import accumulate, repeat
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.binning import bin_index, convention
from calibrant.posthoc.base import Calibrator, ConvergenceWarning
from calibrant.posthoc.registry import register

#: Elements above which a fit iterates in the logits' own precision instead of float64.
_LARGE = 4_000_000
#: Elements that a pass treats at a time: within the cache, but with few barriers between threads.
_CHUNK = 1 << 19

#: The grids of published code: 0.1 … 10 (focal_calibration, MbLS, ACLS, MDCA) and 0.1 … 1.9 (CALS).
GRIDS: dict[str, tuple[float, ...]] = {
    "focal_calibration": tuple(accumulate(repeat(0.1, 100))),
    "cals": tuple(0.1 + 0.1 * i for i in range(19)),
}


@register("temperature")
class TemperatureScaling(Calibrator):
    r"""Divide the logits by the temperature T > 0 that minimises the negative log-likelihood.

    $$\hat T = \arg\min_{T > 0} \; -\frac1N \sum_i \log \mathrm{softmax}(z_i / T)_{y_i}$$

    The objective is convex in 1/T and has one variable, so it needs no optimiser: Newton's method on log T,
    kept inside a bracket, until the derivative vanishes. T is positive by construction; accuracy never changes.

    A minimum exists unless every prediction is right (T falls to 0) or the logits know less than nothing
    about the labels (T grows without end). Then T_ is the end of `bounds`, `converged_` is False and a
    `ConvergenceWarning` says which.

    Args:
        criterion: "nll", or "ece" to choose by the equal-width ECE, as much published code does; that needs a
            grid.
        grid: None for the exact minimum; or candidates, of which the first best is taken: a sequence, or the
            name of a published grid, "focal_calibration" (0.1 to 10 by repeated addition of 0.1; also MbLS,
            ACLS, MDCA) or "cals" (0.1 to 1.9).
        n_bins: bins of the ECE.
        bounds: least and greatest T.

    Attributes:
        temperature_: float64 scalar buffer, 1 before the fit.
        converged_: whether the derivative vanished inside the bounds; for a grid, whether the best candidate
            is not its first or last.
        gradient_: derivative of the mean NLL with respect to log T, at T_.
        iterations_: passes over all the logits.

    Shape:
        - logits: (N, C, *); the output keeps shape, type and device.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(2000, 5, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> scaling = TemperatureScaling().fit(3 * logits, target)
        >>> round(float(scaling.temperature_), 1), scaling.converged_
        (3.0, True)

    Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", ICML 2017.
    """

    keeps_argmax = True

    temperature_: Tensor

    def __init__(
        self,
        criterion: Literal["nll", "ece"] = "nll",
        *,
        grid: str | Sequence[float] | None = None,
        n_bins: int = 15,
        bounds: tuple[float, float] = (1e-3, 1e3),
    ) -> None:
        super().__init__()
        if criterion not in ("nll", "ece"):
            raise InputError(f"criterion must be 'nll' or 'ece', not {criterion!r}.")
        if criterion == "ece" and grid is None:
            raise InputError(
                f"criterion='ece' needs a grid: one of {', '.join(GRIDS)}, or your own temperatures."
            )
        if not 0 < bounds[0] < bounds[1] < math.inf:
            raise InputError(f"bounds must be two temperatures, 0 < low < high, not {bounds}.")
        self.criterion, self.n_bins, self.bounds = criterion, n_bins, bounds
        self.grid = _candidates(grid)
        self.converged_, self.gradient_, self.iterations_ = False, math.nan, 0
        self.register_buffer("temperature_", torch.ones((), dtype=torch.float64))

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Find the temperature."""
        objective = _Objective(logits, labels)
        found = self._search(objective) if self.grid is None else self._best_of_grid(objective, labels)
        self.temperature_.fill_(found.temperature)
        self.converged_, self.gradient_, self.iterations_ = found.converged, found.gradient, objective.passes
        if found.complaint:
            warnings.warn(found.complaint, ConvergenceWarning, stacklevel=4)

    def forward(self, logits: Tensor) -> Tensor:
        """Return logits / T."""
        work = torch.promote_types(logits.dtype, torch.float32)
        return (logits.to(work) / self.temperature_.to(logits.device, work)).to(logits.dtype)

    def get_extra_state(self) -> Tensor:
        """Return how the fit ended, as a tensor, so that any format can hold it."""
        return torch.tensor([self.converged_, self.gradient_, self.iterations_], dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over how the fit ended."""
        converged, self.gradient_, iterations = state.tolist()
        self.converged_, self.iterations_ = bool(converged), int(iterations)

    def extra_repr(self) -> str:
        """Show the temperature."""
        return f"temperature={float(self.temperature_):.6g}"

    def _search(self, objective: "_Objective") -> "_Found":
        low, high = self.bounds
        if objective.flat:
            return _Found(1.0, True, 0.0)
        if objective.slope_cold <= 0:
            return objective.stuck(
                low, "every prediction is right, so the likelihood grows without end as T falls"
            )
        if objective.slope_hot >= 0:
            return objective.stuck(
                high, "the logits predict the labels worse than chance, so T grows without end"
            )
        ends = (-math.log(high), -math.log(low))
        start = 0.0 if objective.small else objective.thinned().solve(*ends, 0.0)[0]
        at, gradient, converged = objective.solve(*ends, start)
        if not converged:
            return objective.stuck(
                math.exp(-at), f"the optimum lies outside {low:g} <= T <= {high:g}; widen bounds"
            )
        return _Found(math.exp(-at), True, -gradient)

    def _best_of_grid(self, objective: "_Objective", labels: Tensor) -> "_Found":
        assert self.grid is not None
        best, chosen = math.inf, self.grid[0]
        for temperature in self.grid:
            nll, confidence = objective.scores(1 / temperature)
            value = nll if self.criterion == "nll" else _ece(confidence, objective.correct, self.n_bins)
            if value < best:
                best, chosen = value, temperature
        inside = self.grid[0] < chosen < self.grid[-1]
        gradient = -objective.derivatives(1 / chosen)[0] / chosen
        complaint = (
            "" if inside else f"The best temperature of the grid is its end, T = {chosen:g}; widen the grid."
        )
        return _Found(chosen, inside, gradient, complaint)


class _Found(NamedTuple):
    temperature: float
    converged: bool
    gradient: float
    complaint: str = ""


class _Objective:
    """The mean NLL of softmax(sharpness * logits) and its derivatives, in passes that stay in the cache.

    Args:
        logits: (n, C) finite.
        labels: (n,).
    """

    def __init__(self, logits: Tensor, labels: Tensor) -> None:
        self.small = logits.numel() <= _LARGE
        self.dtype = torch.float64 if self.small else torch.promote_types(logits.dtype, torch.float32)
        self.tolerance = 1e-12 if self.dtype == torch.float64 else 1e-7
        self.logits, self.labels = logits, labels
        self.top = logits.amax(1, keepdim=True)
        at_label = logits.gather(1, labels.unsqueeze(1)).double().squeeze(1)
        self.lag = (self.top.double().squeeze(1) - at_label).mean()
        self.slope_cold = float(self.lag)
        # In the logits' own type, which is many times faster than converting: only the sign matters.
        self.slope_hot = float(
            (logits.to(torch.promote_types(logits.dtype, torch.float32)).mean(1) - at_label).mean()
        )
        self.passes = 0

    @property
    def flat(self) -> bool:
        """Whether the logits of each row are all equal, so that T has no effect."""
        return bool((self.logits == self.top).all()) if self.slope_cold <= 0 else False

    @property
    def correct(self) -> Tensor:
        """(n,) whether the largest logit, the first of a tie, is that of the label."""
        return self.logits.argmax(1) == self.labels

    def thinned(self, elements: int = _LARGE) -> "_Objective":
        """Return the objective of evenly spaced rows, for a start value."""
        stride = max(1, self.logits.numel() // elements)
        return _Objective(self.logits[::stride].contiguous(), self.labels[::stride])

    def stuck(self, temperature: float, why: str) -> _Found:
        """Return `temperature` as the outcome of a fit that has no minimum."""
        gradient = -self.derivatives(1 / temperature)[0] / temperature
        complaint = f"Temperature scaling did not converge: {why}. T = {temperature:g} is kept."
        return _Found(temperature, False, gradient, complaint)

    def solve(self, low: float, high: float, start: float) -> tuple[float, float, bool]:
        """Find where the derivative with respect to log sharpness vanishes, by safeguarded Newton steps.

        Args:
            low: least log sharpness.
            high: greatest.
            start: where to begin.

        Returns:
            The log sharpness, the derivative there, and whether it is within the tolerance.
        """
        untried = {low, high}
        at = min(max(start, low), high)
        while True:
            untried.discard(at)
            sharpness = math.exp(at)
            first, second = self.derivatives(sharpness)
            gradient = sharpness * first
            if abs(gradient) <= self.tolerance:
                return at, gradient, True
            low, high = (low, at) if gradient > 0 else (at, high)
            if high - low < 1e-15:
                return at, gradient, False
            step = first / (sharpness * second) if second > 0 else math.copysign(math.inf, first)
            end = low if step > 0 else high
            at -= step
            if not low < at < high:
                # Beyond the bracket: look at the end that was asked for once, then halve.
                at = end if end in untried else (low + high) / 2

    def derivatives(self, sharpness: float) -> tuple[float, float]:
        """Return the first and the second derivative of the mean NLL with respect to the sharpness."""
        self.passes += 1
        first = second = torch.zeros((), dtype=torch.float64, device=self.logits.device)
        for below, share in self._chunks():
            torch.mul(below, sharpness, out=share).exp_()
            mass = share.sum(1)
            mean = (share.mul_(below).sum(1) / mass).double()
            square = (share.mul_(below).sum(1) / mass).double()
            first = first + mean.sum()
            second = second + (square - mean * mean).sum()
        n = len(self.logits)
        return float(first / n + self.lag), float(second / n)

    def scores(self, sharpness: float) -> tuple[float, Tensor]:
        """Return the mean NLL and the (n,) confidences."""
        self.passes += 1
        mass = torch.cat([below.mul_(sharpness).exp_().sum(1) for below, _ in self._chunks()]).double()
        return float(mass.log().mean() + sharpness * self.lag), 1 / mass

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the logits below the largest of their row, a cacheful at a time, and as much room beside them.

        Both are overwritten by the next: fresh memory for each would cost more than the arithmetic.
        """
        n, classes = self.logits.shape
        rows = min(n, max(1, _CHUNK // classes))
        room = self.logits.new_empty((2, rows, classes), dtype=self.dtype)
        for start in range(0, n, rows):
            chunk = self.logits[start : start + rows]
            below, beside = room[:, : len(chunk)]
            yield below.copy_(chunk).sub_(self.top[start : start + rows].to(self.dtype)), beside


def _candidates(grid: str | Sequence[float] | None) -> tuple[float, ...] | None:
    if grid is None:
        return None
    if isinstance(grid, str):
        if grid not in GRIDS:
            raise InputError(f"There is no grid {grid!r}; known: {', '.join(GRIDS)}.")
        return GRIDS[grid]
    candidates = tuple(float(t) for t in grid)
    if not candidates or not all(0 < t < math.inf for t in candidates):
        raise InputError(f"A grid holds one or more positive temperatures, not {list(grid)}.")
    return candidates


def _ece(confidence: Tensor, correct: Tensor, n_bins: int) -> float:
    index = bin_index(confidence, n_bins, convention("calibrant"))
    gaps = confidence.new_zeros(n_bins).index_add(0, index, confidence - correct.double())
    return float(gaps.abs().sum() / len(confidence))
