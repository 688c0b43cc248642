"""Weights of a mixture are at a certified minimum; splines follow accumulated labels."""

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline

from calibrant.errors import InputError
from calibrant.posthoc import EnsembleTemperatureScaling, SplineCalibration
from calibrant.posthoc.ensemble import mixture_weights
from calibrant.posthoc.spline import natural_spline, with_confidence


@pytest.mark.parametrize("true", [[0.5, 0.3, 0.2], [0.7, 0.0, 0.3], [0.0, 1.0, 0.0]])
def test_weights_of_a_mixture_are_recovered(true: list[float]) -> None:
    generator = torch.Generator().manual_seed(0)
    parts = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    parts /= parts.sum(1, keepdim=True)
    outcome = torch.multinomial(torch.tensor(true).double() @ parts, 50_000, True, generator=generator)
    weights, certain = mixture_weights(parts[:, outcome].T)
    assert certain
    assert weights.tolist() == pytest.approx(true, abs=0.06)
    assert float(weights.sum()) == pytest.approx(1, abs=1e-12)


def test_components_that_are_equal_are_no_obstacle() -> None:
    likelihood = torch.rand(100, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights, certain = mixture_weights(likelihood.expand(100, 3))
    assert certain
    assert (weights >= 0).all()


def test_labels_of_chance_put_all_weight_on_uniform_probabilities() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(20_000, 5, generator=generator)
    fitted = EnsembleTemperatureScaling().fit(logits, torch.randint(5, (20_000,), generator=generator))
    assert float(fitted(logits).exp().amax(1).mean()) == pytest.approx(0.2, abs=0.02)


def test_natural_splines_are_those_of_scipy() -> None:
    at = torch.linspace(0, 1, 50, dtype=torch.float64)
    knots = np.random.default_rng(0).normal(size=6)
    values, slopes = natural_spline(at, 6)
    theirs = CubicSpline(np.linspace(0, 1, 6), knots, bc_type="natural")
    assert np.allclose(values.numpy() @ knots, theirs(at.numpy()), atol=1e-12)
    assert np.allclose(slopes.numpy() @ knots, theirs(at.numpy(), 1), atol=1e-10)


def test_a_spline_undoes_a_distorted_confidence() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(40_000, 2, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    mended = SplineCalibration().fit(3 * logits, target)(3 * logits).exp().amax(1)
    difference = (mended - logits.softmax(1).amax(1)).abs()
    assert float(difference.mean()) < 0.015
    assert float(((3 * logits).softmax(1).amax(1) - logits.softmax(1).amax(1)).abs().mean()) > 0.1


def test_any_confidence_is_reached_in_the_order_of_the_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(500, 4, generator=generator, dtype=torch.float64)
    wanted = 0.26 + 0.7399 * torch.rand(500, generator=generator, dtype=torch.float64)
    got = with_confidence(logits, wanted)
    assert torch.allclose(got.exp().amax(1), wanted, atol=1e-9)
    assert torch.equal(got.argsort(1), logits.argsort(1))


def test_two_knots_are_refused() -> None:
    with pytest.raises(InputError, match="n_knots must be 3 or more, not 2"):
        SplineCalibration(n_knots=2)
