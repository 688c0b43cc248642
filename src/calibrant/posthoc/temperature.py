"""Temperature scaling: one number that all logits are divided by."""

import math
import warnings
from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise, repeat
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.metrics.binning import bin_index, convention
from calibrant.posthoc.base import Calibrator, ConvergenceWarning
from calibrant.posthoc.registry import register

#: Elements above which a fit iterates in the logits' own precision instead of float64.
_LARGE = 4_000_000
#: Elements that a pass treats at a time: within the cache, but with few barriers between threads.
_CHUNK = 1 << 20
#: A sharpness at which all predictions are uniform.
_NEARLY_FLAT = 1e-12

#: The grids of published code: 0.1 … 10 (focal_calibration, MbLS, ACLS, MDCA) and 0.1 … 1.9 (CALS).
GRIDS: dict[str, tuple[float, ...]] = {
    "focal_calibration": tuple(accumulate(repeat(0.1, 100))),
    "cals": tuple(0.1 + 0.1 * i for i in range(19)),
}


@register("temperature")
class TemperatureScaling(Calibrator):
    r"""Divide the logits by the temperature T > 0 that minimises the negative log-likelihood.

    $$\hat T = \arg\min_{T > 0} \; -\frac1N \sum_i \log \mathrm{softmax}(z_i / T)_{y_i}$$

    The objective is convex in 1/T and has one variable, so it needs no optimiser: Householder's third-order
    steps, kept inside a bracket, until the derivative vanishes: below 1e-12, or so small that a step would move
    T by less than that share. More than 4 million logits are treated in their own precision, in float32 with
    1e-6 for 1e-12; the derivative may then be told by the Taylor series of the last pass, its error added,
    where another pass could only confirm it. T is positive by construction; accuracy never changes.

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
        gradient_: derivative of the mean NLL with respect to log T, at T_; of a large set maybe by the series.
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
        check_choice("criterion", criterion, ("nll", "ece"))
        if criterion == "ece" and grid is None:
            raise InputError(
                f"criterion='ece' needs a grid: one of {', '.join(GRIDS)}, or your own temperatures."
            )
        if len(bounds) != 2 or not 0 < bounds[0] < bounds[1] < math.inf:
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
        """Return logits / T; raises `InputError` for what is not real."""
        if not logits.is_floating_point():
            raise InputError(f"TemperatureScaling takes real logits, not {logits.dtype}.")
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
        ends = (-math.log(high), -math.log(low))
        start = 0.0
        if not objective.small:
            for share in (4, 1):
                start = objective.thinned(_LARGE // share).solve(*ends, start)[0]
        at, gradient, converged = objective.solve(*ends, start)
        if not converged and objective.derivatives(_NEARLY_FLAT)[0] >= 0:
            return objective.stuck(
                high, "the logits predict the labels worse than chance, so T grows without end"
            )
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
        gradient = -objective.derivatives(1 / chosen)[0]
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
        tolerance: what a derivative may be to count as 0; None for what the type of the passes can tell.
    """

    def __init__(self, logits: Tensor, labels: Tensor, tolerance: float | None = None) -> None:
        self.small = logits.numel() <= _LARGE and tolerance is None
        self.dtype = torch.float64 if self.small else torch.promote_types(logits.dtype, torch.float32)
        self.tolerance = tolerance or (1e-12 if self.dtype == torch.float64 else 1e-6)
        self.logits, self.labels = logits, labels
        self.top = logits.amax(1, keepdim=True).to(self.dtype)
        self.slope_cold = float((self.top.double() - logits.gather(1, labels.unsqueeze(1))).mean())
        self.passes = 0

    @property
    def flat(self) -> bool:
        """Whether the logits of each row are all equal, so that T has no effect."""
        return bool((self.logits == self.top).all()) if self.slope_cold <= 0 else False

    @property
    def correct(self) -> Tensor:
        """(n,) whether the largest logit, the first of a tie, is that of the label."""
        return self.logits.argmax(1) == self.labels

    def thinned(self, elements: int) -> "_Objective":
        """Return the objective of evenly spaced rows, roughly, for a start value."""
        stride = math.ceil(self.logits.numel() / elements)
        return _Objective(self.logits[::stride].contiguous(), self.labels[::stride], tolerance=1e-4)

    def stuck(self, temperature: float, why: str) -> _Found:
        """Return `temperature` as the outcome of a fit that has no minimum."""
        complaint = f"Temperature scaling did not converge: {why}. T = {temperature:g} is kept."
        return _Found(temperature, False, -self.derivatives(1 / temperature)[0], complaint)

    def solve(self, low: float, high: float, start: float) -> tuple[float, float, bool]:
        """Find where the derivative with respect to log sharpness vanishes, by safeguarded Householder steps.

        Args:
            low: least log sharpness.
            high: greatest.
            start: where to begin.

        Returns:
            The log sharpness, the derivative there, and whether it is within the tolerance.
        """
        untried = {low, high}
        at = min(max(start, low), high)
        higher: list[float] = []
        close = False
        while True:
            untried.discard(at)
            first, *fresh = self.derivatives(math.exp(at), order=1 if close else 4)
            higher = fresh or higher
            tolerance = self.tolerance * max(1.0, higher[0])
            # Nothing to gain, or T would hardly move.
            if abs(first) <= tolerance:
                return at, first, True
            low, high = (low, at) if first > 0 else (at, high)
            # No number is left between them, or none that changes the sharpness.
            if high - low <= math.ulp(max(1.0, abs(low), abs(high))):
                return at, first, False
            end = low if first > 0 else high
            step, left, error = _householder(first, *higher)
            at += step
            # What follows so small a step, from four derivatives, is most likely the end: the first tells.
            close = bool(fresh) and abs(step) < 0.05
            if not low < at < high:
                # Beyond the bracket: look at the end that was asked for once, then halve.
                at = end if end in untried else (low + high) / 2
            elif fresh and not self.small and abs(left) + error <= tolerance:
                # Another pass over so much could only confirm it.
                return at, left, True

    def derivatives(self, sharpness: float, order: int = 1) -> list[float]:
        """Return four derivatives of the mean NLL at `sharpness`, times its powers; or the first alone.

        They are the cumulants of the scaled logit of a class drawn from the prediction, averaged over the rows,
        the first less the logit of the label.
        """
        self.passes += 1
        total = torch.zeros(order, dtype=torch.float64, device=self.logits.device)
        chunks, lag = self._scaled(sharpness)
        for scaled, mass in chunks:
            torch.exp(scaled, out=mass)
            sums = [mass.sum(1), *(mass.mul_(scaled).sum(1) for _ in range(order))]
            total += _cumulants((torch.stack(sums[1:]) / sums[0]).double()).sum(1)
        first, *bends = (total / len(self.logits)).tolist()
        return [first + lag, *bends]

    def scores(self, sharpness: float) -> tuple[float, Tensor]:
        """Return the mean NLL and the (n,) confidences."""
        self.passes += 1
        # Scaled after the subtraction, which is exact, so that certain predictions lose exactly nothing.
        chunks, lag = self._scaled(1.0)
        mass = torch.cat([below.mul_(sharpness).exp_().sum(1) for below, _ in chunks]).double()
        return float(mass.log().mean() + sharpness * lag), 1 / mass

    def _scaled(self, sharpness: float) -> tuple[Iterator[tuple[Tensor, Tensor]], float]:
        """Return the scaled logits less the largest of their row, in chunks, and how far below labels lie.

        Scaling and subtracting at once saves a walk through the cache. What rounding the scaled largest logit
        shifts is the same for all logits of a row: the distance of the labels, a mean, takes it in.
        """
        sharpness = float(torch.tensor(sharpness, dtype=self.dtype))
        shift = sharpness * self.top
        rounding = float((shift - sharpness * self.top.double()).mean())
        return self._chunks(sharpness, -shift), rounding + sharpness * self.slope_cold

    def _chunks(self, sharpness: float, added: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield sharpness * logits + added, a cacheful at a time, and as much room beside them.

        Both are overwritten by the next: fresh memory for each would cost more than the arithmetic.
        """
        n, classes = self.logits.shape
        rows = min(n, max(1, _CHUNK // classes))
        room = self.logits.new_empty((2, rows, classes), dtype=self.dtype)
        for start in range(0, n, rows):
            chunk = self.logits[start : start + rows]
            scaled, beside = room[:, : len(chunk)]
            yield torch.add(added[start : start + rows], chunk, alpha=sharpness, out=scaled), beside


def _cumulants(moments: Tensor) -> Tensor:
    """Return the first four cumulants of the first four moments; or the first alone."""
    if len(moments) == 1:
        return moments
    mean, square, cube, fourth = moments
    variance = square - mean * mean
    third = cube - mean * (square + 2 * variance)
    central = fourth - mean * (4 * cube - mean * (6 * square - 3 * mean * mean))
    return torch.stack((mean, variance, third, central - 3 * variance * variance))


def _householder(first: float, second: float, third: float, fourth: float) -> tuple[float, float, float]:
    """Return the step in log s to where f(s) is least, the first derivative left there, and its error.

    The arguments are the derivatives of f at s, times the powers of s. The step is that of order 3 of
    Householder's methods (Newton's is 1, Halley's 2). What is left is told by the Taylor series; what that does
    not know is taken for the rest of a geometric series from its first term on, which falls as slowly as the
    known terms did anywhere: one of them may vanish by chance.
    """
    if second <= 0:
        return -math.copysign(math.inf, first), math.inf, math.inf
    newton, bend, twist = first / second, third / (2 * second), fourth / (6 * second)
    below = 1 - newton * (2 * bend - newton * twist)
    share = newton * (1 - newton * bend) / below if below > 0 else newton
    if share >= 1:
        return -math.inf, math.inf, math.inf
    terms = [second * -share, second * bend * share**2, second * twist * -(share**3)]
    falls = max(abs(share), *(abs(after) / max(abs(before), 1e-300) for before, after in pairwise(terms)))
    error = abs(terms[0]) * falls**3 / (1 - falls) if falls < 1 else math.inf
    return math.log1p(-share), (first + sum(terms)) * (1 - share), error * (1 - share)


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
