"""Newton's method for the convex fits: softmax and logistic regressions, with a certificate.

A minimum is certified by two numbers: the gradient is at most `tolerance`, and the next Newton step is short.
The second matters where there is no minimum, as for classes that can be told apart without error: the gradient
falls without end, but each step is as long as the one before.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

#: Largest derivative at a minimum, for features whose root mean square is 1.
TOLERANCE = 1e-9
#: Longest step that still counts as none, relative to 1 + the largest parameter.
_SHORT = 1e-4
_MAX_STEPS = 100
_MAX_HALVINGS = 40


class Minimum(NamedTuple):
    """Where a fit ended: parameters, mean NLL there, largest derivative, and whether it is certified."""

    at: Tensor
    value: float
    gradient: float
    converged: bool


class Linear(Protocol):
    """Logits (n, C) that are linear in the parameters."""

    def logits(self, parameters: Tensor) -> Tensor:
        """Return the (n, C) logits of parameters."""

    def adjoint(self, residual: Tensor) -> Tensor:
        """Return the gradient with respect to the parameters, of (n, C) derivatives of the logits."""

    def squares(self, curvature: Tensor) -> Tensor:
        """Return the diagonal of the Hessian, of (n, C) second derivatives of the logits."""


class Elementwise:
    """Parameters (2, C): a factor and an offset for each class; those outside `free` (C,) stay.

    The free offsets have mean 0: together they could only take all probability from the classes that stay.
    """

    def __init__(self, features: Tensor, free: Tensor) -> None:
        self.features, self.free = features, free.to(features.dtype)

    def logits(self, parameters: Tensor) -> Tensor:
        """Return factor * feature + offset."""
        return self.features * parameters[0] + self.centred(parameters[1])

    def adjoint(self, residual: Tensor) -> Tensor:
        """Return (2, C)."""
        factors = (residual * self.features).sum(0) * self.free
        return torch.stack([factors, self.centred(residual.sum(0))])

    def squares(self, curvature: Tensor) -> Tensor:
        """Return (2, C)."""
        return torch.stack([(curvature * self.features**2).sum(0), curvature.sum(0)]) * self.free

    def centred(self, offsets: Tensor) -> Tensor:
        """Return (C,) offsets, those that are free less their mean, the others 0."""
        return (offsets - (offsets * self.free).sum() / self.free.sum()) * self.free


class Dense:
    """Parameters (C, F + 1): a matrix and an intercept; those outside `free` (C, F + 1) stay."""

    def __init__(self, features: Tensor, free: Tensor) -> None:
        self.features, self.free = features, free.to(features.dtype)

    def logits(self, parameters: Tensor) -> Tensor:
        """Return features @ matrix^T + intercept."""
        return torch.addmm(parameters[:, -1], self.features, parameters[:, :-1].T)

    def adjoint(self, residual: Tensor) -> Tensor:
        """Return (C, F + 1)."""
        return torch.cat([residual.T @ self.features, residual.sum(0).unsqueeze(1)], 1) * self.free

    def squares(self, curvature: Tensor) -> Tensor:
        """Return (C, F + 1)."""
        return torch.cat([curvature.T @ self.features**2, curvature.sum(0).unsqueeze(1)], 1) * self.free


def softmax_regression(
    linear: Linear, offset: Tensor, labels: Tensor, start: Tensor, penalty: Tensor | float = 0.0
) -> Minimum:
    r"""Minimise $\frac1n \sum_i -\log \mathrm{softmax}(o_i + A_i\theta)_{y_i} + \frac12 \sum_k r_k \theta_k^2$.

    Newton steps that conjugate gradients solve for, with a diagonal preconditioner, so that no Hessian is held.

    Args:
        linear: A, the logits as a function of the parameters.
        offset: (n, C) logits at parameters 0.
        labels: (n,).
        start: parameters to begin with; the objective never rises above its value there.
        penalty: r, of the shape of the parameters.
    """
    n = len(labels)

    def objective(parameters: Tensor) -> tuple[Tensor, Tensor]:
        logits = linear.logits(parameters).add_(offset)
        at_label = logits.gather(1, labels.unsqueeze(1)).squeeze(1)
        value = (logits.logsumexp(1) - at_label).mean() + 0.5 * (penalty * parameters**2).sum()
        return value, logits

    at = start
    value, logits = objective(at)
    for _ in range(_MAX_STEPS):
        share = logits.softmax(1)
        residual = share.scatter_add(1, labels.unsqueeze(1), share.new_full((n, 1), -1.0)).div_(n)
        gradient = linear.adjoint(residual) + penalty * at
        size = float(gradient.abs().max())
        step = _newton_step(linear, share, gradient, penalty, min(0.1, max(size, 1e-3)))
        short = float(step.abs().max()) <= _SHORT * (1 + float(at.abs().max()))
        if size <= TOLERANCE:
            return Minimum(at, float(value), size, short)
        found = _descend(objective, at, step, value, float((gradient * step).sum()))
        if found is None:
            break
        at, value, logits = found
    return Minimum(at, float(value), size, False)


def _newton_step(
    linear: Linear, share: Tensor, gradient: Tensor, penalty: Tensor | float, accuracy: float
) -> Tensor:
    """Return the solution of H step = -gradient by conjugate gradients, to a relative accuracy."""
    n = len(share)
    diagonal = (linear.squares(share * (1 - share) / n) + penalty).clamp_min(1e-14)
    step, rest = torch.zeros_like(gradient), -gradient
    scaled = rest / diagonal
    direction, product = scaled, float((rest * scaled).sum())
    # Below rounding there is nothing to solve for: what is left has parts that change no probability.
    goal = max(accuracy * float(rest.norm()), 1e-13)
    for _ in range(min(gradient.numel(), 1000)):
        if float(rest.norm()) <= goal:
            break
        moved = linear.logits(direction)
        bent = share * (moved - (share * moved).sum(1, keepdim=True))
        curved = linear.adjoint(bent.div_(n)) + penalty * direction
        along = float((direction * curved).sum())
        if along <= 1e-300:
            break
        step = step + (product / along) * direction
        rest = rest - (product / along) * curved
        scaled = rest / diagonal
        previous, product = product, float((rest * scaled).sum())
        direction = scaled + (product / previous) * direction
    return step


def _descend(
    objective: Callable[[Tensor], tuple[Tensor, Tensor]], at: Tensor, step: Tensor, value: Tensor, slope: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return the first of the points at, 1/2, 1/4 … of a step that descends enough, or None."""
    factor = 1.0
    for _ in range(_MAX_HALVINGS):
        tried = at + factor * step
        new, logits = objective(tried)
        if new <= value + 1e-4 * factor * slope + 1e-15 * abs(value):
            return tried, new, logits
        factor /= 2
    return None


