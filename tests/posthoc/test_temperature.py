"""The temperature is the exact minimiser, always positive, and says when there is none."""

import math
import warnings

import pytest
import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.functional import ece
from calibrant.posthoc import ConvergenceWarning, TemperatureScaling
from calibrant.posthoc import temperature as module
from calibrant.posthoc.temperature import GRIDS


def drawn(n: int = 1000, classes: int = 10, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def nll(logits: Tensor, target: Tensor, temperature: float) -> float:
    return float(torch.nn.functional.cross_entropy(logits.double() / temperature, target))


@pytest.mark.parametrize("true", [0.04, 1.7, 2.5, 40.0, 500.0])
@pytest.mark.parametrize("shape", [(1000, 10), (200, 100)])
def test_temperature_is_exact_at_any_scale(true: float, shape: tuple[int, int]) -> None:
    logits, target = drawn(*shape)
    reference = TemperatureScaling().fit(logits, target)
    scaling = TemperatureScaling().fit(true * logits, target)
    assert float(scaling.temperature_) == pytest.approx(true * float(reference.temperature_), rel=1e-9)
    assert scaling.converged_
    assert abs(scaling.gradient_) < 1e-12
    assert scaling.iterations_ < 20


def test_temperature_is_the_minimum_of_the_nll() -> None:
    logits, target = drawn()
    best = float(TemperatureScaling().fit(3 * logits, target).temperature_)
    values = [nll(3 * logits, target, best * factor) for factor in (0.99, 0.999, 1, 1.001, 1.01)]
    assert min(values) == values[2]


def test_temperature_is_positive_by_construction_and_certified_by_the_derivative() -> None:
    generator = torch.Generator().manual_seed(3)
    for seed in range(20):
        logits, _ = drawn(50, 3, seed)
        target = torch.randint(0, 3, (50,), generator=generator)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaling = TemperatureScaling().fit(logits, target)
        temperature = float(scaling.temperature_)
        assert temperature > 0
        leaf = torch.tensor(math.log(temperature), dtype=torch.float64, requires_grad=True)
        torch.nn.functional.cross_entropy(logits / leaf.exp(), target).backward()
        assert float(leaf.grad) == pytest.approx(scaling.gradient_, abs=1e-12)
        assert scaling.converged_ == (abs(scaling.gradient_) < 1e-12)


def test_all_right_has_no_temperature_and_says_so() -> None:
    logits, _ = drawn()
    with pytest.warns(ConvergenceWarning, match="every prediction is right") as caught:
        scaling = TemperatureScaling().fit(logits, logits.argmax(1))
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert not scaling.converged_
    assert float(scaling.temperature_) == 1e-3
    assert scaling(logits).isfinite().all()


def test_worse_than_chance_has_no_temperature_and_says_so() -> None:
    logits, _ = drawn()
    with pytest.warns(ConvergenceWarning, match="worse than chance"):
        scaling = TemperatureScaling().fit(logits, logits.argmin(1))
    assert not scaling.converged_
    assert float(scaling.temperature_) == 1e3


@pytest.mark.parametrize(("scale", "kept"), [(30.0, 10.0), (0.03, 0.1)])
def test_an_optimum_outside_the_bounds_is_said(scale: float, kept: float) -> None:
    logits, target = drawn()
    with pytest.warns(ConvergenceWarning, match="widen bounds"):
        scaling = TemperatureScaling(bounds=(0.1, 10)).fit(scale * logits, target)
    assert float(scaling.temperature_) == pytest.approx(kept, rel=1e-12)
    assert not scaling.converged_
    assert scaling.iterations_ < 10


def test_a_bracket_that_rounding_cannot_halve_ends_the_search() -> None:
    logits, target = drawn(300, 5)
    # So far from 0, logits lose the digits that a derivative of 1e-12 needs.
    with pytest.warns(ConvergenceWarning):
        scaling = TemperatureScaling(bounds=(1e-4, 1e4)).fit(2500 * logits + 1e11, target)
    assert scaling.iterations_ < 60
    expected = float(TemperatureScaling().fit(logits, target).temperature_)
    assert float(scaling.temperature_) == pytest.approx(2500 * expected, rel=1e-6)


def test_equal_logits_leave_the_temperature_at_one() -> None:
    scaling = TemperatureScaling().fit(torch.ones(5, 3), torch.tensor([0, 1, 2, 0, 1]))
    assert float(scaling.temperature_) == 1.0
    assert scaling.converged_


def test_large_sets_iterate_in_their_own_type_and_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = drawn(20_000, 20)
    exact = TemperatureScaling().fit(2 * logits.float(), target)
    monkeypatch.setattr(module, "_LARGE", 50_000)
    fast = TemperatureScaling().fit(2 * logits.float(), target)
    assert fast.converged_
    assert fast.iterations_ <= 4
    assert float(fast.temperature_) == pytest.approx(float(exact.temperature_), rel=1e-6)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
def test_large_sets_with_an_offset_lose_no_precision(
    monkeypatch: pytest.MonkeyPatch, kind: torch.dtype
) -> None:
    logits, target = drawn(20_000, 20)
    logits = (2 * logits + 300 * torch.rand(20_000, 1, generator=torch.Generator().manual_seed(1))).to(kind)
    exact = TemperatureScaling().fit(logits.double(), target)
    monkeypatch.setattr(module, "_LARGE", 50_000)
    fast = TemperatureScaling().fit(logits, target)
    assert fast.converged_
    assert fast.iterations_ <= 4
    assert float(fast.temperature_) == pytest.approx(float(exact.temperature_), rel=2e-6)


def test_the_result_does_not_depend_on_the_order_of_the_rows() -> None:
    logits, target = drawn()
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    one = TemperatureScaling().fit(logits, target)
    other = TemperatureScaling().fit(logits[order], target[order])
    assert float(one.temperature_) == pytest.approx(float(other.temperature_), rel=1e-12)


def test_state_dict_carries_how_the_fit_ended() -> None:
    logits, target = drawn()
    fitted = TemperatureScaling().fit(logits, target)
    other = TemperatureScaling()
    other.load_state_dict(fitted.state_dict())
    assert (other.converged_, other.gradient_, other.iterations_) == (
        True,
        fitted.gradient_,
        fitted.iterations_,
    )
    assert all(isinstance(value, Tensor) for value in fitted.state_dict().values())


def test_gradient_flows_to_the_logits() -> None:
    logits, target = drawn()
    scaling = TemperatureScaling().fit(2 * logits, target)
    leaf = logits.clone().requires_grad_()
    scaling(leaf).sum().backward()
    assert torch.allclose(leaf.grad, torch.full_like(leaf, 1 / float(scaling.temperature_)))


def test_published_grids() -> None:
    assert len(GRIDS["focal_calibration"]) == 100
    assert GRIDS["focal_calibration"][2] == 0.30000000000000004
    assert GRIDS["focal_calibration"][-1] == 9.99999999999998
    assert len(GRIDS["cals"]) == 19
    assert GRIDS["cals"][-1] == pytest.approx(1.9)


def test_ece_criterion_takes_the_first_best_of_the_grid() -> None:
    logits, target = drawn(300)
    grid = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0]
    scaling = TemperatureScaling("ece", grid=grid).fit(2 * logits, target)
    values = [float(ece(2 * logits / t, target, inputs="logits")) for t in grid]
    assert float(scaling.temperature_) == grid[values.index(min(values))]
    assert scaling.converged_


