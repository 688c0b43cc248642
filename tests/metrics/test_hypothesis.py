"""The tests of calibration hold their size, find what is there, and do not depend on batches."""

import pytest
import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics import State
from calibrant.metrics.binning import bin_index, convention
from calibrant.metrics.hypothesis import LabelDraws, calibration_test, sign_flips
from calibrant.metrics.rows import checked

PARTS = {"top", "class"}


def p_values(probs: Tensor, target: Tensor, seed: int = 0, draws: int = 199) -> tuple[float, float]:
    state, chance = State(PARTS, probs.shape[1], 10), LabelDraws(probs.shape[1], 10, draws, seed)
    rows = checked(probs, target, inputs="probs")
    state.add(rows)
    chance.add(rows)
    found = [calibration_test(bins, chance.gaps(bins)) for bins in (state.bins(), state.class_bins())]
    return found[0].p_value, found[1].p_value


@pytest.mark.parametrize(("rows", "classes", "spread"), [(40, 2, 3.0), (150, 5, 2.0), (60, 20, 4.0)])
def test_a_calibrated_network_is_rejected_as_often_as_the_level_says(rows, classes, spread):
    generator = torch.Generator().manual_seed(1)
    trials = 400
    found = []
    for trial in range(trials):
        probs = (spread * torch.randn(rows, classes, generator=generator)).softmax(1)
        target = torch.multinomial(probs, 1, generator=generator).squeeze(1)
        found.append(p_values(probs, target, seed=trial))
    # Three standard errors of a share of 5 % in 400 trials are 3.3 %.
    for kind in torch.tensor(found).T:
        assert 0.017 <= float((kind <= 0.05).double().mean()) <= 0.083
        assert 0.4 < float(kind.mean()) < 0.6


def test_over_confidence_is_found_and_so_is_what_the_top_label_hides():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 4, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    assert max(p_values((2 * logits).softmax(1), target)) == 1 / 200
    # Class 1 of two is predicted too often by as much as class 0 is trusted too little.
    p = torch.rand(4000, generator=generator, dtype=torch.float64) * 0.8 + 0.1
    target = (torch.rand(4000, generator=generator) < (p - 0.08).float()).long()
    top, by_class = p_values(torch.stack([1 - p, p], 1), target)
    assert top > 0.05
    assert by_class == 1 / 200


def test_draws_do_not_depend_on_batches_and_leave_out_what_does_not_count():
    generator = torch.Generator().manual_seed(0)
    probs = torch.randn(60, 3, generator=generator).softmax(1)
    target = torch.arange(60) % 3
    target[::7] = -1
    whole, parts = LabelDraws(3, 5, 50), LabelDraws(3, 5, 50)
    whole.add(checked(probs, target, inputs="probs", ignore_index=-1))
    for start in range(0, 60, 13):
        part = slice(start, start + 13)
        parts.add(checked(probs[part], target[part], inputs="probs", ignore_index=-1))
    assert torch.equal(whole.top, parts.top)
    assert torch.equal(whole.by_class, parts.by_class)
    assert whole.by_class.sum((1, 2)).unique().tolist() == [int((target >= 0).sum())]


def test_drawn_gaps_have_the_mean_and_the_variance_of_the_hypothesis():
    probs = torch.tensor([[0.7, 0.3]], dtype=torch.float64).repeat(50, 1)
    rows = checked(probs, torch.zeros(50, dtype=torch.int64), inputs="probs")
    state, chance = State(PARTS, 2, 10), LabelDraws(2, 10, 4000)
    state.add(rows)
    chance.add(rows)
    gaps = chance.gaps(state.bins())[:, 6]
    assert abs(float(gaps.mean())) < 0.004
    assert float(gaps.var()) == pytest.approx(0.7 * 0.3 / 50, rel=0.1)


@pytest.mark.parametrize("images", [40, 150])
def test_signs_hold_their_size_where_the_pixels_of_an_image_agree(images):
    generator = torch.Generator().manual_seed(2)
    rejected, naive = [], []
    for trial in range(300):
        p = torch.rand(images, 1, 1, generator=generator, dtype=torch.float64).expand(images, 1, 30)
        same = torch.rand(images, 1, generator=generator)
        # All pixels of an image are class 1 together: each is calibrated, none is independent.
        target = (same < p[:, 0]).long()
        state = State(PARTS, 2, 10)
        state.update(p, target, inputs="probs")
        confidence, correct = torch.maximum(p, 1 - p)[:, 0], (p[:, 0] >= 0.5) == (target == 1)
        index = bin_index(confidence, 10, convention("calibrant"))
        residuals = torch.zeros(images, 10, dtype=torch.float64)
        residuals.scatter_add_(1, index, confidence - correct.double())
        bins = state.bins()
        assert torch.allclose(residuals.sum(0) / bins.total, bins.gap)
        flips = sign_flips(residuals, bins.total, draws=199, seed=trial)
        rejected.append(calibration_test(bins, flips).p_value <= 0.05)
        if trial < 20:
            naive.append(p_values(torch.cat([1 - p, p], 1), target)[0] <= 0.05)
    # Three standard errors at 300 trials are 3.8 %.
    assert 0.012 <= sum(rejected) / len(rejected) <= 0.088
    assert sum(naive) >= 18


def test_no_draws_are_refused():
    with pytest.raises(InputError, match="at least 1, not 0"):
        LabelDraws(2, draws=0)
