"""Mixed pairs: any loss on two targets, with one share for the batch or one a sample."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from calibrant.errors import InputError
from calibrant.losses import MixedPair, create, mixed_loss
from calibrant.losses.mixing import bbn_features, bbn_lambda, draw_lambda, mixup, remix_lambda

COUNTS = [300, 100, 60, 20, 6]


def _batch(rows=(7,)):
    torch.manual_seed(0)
    logits = torch.randn(rows[0], 5, *rows[1:], dtype=torch.float64)
    return logits, torch.randint(0, 5, rows), torch.randint(0, 5, rows)


@pytest.mark.parametrize("name", ["ce", "mbls", "focal", "ldam", "meep"])
def test_one_share_mixes_the_losses_of_both_targets(name):
    logits, a, b = _batch()
    loss = create(name, num_classes=5, class_counts=COUNTS)
    mixed = mixed_loss(loss, logits, MixedPair(a, b, 0.3))
    torch.testing.assert_close(mixed, 0.3 * loss(logits, a) + 0.7 * loss(logits, b))


def test_any_callable_takes_one_share():
    logits, a, b = _batch()
    mixed = mixed_loss(cross_entropy, logits, MixedPair(a, b, 0.25))
    torch.testing.assert_close(mixed, 0.25 * cross_entropy(logits, a) + 0.75 * cross_entropy(logits, b))


@pytest.mark.parametrize("rows", [(7,), (3, 2, 4)])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_a_share_a_sample_equals_a_slow_loop(rows, reduction):
    logits, a, b = _batch(rows)
    shares = torch.rand(rows[0], dtype=torch.float64)
    loss = create("focal", reduction=reduction)
    one = create("focal", reduction="none")
    slow = torch.stack(
        [
            shares[i] * one(logits[i : i + 1], a[i : i + 1])[0]
            + (1 - shares[i]) * one(logits[i : i + 1], b[i : i + 1])[0]
            for i in range(rows[0])
        ]
    )
    expected = {"none": slow, "mean": slow.mean(), "sum": slow.sum()}[reduction]
    torch.testing.assert_close(mixed_loss(loss, logits, MixedPair(a, b, shares)), expected)
    assert loss.reduction == reduction


@settings(max_examples=20)
@given(lam=st.floats(0, 1), weighted=st.booleans())
def test_equal_shares_of_the_samples_are_one_share_of_the_batch(lam, weighted):
    logits, a, b = _batch()
    a[2] = -100
    loss = create("mbls", margin=1.0, weight=[1.0, 2.0, 3.0, 4.0, 5.0] if weighted else None)
    one = mixed_loss(loss, logits, MixedPair(a, b, lam))
    terms = loss.terms
    each = mixed_loss(loss, logits, MixedPair(a, b, torch.full((7,), lam, dtype=torch.float64)))
    torch.testing.assert_close(each, one)
    torch.testing.assert_close(loss.terms, terms)


def test_terms_are_mixed():
    logits, a, b = _batch()
    loss = create("mbls")
    mixed = mixed_loss(loss, logits, MixedPair(a, b, 0.4))
    torch.testing.assert_close(loss.terms["ce"] + 0.1 * loss.terms["margin"], mixed)


def test_a_share_a_sample_needs_rows():
    logits, a, b = _batch()
    pair = MixedPair(a, b, torch.rand(7))
    for loss in (create("meep"), cross_entropy):
        with pytest.raises(InputError, match="one share for the batch"):
            mixed_loss(loss, logits, pair)


def test_nothing_left_to_count_gives_zero():
    logits, a, _ = _batch()
    logits.requires_grad_()
    nothing = torch.full_like(a, -100)
    mixed = mixed_loss(create("ce", weight=[1.0] * 5), logits, MixedPair(nothing, nothing, torch.rand(7)))
    assert mixed.item() == 0
    assert not torch.autograd.grad(mixed, logits)[0].any()


def test_a_soft_target_is_the_mixture():
    pair = MixedPair(torch.tensor([0, 1]), torch.tensor([1, 1]), torch.tensor([0.75, 0.5]))
    assert pair.soft_target(3).tolist() == [[0.75, 0.25, 0], [0, 1, 0]]
    maps = MixedPair(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), 0.25)
    assert torch.equal(maps.soft_target(), torch.full((1, 1, 2, 2), 0.25))
    with pytest.raises(InputError, match="num_classes"):
        pair.soft_target()
    with pytest.raises(InputError, match="without ignored"):
        MixedPair(torch.tensor([-100]), torch.tensor([0]), 0.5).soft_target(3)


@given(seed=st.integers(0, 10**6), alpha=st.sampled_from([0.0, 0.2, 1.0, 20.0]))
def test_a_drawn_share_lies_between_0_and_1_and_follows_its_generator(seed, alpha):
    lam, again = (draw_lambda(alpha, generator=torch.Generator().manual_seed(seed)) for _ in range(2))
    assert 0 <= lam <= 1
    assert lam == again
    assert alpha > 0 or lam == 1


def test_drawn_shares_have_the_variance_of_their_beta():
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1)); own randomness leaves PyTorch's alone."""
    generator, state = torch.Generator().manual_seed(0), torch.get_rng_state()
    for alpha in (0.2, 1.0, 10.0):
        draws = torch.tensor([draw_lambda(alpha, generator=generator) for _ in range(4000)])
        assert float(draws.mean()) == pytest.approx(0.5, abs=0.03)
        assert float(draws.var()) == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    assert torch.equal(torch.get_rng_state(), state)


