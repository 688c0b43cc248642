"""Smooth ECE: calibration error by kernel smoothing, the width of the kernel chosen by the error itself."""

import math

import torch
from torch import Tensor


def smooth_ece(confidence: Tensor, correct: Tensor, count: Tensor | None = None) -> Tensor:
    r"""Smooth ECE.

    $$\text{smECE}_\sigma = \int_0^1 \Big| \frac1N \sum_i K_\sigma(t, c_i) (c_i - \text{correct}_i) \Big| dt$$

    at the one width $\sigma^*$ for which $\text{smECE}_{\sigma^*} = \sigma^*$.

    $K_\sigma$ is the Gaussian kernel reflected at 0 and 1. It is the heat kernel of the interval: a cosine
    series in which wave k is damped by $e^{-(\pi k \sigma)^2 / 2}$, so that every width costs one fast Fourier
    transform. No bins, and continuous in the confidences.

    Args:
        confidence: (K,) in [0, 1].
        correct: (..., K) number of correct predictions in the cell; 0 or 1 for single samples.
        count: (..., K) number of predictions in the cell; 1 by default.

    Returns:
        (...) float64, accurate to about 1e-5 (single value; 1e-4 for replicates); nan without predictions.

    Example:
        >>> confidence = torch.full((10,), 0.8)
        >>> smooth_ece(confidence, torch.tensor([1, 1, 1, 1, 1, 1, 1, 1, 1, 1]))
        tensor(0.2000, dtype=torch.float64)

    Błasiok, Nakkiran: "Smooth ECE: Principled Reliability Diagrams via Kernel Smoothing", ICLR 2024.
    """
    correct = correct.double()
    size = torch.ones_like(correct) if count is None else count.double().expand_as(correct)
    n = size.sum(-1)
    residual = size * confidence.double() - correct
    single = correct.numel() == len(confidence)
    spectrum = _Spectrum(confidence.double(), residual / n.unsqueeze(-1), steps=4096 if single else 1024)
    below, above = torch.zeros_like(n), torch.ones_like(n)
    for _ in range(20 if single else 16):
        middle = (below + above) / 2
        wider = area(spectrum.smoothed(middle)) > middle
        below, above = torch.where(wider, middle, below), torch.where(wider, above, middle)
    return torch.where(n > 0, below, torch.full_like(n, math.nan))


def smoothed(confidence: Tensor, residual: Tensor, width: Tensor, steps: int = 1024) -> Tensor:
    r"""Smooth a residual over [0, 1] by a reflected Gaussian; linear in the residual.

    Args:
        confidence: (K,) in [0, 1].
        residual: (..., K) confidence minus correctness, summed in the cell and divided by N.
        width: (...) standard deviations $\sigma$ >= 0 of the kernel.
        steps: of the grid.

    Returns:
        (..., steps + 1) float64 values at 0, 1/steps, …, 1.

    Example:
        >>> area(smoothed(torch.tensor([0.2, 0.9]), torch.tensor([0.1, -0.1]), torch.tensor(0.01)))
        tensor(0.2000, dtype=torch.float64)
    """
    return _Spectrum(confidence.double(), residual.double(), steps).smoothed(width.double())


def area(values: Tensor) -> Tensor:
    """Integrate |values|, given on an even grid of [0, 1], by the trapezoid rule."""
    values = values.abs()
    return (values.sum(-1) - (values[..., 0] + values[..., -1]) / 2) / (values.shape[-1] - 1)


class _Spectrum:
    """The cosine series of residuals, ready to be damped for any width of the kernel.

    Args:
        confidence: (K,) positions.
        residual: (..., K) residuals divided by N.
        steps: number of grid steps.
    """

    def __init__(self, confidence: Tensor, residual: Tensor, steps: int) -> None:
        place = confidence.clamp(0, 1) * steps
        left = place.floor().clamp(max=steps - 1)
        share = place - left
        index = left.long()
        mass = residual.new_zeros((*residual.shape[:-1], steps + 1))
        mass.index_add_(-1, index, residual * (1 - share)).index_add_(-1, index + 1, residual * share)
        # Even extension: an end point, where wave and mirror image meet, counts twice.
        mass[..., 0] *= 2
        mass[..., -1] *= 2
        waves = torch.arange(steps + 1, dtype=torch.float64, device=mass.device)
        self.spectrum = torch.fft.rfft(torch.cat([mass, mass[..., 1:-1].flip(-1)], -1)).real * steps
        # Sharing a residual between two grid points has itself smoothed it: by a triangle, undone here.
        self.spectrum /= torch.sinc(waves / (2 * steps)) ** 2
        self.damping = -0.5 * (math.pi * waves) ** 2
        self.steps = steps

    def smoothed(self, width: Tensor) -> Tensor:
        """Return (..., steps + 1) values for (...) widths."""
        damped = self.spectrum * torch.exp(self.damping * (width * width).unsqueeze(-1))
        values: Tensor = torch.fft.irfft(damped, n=2 * self.steps)
        return values[..., : self.steps + 1]