def logistic_regression(features: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    r"""Minimise the mean NLL of $\sigma(\sum_f \theta_{kf} x_{fk})$ for K problems at a time.

    Args:
        features: (F, n, K).
        targets: (n, K) in [0, 1].

    Returns:
        The (K, F) parameters, and (K,) whether each is certified.
    """
    count, n, problems = features.shape
    at = features.new_zeros(problems, count)
    certain = torch.zeros(problems, dtype=torch.bool, device=features.device)

    def objective(parameters: Tensor) -> tuple[Tensor, Tensor]:
        scores = torch.einsum("fnk,kf->nk", features, parameters)
        return (torch.nn.functional.softplus(scores) - targets * scores).mean(0), scores

    value, scores = objective(at)
    moving = torch.ones_like(certain)
    ridge = 1e-14 * torch.eye(count, dtype=features.dtype, device=features.device)
    for _ in range(_MAX_STEPS):
        share = scores.sigmoid()
        gradient = torch.einsum("fnk,nk->kf", features, share - targets) / n
        weighted = features * (share * (1 - share))
        hessian = torch.einsum("fnk,gnk->kfg", weighted, features) / n + ridge
        step = -torch.linalg.solve(hessian, gradient)
        small = gradient.abs().amax(1) <= TOLERANCE
        certain = small & (step.abs().amax(1) <= _SHORT * (1 + at.abs().amax(1)))
        moving = moving & ~small
        if not moving.any():
            break
        slope = (gradient * step).sum(1)
        factor = moving.to(value.dtype)
        for _ in range(_MAX_HALVINGS):
            new, scores = objective(at + factor.unsqueeze(1) * step)
            worse = moving & ~(new <= value + 1e-4 * factor * slope + 1e-15 * value.abs())
            if not worse.any():
                break
            factor = torch.where(worse, factor / 2, factor)
        # What no step improves has come as far as rounding lets it.
        moving = moving & ~worse
        at = at + (factor * moving).unsqueeze(1) * step
        value, scores = objective(at)
    return at, certain
