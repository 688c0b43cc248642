"""Label-aware smoothing against a slow loop, its shapes, and the two forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.errors import InputError
from calibrant.losses import MixedPair, create, mixed_loss
from calibrant.losses.label_aware import LabelAwareSmoothing, smoothing_by_count

COUNTS = [300, 120, 40, 7]


def slow(logits, target, eps, form):
    total, classes = 0.0, logits.shape[1]
    for z, y in zip(logits.tolist(), target.tolist(), strict=True):
        log_p = [v - math.log(sum(math.exp(w) for w in z)) for v in z]
        e = float(eps[y])
        if form == "code":
            q = [e / classes + (1 - e) * (k == y) for k in range(classes)]
        else:
            q = [1 - e if k == y else e / (classes - 1) for k in range(classes)]
        total -= sum(a * b for a, b in zip(q, log_p, strict=True))
    return total / len(target)


@pytest.mark.parametrize("form", ["code", "paper"])
@pytest.mark.parametrize("shape", ["concave", "linear", "convex", "exponential"])
def test_value_is_that_of_a_slow_loop(shape, form):
    torch.manual_seed(0)
    logits, target = torch.randn(9, 4, dtype=torch.float64) * 3, torch.randint(0, 4, (9,))
    power = 0.5 if shape == "exponential" else None
    loss = LabelAwareSmoothing(COUNTS, 0.4, 0.1, shape=shape, power=power, form=form)
    eps = smoothing_by_count(COUNTS, 0.4, 0.1, shape, power)
    assert float(loss(logits, target)) == pytest.approx(slow(logits, target, eps, form), rel=1e-12)


@given(
    counts=st.lists(st.integers(0, 5000), min_size=2, max_size=12),
    head=st.floats(0, 0.9),
    tail=st.floats(0, 0.9),
    shape=st.sampled_from(["concave", "linear", "convex"]),
)
def test_smoothing_runs_from_tail_to_head(counts, head, tail, shape):
    eps = smoothing_by_count(counts, head, tail, shape)
    low, high = min(head, tail), max(head, tail)
    assert (eps >= low - 1e-12).all()
    assert (eps <= high + 1e-12).all()
    assert float(eps[counts.index(max(counts))]) == pytest.approx(head, abs=1e-12)
    if max(counts) > min(counts):
        assert float(eps[counts.index(min(counts))]) == pytest.approx(tail, abs=1e-12)


def test_the_shapes_lie_in_their_order():
    concave, linear, convex = (smoothing_by_count(COUNTS, 0.4, 0.1, s) for s in ("concave", "linear", "convex"))
    middle = slice(1, 3)
    assert (concave[middle] > linear[middle]).all()
    assert (linear[middle] > convex[middle]).all()


def test_paper_form_equals_code_form_with_more_smoothing():
    """eps_code = eps_paper K / (K - 1)."""
    torch.manual_seed(1)
    logits, target = torch.randn(6, 4, 3, dtype=torch.float64), torch.randint(0, 4, (6, 3))
    paper = LabelAwareSmoothing(COUNTS, 0.3, 0.06, shape="linear", form="paper")(logits, target)
    code = LabelAwareSmoothing(COUNTS, 0.4, 0.08, shape="linear", form="code")(logits, target)
    torch.testing.assert_close(paper, code, rtol=1e-12, atol=0)


def test_equal_counts_smooth_every_class_like_the_head():
    torch.manual_seed(2)
    logits, target = torch.randn(5, 3), torch.randint(0, 3, (5,))
    las = create("las", class_counts=[7, 7, 7], eps_head=0.2, eps_tail=0.0)
    assert float(las(logits, target)) == pytest.approx(float(create("ls", alpha=0.2)(logits, target)), rel=1e-6)


def test_no_smoothing_of_the_tail_is_cross_entropy_there():
    torch.manual_seed(3)
    logits = torch.randn(4, 4)
    target = torch.full((4,), 3)
    las = create("las", class_counts=COUNTS, eps_tail=0.0)
    assert float(las(logits, target)) == pytest.approx(float(create("ce")(logits, target)), rel=1e-6)


@pytest.mark.parametrize("form", ["code", "paper"])
@settings(max_examples=20)
@given(seed=st.integers(0, 10**6), lam=st.floats(0, 1))
def test_linear_in_the_target(form, seed, lam):
    """The soft target of a mixed pair gives what the pair gives."""
    torch.manual_seed(seed)
    logits = torch.randn(5, 4, 2, dtype=torch.float64)
    pair = MixedPair(torch.randint(0, 4, (5, 2)), torch.randint(0, 4, (5, 2)), lam)
    loss = LabelAwareSmoothing(COUNTS, 0.4, 0.1, form=form)
    soft = pair.soft_target(4).double()
    torch.testing.assert_close(loss(logits, soft), mixed_loss(loss, logits, pair), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"eps_head": 1.0}, "eps_head"),
        ({"eps_tail": -0.1}, "eps_tail"),
        ({"shape": "round"}, "shape must be"),
        ({"shape": "exponential"}, "power"),
        ({"power": 2.0}, "power"),
        ({"shape": "exponential", "power": 0.0}, "power"),
        ({"form": "book"}, "form must be"),
    ],
)
def test_mistakes_are_refused(arguments, what):
    with pytest.raises(InputError, match=what):
        LabelAwareSmoothing(COUNTS, **arguments)
