"""Everything at once: names, values, intervals, the reliability diagram."""

import math

import pytest
import torch

from calibrant.errors import InputError
from calibrant.metrics import State, evaluate, evaluate_state, reliability
from calibrant.metrics import functional as F
from calibrant.metrics.evaluation import _PARTS, STANDARD
from tests.metrics.data import sample

PROBS, TARGET = sample(1500)


def test_values_are_those_of_the_functions():
    found = evaluate(
        PROBS, TARGET, inputs="probs", intervals=False, class_counts=[900, 500, 200, 99, 50, 20, 9, 5, 2, 1]
    )
    assert tuple(found) == (*STANDARD, "many", "medium", "few")
    for name in STANDARD:
        assert found[name].value == pytest.approx(
            float(getattr(F, name)(PROBS, TARGET, inputs="probs")), abs=1e-12
        )
        assert math.isnan(found[name].low)
        assert math.isnan(found[name].high)


def test_intervals_hold_the_value_and_repeat():
    first, again, other = (
        evaluate(PROBS, TARGET, inputs="probs", class_counts=[500] * 5 + [10] * 5, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.keys() == again.keys()
    for name, estimate in first.items():
        if name == "medium":  # no class is in it
            assert math.isnan(estimate.value)
            continue
        assert estimate == again[name]
        # A calibration error is biased upwards, so its value may lie above the interval of the truth.
        assert estimate.low <= estimate.value, name
        assert estimate.low <= estimate.high, name
        if name in ("accuracy", "nll", "brier", "auroc", "aurc", "many", "few"):
            assert estimate.value <= estimate.high, name
        assert other[name].value == estimate.value


def test_an_interval_narrows_with_its_level_and_with_more_samples():
    few, many = sample(200, seed=3), sample(5000, seed=3)
    for name in ("accuracy", "nll", "brier"):
        widths = []
        for (probs, target), level in ((few, 0.95), (few, 0.5), (many, 0.5)):
            found = evaluate(probs, target, inputs="probs", level=level)[name]
            widths.append(found.high - found.low)
        assert widths[0] > widths[1] > widths[2]


def test_the_interval_of_a_group_is_that_of_its_classes():
    # One class in the group: the interval is Wilson's of its accuracy.
    probs, target = torch.eye(2, dtype=torch.float64)[torch.arange(100) % 2], torch.zeros(100, dtype=torch.long)
    found = evaluate(probs, target, inputs="probs", class_counts=[500, 5])
    assert found["many"] == pytest.approx(found["accuracy"])
    assert math.isnan(found["few"].value)


def test_a_state_filled_in_batches_gives_the_same():
    state = State(_PARTS, 10)
    for p, t in zip(PROBS.split(400), TARGET.split(400), strict=True):
        state.update(p, t, inputs="probs")
    batches = evaluate_state(state, intervals=False)
    whole = evaluate(PROBS, TARGET, inputs="probs", intervals=False)
    for name in STANDARD:
        assert batches[name].value == pytest.approx(whole[name].value, abs=1e-12)


def test_reliability_is_what_ece_sums():
    shown = reliability(PROBS, TARGET, inputs="probs")
    gaps = (shown.count / 1500 * (shown.confidence - shown.accuracy).abs()).nansum()
    assert float(gaps) == pytest.approx(float(F.ece(PROBS, TARGET, inputs="probs")), abs=1e-12)
    for name in ("confidence", "accuracy", "low", "high"):
        values = getattr(shown, name)
        assert values.dtype == torch.float64
        assert torch.equal(values.isnan(), shown.count == 0)
    held = shown.count > 0
    assert (shown.low[held] <= shown.accuracy[held] + 1e-12).all()
    assert (shown.accuracy[held] <= shown.high[held] + 1e-12).all()
    assert shown.edges.tolist() == [k / 15 for k in range(16)]


def test_mistakes():
    with pytest.raises(InputError, match="level must lie"):
        evaluate(PROBS, TARGET, inputs="probs", level=1.5)
    with pytest.raises(InputError, match="class_counts has shape"):
        evaluate(PROBS, TARGET, inputs="probs", class_counts=[1])
    with pytest.raises(InputError, match=r"\(N, C, \*\)"):
        reliability(PROBS[:, 0], TARGET, inputs="probs")
    with pytest.raises(InputError, match=r"\(N, C, \*\)"):
        evaluate(PROBS[:, 0], TARGET, inputs="probs")
