"""Perturbation of binary maps, and the statistics of each image."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.losses.perturbed_labels import (
    NOISE_BOUND,
    image_stats,
    perturb_labels,
    smooth_binary_labels,
    truncated_normal,
)

CPU = torch.device("cpu")


def _maps(images=6):
    torch.manual_seed(0)
    return torch.randint(0, 2, (images, 1, 4, 5)).double()


@pytest.mark.parametrize(
    ("strength", "of_0", "of_1"),
    [(2.0, 1.0, 0.0), (1.5, 0.75, 0.25), (1.0, 0.5, 0.5), (0.2, 0.1, 0.9), (4.0, 2, -1)],
)
def test_a_drawn_image_becomes_what_its_strength_says(strength, of_0, of_1):
    maps = _maps(2)
    target, drawn = perturb_labels(maps, torch.tensor([0.5, 0.5]), strength, u=torch.tensor([0.4, 0.6]))
    assert drawn.flatten().tolist() == [True, False]
    torch.testing.assert_close(target[0], torch.where(maps[0] == 1, of_1, of_0).double())
    assert torch.equal(target[1], maps[1])


def test_a_level_of_0_never_draws_and_the_level_itself_does_not():
    maps = torch.zeros(3, 1, 1, 1)
    drawn = perturb_labels(maps, torch.tensor([0.0, 0.3, 0.3]), u=torch.tensor([0.0, 0.3, 0.2])).drawn
    assert drawn.flatten().tolist() == [False, False, True]


def test_drawing_for_each_pixel_leaves_the_others():
    maps = _maps(40)
    generator = torch.Generator().manual_seed(0)
    target, drawn = perturb_labels(maps, 0.3, granularity="pixel", generator=generator)
    assert torch.equal(target, torch.where(drawn, 1 - maps, maps))
    assert float(drawn.double().mean()) == pytest.approx(0.3, abs=0.04)


def test_draws_follow_their_generator_and_leave_pytorchs_alone():
    maps, state = _maps(), torch.get_rng_state()
    first, second = (
        perturb_labels(maps, 0.5, noise=True, generator=torch.Generator().manual_seed(7)) for _ in range(2)
    )
    assert torch.equal(first.target, second.target)
    assert torch.equal(torch.get_rng_state(), state)


def test_noise_touches_drawn_images_alone_and_stays_in_its_bound():
    maps = _maps()
    u = torch.tensor([0.0, 0.9] * 3)
    target, drawn = perturb_labels(maps, 0.5, 1.0, noise=True, u=u)
    assert torch.equal(target[~drawn.flatten()], maps[~drawn.flatten()])
    assert ((target[drawn.flatten()] - 0.5).abs() <= NOISE_BOUND).all()
    assert target[drawn.flatten()].unique().numel() > 50


def test_noise_is_the_truncated_normal():
    generator = torch.Generator().manual_seed(0)
    draws = truncated_normal((200_000,), 0.25, device=CPU, generator=generator).double()
    inside = math.erf(0.25 / math.sqrt(2))
    density = math.exp(-(0.25**2) / 2) / math.sqrt(2 * math.pi)
    assert float(draws.mean()) == pytest.approx(0, abs=2e-3)
    assert float(draws.var()) == pytest.approx(1 - 2 * 0.25 * density / inside, rel=0.02)


@settings(max_examples=25)
@given(strength=st.floats(0.01, 2), seed=st.integers(0, 10**6))
def test_always_drawing_is_smoothing(strength, seed):
    torch.manual_seed(seed)
    maps = torch.rand(3, 1, 2, 2)
    target, drawn = perturb_labels(maps, 1.0, strength)
    assert drawn.all()
    assert torch.equal(target, smooth_binary_labels(maps, strength))


def test_smoothing_takes_a_strength_an_image():
    maps = _maps(2)
    smoothed = smooth_binary_labels(maps, torch.tensor([0.0, 0.2]).view(2, 1, 1, 1))
    assert torch.equal(smoothed[0], maps[0])
    torch.testing.assert_close(smoothed[1], (0.8 * maps[1] + 0.1))


def test_stats_are_those_of_a_slow_loop():
    torch.manual_seed(1)
    logits, maps = 3 * torch.randn(2, 1, 3, 3, dtype=torch.float64), torch.rand(2, 1, 3, 3, dtype=torch.float64)
    valid = torch.rand(2, 3, 3) > 0.3
    stats = image_stats(logits, maps, valid=valid)
    for i in range(2):
        rows = []
        for z, y, v in zip(logits[i].flatten(), maps[i].flatten(), valid[i].flatten(), strict=True):
            if v:
                p = 1 / (1 + math.exp(-float(z)))
                bce = -float(y) * math.log(p) - (1 - float(y)) * math.log(1 - p)
                rows.append((bce, -math.log(p * (1 - p)), (2 * float(y) - 1) * float(z)))
        expected = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        assert [float(s[i]) for s in stats] == pytest.approx(expected, rel=1e-12)
    torch.testing.assert_close(stats.margin, stats.cal - 2 * stats.bce)


def test_stats_of_saturated_logits_are_finite_and_clamped_on_request():
    logits = torch.full((2, 1, 2, 2), 60.0)
    logits[1] = -60
    maps = torch.ones(2, 1, 2, 2)
    exact = image_stats(logits, maps)
    assert exact.margin.tolist() == [60, -60]
    assert exact.bce.tolist() == pytest.approx([0, 60])
    clamped = image_stats(logits, maps, clamp=1e-7)
    assert clamped.margin.tolist() == pytest.approx([15.9424, -16.1181], abs=1e-4)


def test_stats_without_a_pixel_that_counts_are_0():
    stats = image_stats(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), valid=torch.zeros(1, 2, 2).bool())
    assert [float(s) for s in stats] == [0, 0, 0]


def test_stats_carry_no_gradient():
    logits = torch.ones(1, 1, 2, 2, requires_grad=True)
    assert not image_stats(logits, torch.ones(1, 1, 2, 2)).margin.requires_grad
