"""Smooth ECE against a slow quadrature of its definition."""

import math

import pytest
import torch
from torch import Tensor

from calibrant.metrics.smooth import area, smooth_ece, smoothed


def drawn(n: int = 100, power: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    confidence = torch.rand(n, generator=generator, dtype=torch.float64) ** 0.3
    return confidence, (torch.rand(n, generator=generator) < confidence**power).double()


def slow_area(confidence: Tensor, correct: Tensor, width: float, points: int = 4_001) -> float:
    """Integrate the residual smoothed by a Gaussian with its mirror images at 0 and 1."""
    grid = torch.linspace(0, 1, points, dtype=torch.float64).unsqueeze(1)
    kernel = torch.zeros(())
    for period in range(-2, 3):
        for sign in (1, -1):
            kernel = kernel + torch.exp(-0.5 * ((grid - (2 * period + sign * confidence)) / width) ** 2)
    kernel = kernel / (width * math.sqrt(2 * math.pi))
    residual = (kernel * (confidence - correct)).mean(1)
    return float(torch.trapezoid(residual.abs(), dx=1 / (points - 1)))


@pytest.mark.parametrize("width", [0.01, 0.03, 0.1, 0.5])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_area_is_the_integral_of_the_definition(width: float, power: float) -> None:
    confidence, correct = drawn(power=power)
    residual = (confidence - correct) / len(confidence)
    ours = float(area(smoothed(confidence, residual, torch.tensor(width), steps=4096)))
    assert ours == pytest.approx(slow_area(confidence, correct, width), abs=5e-6)


@pytest.mark.parametrize("power", [1.0, 1.3, 2.0])
def test_smooth_ece_is_the_fixed_point(power: float) -> None:
    confidence, correct = drawn(power=power)
    value = float(smooth_ece(confidence, correct))
    assert slow_area(confidence, correct, value) == pytest.approx(value, abs=1e-5)


def test_a_constant_confidence_gives_the_plain_gap() -> None:
    confidence = torch.full((10,), 0.8)
    correct = torch.tensor([1.0] * 6 + [0.0] * 4)
    assert float(smooth_ece(confidence, correct)) == pytest.approx(0.2, abs=1e-6)


def test_perfect_confidences_give_zero() -> None:
    assert float(smooth_ece(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0]))) == 0.0


def test_cells_equal_their_samples() -> None:
    cells = torch.tensor([0.3, 0.6, 0.9], dtype=torch.float64)
    count, correct = torch.tensor([10.0, 20.0, 30.0]), torch.tensor([5.0, 11.0, 20.0])
    samples = cells.repeat_interleave(count.long())
    hits = torch.cat([(torch.arange(n) < k).double() for n, k in zip(count, correct, strict=True)])
    assert float(smooth_ece(cells, correct, count)) == pytest.approx(float(smooth_ece(samples, hits)), abs=1e-9)


def test_replicates_are_evaluated_each_on_its_own() -> None:
    confidence, correct = drawn()
    other = (confidence > 0.7).double()
    both = smooth_ece(confidence, torch.stack([correct, other]))
    assert both[0] == pytest.approx(float(smooth_ece(confidence, correct)), abs=1e-4)
    assert both[1] == pytest.approx(float(smooth_ece(confidence, other)), abs=1e-4)


def test_the_order_of_the_samples_plays_no_part() -> None:
    confidence, correct = drawn()
    order = torch.randperm(len(confidence), generator=torch.Generator().manual_seed(1))
    one, other = smooth_ece(confidence, correct), smooth_ece(confidence[order], correct[order])
    assert float(one) == pytest.approx(float(other), abs=1e-9)


def test_it_is_continuous_where_binned_errors_jump() -> None:
    correct = torch.tensor([1.0, 0.0] * 50)
    below = smooth_ece(torch.full((100,), 0.6 - 1e-9, dtype=torch.float64), correct)
    above = smooth_ece(torch.full((100,), 0.6 + 1e-9, dtype=torch.float64), correct)
    assert float(below) == pytest.approx(float(above), abs=1e-8)


def test_nothing_gives_nan() -> None:
    assert smooth_ece(torch.zeros(0), torch.zeros(0)).isnan()