def test_the_end_of_a_grid_is_said() -> None:
    logits, target = drawn()
    with pytest.warns(ConvergenceWarning, match="widen the grid"):
        scaling = TemperatureScaling("nll", grid="cals").fit(5 * logits, target)
    assert float(scaling.temperature_) == pytest.approx(1.9)
    assert not scaling.converged_


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"criterion": "mse"}, "criterion must be"),
        ({"criterion": "ece"}, "needs a grid"),
        ({"grid": "cls"}, "There is no grid 'cls'"),
        ({"grid": [1.0, -1.0]}, "positive temperatures"),
        ({"grid": []}, "positive temperatures"),
        ({"bounds": (0.0, 1.0)}, "two temperatures"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TemperatureScaling(**options)


def test_infinite_logits_are_named() -> None:
    logits, target = drawn(10)
    logits[4, 2] = -math.inf
    with pytest.raises(InputError, match="hold -inf, first in row 4 that counts, class 2"):
        TemperatureScaling().fit(logits, target)


@pytest.mark.parametrize(("outliers", "passes"), [(1.0, 1), (100.0, 2)])
def test_few_passes_over_a_large_set_are_certified_by_the_derivative(outliers: float, passes: int) -> None:
    logits, target = drawn(6000, 1000)
    logits[:60] *= outliers
    scaling = TemperatureScaling().fit(2 * logits.float(), target)
    assert scaling.converged_
    assert scaling.iterations_ == passes
    leaf = scaling.temperature_.log().requires_grad_()
    torch.nn.functional.cross_entropy(2 * logits / leaf.exp(), target).backward()
    assert abs(float(leaf.grad)) < 1e-6


def test_large_sets_stop_at_what_single_precision_can_tell() -> None:
    logits, target = drawn(6000, 1000)
    fitted = TemperatureScaling().fit(logits.float(), target)
    assert fitted.converged_
    assert fitted.iterations_ <= 3
    again = TemperatureScaling().fit(logits.float() / float(fitted.temperature_), target)
    assert again.converged_
    assert again.iterations_ <= 3
    assert float(again.temperature_) == pytest.approx(1, abs=1e-6)


def test_a_vanishing_term_of_the_series_certifies_nothing() -> None:
    # f(s) = s + (s - 1)^5 is 1 + (s - 1)^5 + (s - 1): at 1 its third and fourth derivatives are 0.
    left, error = module._householder(0.1, 1.0, 0.0, 0.0)[1:]
    assert abs(left) < 1e-12
    assert error > 1e-4


@pytest.mark.parametrize(("seed", "sharp"), [(46, 1.9), (52, 1.9), (19, 1.6)])
def test_raters_who_alternate_do_not_deceive_a_large_fit(
    monkeypatch: pytest.MonkeyPatch, seed: int, sharp: float
) -> None:
    # Every second label, which the start is found from, wants another temperature than all of them do; and over
    # many classes with normal logits a term of the series all but vanishes.
    images = 0.52 * torch.randn(2, 100, generator=torch.Generator().manual_seed(seed))
    shares = (torch.arange(200) + 0.5).double() / 200
    rated = [
        torch.searchsorted((scale * image.double()).softmax(0).cumsum(0), shares).clamp(max=99)
        for image in images
        for scale in (1.0, sharp)
    ]
    target = torch.stack(rated).view(2, 2, 200).transpose(1, 2).flatten()
    logits = images.repeat_interleave(400, 0)
    monkeypatch.setattr(module, "_LARGE", logits.numel() // 2)
    scaling = TemperatureScaling().fit(logits, target)
    leaf = scaling.temperature_.log().requires_grad_()
    torch.nn.functional.cross_entropy(logits.double() / leaf.exp(), target).backward()
    assert scaling.converged_
    assert abs(float(leaf.grad)) < 2e-6


@pytest.mark.parametrize("distance", [-0.3, -0.1, -0.01, 0.01, 0.1, 0.3])
def test_a_step_knows_what_it_leaves(distance: float) -> None:
    # f'(s) = s - 1 / s has its zero at 1 and derivatives of all orders.
    s = math.exp(distance)
    step, left, error = module._householder(s * s - 1, s * s + 1, -2.0, 6.0)
    actual = math.exp(2 * (distance + step)) - 1
    assert abs(actual) < distance**4
    assert abs(actual - left) <= error
