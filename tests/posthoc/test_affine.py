"""Affine maps recover what made the data, at a certified minimum, and say when there is none."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from calibrant.errors import InputError
from calibrant.posthoc import (
    Calibrator,
    ConvergenceWarning,
    DirichletCalibration,
    MatrixScaling,
    TemperatureScaling,
    VectorScaling,
)

WEIGHT = torch.tensor([[1.5, 0.0, 0.4], [0.0, 0.5, 0.0], [-0.3, 0.0, 1.0]], dtype=torch.float64)
BIAS = torch.tensor([0.5, -0.5, 0.0], dtype=torch.float64)


def drawn(true, n: int = 20_000, classes: int = 3) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
    """Return logits and labels drawn from softmax(true(logits))."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(true(logits).softmax(1), 1, generator=generator).squeeze(1)


def identified(weight: Tensor, bias: Tensor) -> Tensor:
    """Return (W, b) up to what softmax cannot see: one row added to all."""
    both = torch.cat([weight, bias.unsqueeze(1)], 1)
    return both - both.mean(0)


def test_vector_scaling_recovers_factors_and_offsets() -> None:
    factors = WEIGHT.diagonal()
    fitted = VectorScaling().fit(*drawn(lambda z: factors * z + BIAS))
    assert torch.allclose(fitted.weight_, factors, atol=0.05)
    assert torch.allclose(fitted.bias_, BIAS - BIAS.mean(), atol=0.05)
    assert fitted.converged_


def test_matrix_scaling_recovers_a_matrix() -> None:
    fitted = MatrixScaling(off_diagonal=0.0, intercept=0.0).fit(*drawn(lambda z: z @ WEIGHT.T + BIAS))
    assert torch.allclose(identified(fitted.weight_, fitted.bias_), identified(WEIGHT, BIAS), atol=0.06)
    assert fitted.converged_


def test_dirichlet_calibration_recovers_a_map_of_log_probabilities() -> None:
    logits, target = drawn(lambda z: z.log_softmax(1) @ WEIGHT.T + BIAS)
    fitted = DirichletCalibration(off_diagonal=0.0, intercept=0.0).fit(logits + 7, target)
    assert torch.allclose(identified(fitted.weight_, fitted.bias_), identified(WEIGHT, BIAS), atol=0.06)
    assert fitted.converged_


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e2])
@pytest.mark.parametrize("method", [VectorScaling, MatrixScaling, DirichletCalibration])
def test_the_derivative_of_the_objective_vanishes(method: type[Calibrator], scale: float) -> None:
    logits, target = drawn(lambda z: z / 2, n=300, classes=4)
    fitted = method().fit(scale * logits, target)
    features = (scale * logits).log_softmax(1) if method is DirichletCalibration else scale * logits
    weight, bias = fitted.weight_.clone().requires_grad_(), fitted.bias_.clone().requires_grad_()
    if method is VectorScaling:
        loss = cross_entropy(features * weight + bias, target)
    else:
        temperature = float(TemperatureScaling().fit(features, target).temperature_)
        across, along = 4**2 * 3 * temperature**2 / (2 * 300 * 0.01), 4 / 600
        off = weight - weight.diag().diag()
        penalty = across / 12 * (off**2).sum() + along / 4 * (bias**2).sum()
        loss = cross_entropy(features @ weight.T + bias, target) + penalty
    loss.backward()
    size = float(features.square().mean().sqrt())
    assert float(weight.grad.abs().max()) / size < 1e-9
    assert float(bias.grad.abs().max()) < 1e-9
    assert fitted.converged_


def test_regularisation_rules_out_what_is_off_the_diagonal() -> None:
    logits, target = drawn(lambda z: z @ WEIGHT.T + BIAS, n=2000)
    fitted = MatrixScaling(off_diagonal=1e9, intercept=1e9).fit(logits, target)
    assert float((fitted.weight_ - fitted.weight_.diag().diag()).abs().max()) < 1e-6
    assert float(fitted.bias_.abs().max()) < 1e-6
    loose = MatrixScaling(off_diagonal=0.0, intercept=0.0).fit(logits, target)
    assert cross_entropy(loose(logits), target) < cross_entropy(fitted(logits), target)


def test_thirty_classes_do_not_overfit() -> None:
    logits, target = drawn(lambda z: z / 2, n=2000, classes=30)
    held, truth = logits[1000:], target[1000:]
    alone = TemperatureScaling().fit(logits[:1000], target[:1000])(held)
    mended = MatrixScaling().fit(logits[:1000], target[:1000])(held)
    free = MatrixScaling(off_diagonal=0.0, intercept=0.0).fit(logits[:1000], target[:1000])(held)
    assert cross_entropy(mended, truth) < cross_entropy(alone, truth) * 1.02
    assert cross_entropy(free, truth) > cross_entropy(alone, truth) * 1.1


def test_classes_that_can_be_told_apart_have_no_vector_and_it_says_so() -> None:
    logits = torch.eye(3, dtype=torch.float64).repeat(10, 1)
    with pytest.warns(ConvergenceWarning, match="told apart without error") as caught:
        fitted = VectorScaling().fit(logits, logits.argmax(1))
    assert caught[0].filename == __file__
    assert not fitted.converged_


def test_a_class_without_labels_keeps_temperature_scaling() -> None:
    logits, target = drawn(lambda z: z / 2)
    kept = target != 1
    fitted = VectorScaling().fit(logits[kept], target[kept])
    temperature = float(TemperatureScaling().fit(logits[kept], target[kept]).temperature_)
    assert fitted.converged_
    assert float(fitted.weight_[1]) == pytest.approx(1 / temperature)


@pytest.mark.parametrize("option", ["off_diagonal", "intercept"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_a_strength_that_is_none_is_refused(option: str, value: float) -> None:
    with pytest.raises(InputError, match=f"{option} must be a number from 0 up"):
        MatrixScaling(**{option: value})
