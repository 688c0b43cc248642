"""Class-balanced weights and losses against slow loops."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibrant.errors import InputError
from calibrant.losses import create
from calibrant.losses.class_balanced import deferred_weights, effective_number_weights

COUNTS = [500, 60, 8]


@given(
    counts=st.lists(st.integers(1, 5000), min_size=2, max_size=12),
    beta=st.sampled_from([0.0, 0.9, 0.999, 0.9999]),
)
def test_weights_follow_the_effective_number(counts, beta):
    weights = effective_number_weights(counts, beta)
    raw = [(1 - beta) / (1 - beta**n) for n in counts]
    expected = [len(counts) * w / sum(raw) for w in raw]
    assert weights.tolist() == pytest.approx(expected, rel=1e-9)
    assert float(weights.sum()) == pytest.approx(len(counts))


def test_deferred_weights_switch_at_the_start():
    assert torch.equal(deferred_weights(COUNTS, epoch=0), torch.ones(3, dtype=torch.float64))
    assert torch.equal(deferred_weights(COUNTS, epoch=159), torch.ones(3, dtype=torch.float64))
    assert torch.equal(deferred_weights(COUNTS, epoch=160), effective_number_weights(COUNTS))
    assert torch.equal(deferred_weights(COUNTS, epoch=3, start=3), effective_number_weights(COUNTS))


def test_deferred_weights_fit_a_loss():
    """A loss built without weights takes them later, and divides by their sum."""
    torch.manual_seed(0)
    logits, target = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    loss = create("ldam", class_counts=COUNTS)
    loss.weight = deferred_weights(COUNTS, epoch=160)
    fresh = create("ldam", class_counts=COUNTS, weight=effective_number_weights(COUNTS))
    torch.testing.assert_close(loss(logits, target), fresh(logits, target))


def _batch():
    torch.manual_seed(1)
    return torch.randn(7, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 2, 2, 1, 0])


@pytest.mark.parametrize("divide_by", ["weights", "samples"])
def test_cross_entropy_divides_by_what_it_says(divide_by):
    logits, target = _batch()
    weights = effective_number_weights(COUNTS, 0.99)
    rows = [-float(z.log_softmax(0)[y]) * float(weights[y]) for z, y in zip(logits, target, strict=True)]
    divisor = float(weights[target].sum()) if divide_by == "weights" else len(rows)
    loss = create("cb_ce", class_counts=COUNTS, beta=0.99, divide_by=divide_by)
    assert float(loss(logits, target)) == pytest.approx(sum(rows) / divisor, rel=1e-6)


def test_both_divisors_leave_the_rows_alike():
    logits, target = _batch()
    a, b = (
        create("cb_ce", class_counts=COUNTS, divide_by=by, reduction="none")(logits, target)
        for by in ("weights", "samples")
    )
    torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


def test_an_extra_weight_multiplies():
    logits, target = _batch()
    loss = create("cb_ce", class_counts=COUNTS, beta=0.0, weight=[1.0, 2.0, 3.0])
    expected = torch.nn.functional.cross_entropy(logits, target, torch.tensor([1.0, 2, 3]).double())
    torch.testing.assert_close(loss(logits, target), expected)


def slow_sigmoid_focal(z, y, gamma):
    total = 0.0
    for k, v in enumerate(z.tolist()):
        p = 1 / (1 + math.exp(-v))
        right = p if k == y else 1 - p
        total -= (1 - right) ** gamma * math.log(right)
    return total


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_sigmoid_focal_is_that_of_a_slow_loop(gamma):
    logits, target = _batch()
    weights = effective_number_weights(COUNTS, 0.99)
    rows = [
        float(weights[y]) * slow_sigmoid_focal(z, int(y), gamma) for z, y in zip(logits, target, strict=True)
    ]
    loss = create("cb_focal", class_counts=COUNTS, beta=0.99, gamma=gamma)
    assert float(loss(logits, target)) == pytest.approx(sum(rows) / len(rows), rel=1e-12)


@pytest.mark.parametrize("form", ["sigmoid", "weight_in_exponent"])
def test_soft_targets_are_the_expectation_over_the_label(form):
    """With equal weights; with others, the weight is an expectation too."""
    logits, _ = _batch()
    loss = create("cb_focal", class_counts=COUNTS, beta=0.0, gamma=1.5, form=form)
    share = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
    expected = sum(share[k] * loss(logits, torch.full((7,), k)) for k in range(3))
    torch.testing.assert_close(loss(logits, share.expand(7, 3)), expected)


def test_weight_in_exponent_is_that_of_a_slow_loop():
    logits, target = _batch()
    weights = effective_number_weights(COUNTS, 0.99)
    rows = []
    for z, y in zip(logits, target, strict=True):
        ce = -float(weights[y]) * float(z.log_softmax(0)[y])
        rows.append((1 - math.exp(-ce)) ** 2 * ce)
    loss = create("cb_focal", class_counts=COUNTS, beta=0.99, gamma=2.0, form="weight_in_exponent")
    assert float(loss(logits, target)) == pytest.approx(sum(rows) / len(rows), rel=1e-12)


@pytest.mark.parametrize(
    ("name", "arguments", "what"),
    [
        ("cb_ce", {"beta": 1.0}, "beta"),
        ("cb_ce", {"divide_by": "rows"}, "divide_by"),
        ("cb_focal", {"gamma": -1.0}, "gamma"),
        ("cb_focal", {"form": "softmax"}, "form"),
        ("cb_focal", {"class_counts": [4, 0]}, "small positive count"),
    ],
)
def test_mistakes_are_refused(name, arguments, what):
    with pytest.raises(InputError, match=what):
        create(name, **({"class_counts": COUNTS} | arguments))