def test_mixup_mixes_each_sample_with_its_partner():
    x, y, order = torch.randn(4, 3, 2, 2), torch.tensor([3, 1, 0, 2]), torch.tensor([2, 3, 0, 1])
    mixed, pair = mixup(x, y, 0.7, order)
    for i in range(4):
        torch.testing.assert_close(mixed[i], 0.7 * x[i] + 0.3 * x[order[i]])
        assert (pair.a[i], pair.b[i]) == (y[i], y[order[i]])


@given(lam=st.floats(0, 1), tau=st.floats(0, 1), kappa=st.floats(1, 10))
def test_remix_is_that_of_a_slow_loop(lam, tau, kappa):
    a, b = (labels.flatten() for labels in torch.meshgrid(torch.arange(5), torch.arange(5), indexing="ij"))
    shares = remix_lambda(COUNTS, a, b, lam, kappa=kappa, tau=tau)
    for share, i, j in zip(shares.tolist(), a.tolist(), b.tolist(), strict=True):
        ratio = COUNTS[i] / COUNTS[j]
        expected = lam
        if ratio >= kappa and lam < tau:
            expected = 0.0
        elif ratio <= 1 / kappa and 1 - lam < tau:
            expected = 1.0
        assert share == expected
    averaged = remix_lambda(COUNTS, a, b, lam, kappa=kappa, tau=tau, form="averaged")
    assert float(averaged) == pytest.approx(float(shares.mean()))


def test_the_share_of_the_uniform_branch_falls_from_1():
    shares = [bbn_lambda(e, 10) for e in range(10)]
    assert shares[0] == 1
    assert shares == sorted(shares, reverse=True)
    assert shares[5] == 0.75
    assert shares[-1] > 0
    test_time = bbn_features(torch.ones(1, 2), 2 * torch.ones(1, 2))
    assert test_time.tolist() == [[1, 1, 2, 2]]


@pytest.mark.parametrize("arguments", [{"kappa": 0.5}, {"form": "mean"}])
def test_mistakes_are_refused(arguments):
    labels = torch.tensor([0, 1])
    with pytest.raises(InputError, match=next(iter(arguments))):
        remix_lambda(COUNTS, labels, labels, 0.5, **arguments)
    with pytest.raises(InputError, match="alpha"):
        draw_lambda(-1.0)
