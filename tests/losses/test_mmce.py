"""MMCE against the sum over all pairs, written as a loop, and its special cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.errors import InputError
from calibrant.losses import MMCE, WeightedMMCE
from calibrant.losses.mmce import laplacian_gram, mmce, weighted_mmce


def pairs(left, right, bandwidth):
    """The sum over all pairs of (position, weight), one at a time."""
    return sum(
        w * v * math.exp(-abs(x - z) / bandwidth)
        for x, w in zip(*(t.tolist() for t in left), strict=True)
        for z, v in zip(*(t.tolist() for t in right), strict=True)
    )


@settings(max_examples=50)
@given(
    positions=st.lists(st.integers(0, 8).map(lambda k: k / 8), min_size=0, max_size=12),
    bandwidth=st.sampled_from([0.001, 0.02, 0.4, 50.0]),
    seed=st.integers(0, 2**31),
)
def test_gram_is_the_sum_over_all_pairs_with_ties(positions, bandwidth, seed):
    torch.manual_seed(seed)
    x = torch.tensor(positions, dtype=torch.float64)
    w = torch.randn(2, len(positions), dtype=torch.float64)
    expected = [[pairs((x, w[g]), (x, w[h]), bandwidth) for h in range(2)] for g in range(2)]
    torch.testing.assert_close(
        laplacian_gram(x, w, bandwidth), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


def test_gradient_of_the_gram_is_that_of_the_matrix_of_the_kernel():
    torch.manual_seed(0)
    x = torch.rand(40, dtype=torch.float64)
    x[10:20] = x[0]
    x[30], x[31] = 0.0, 1.0
    w = torch.randn(2, 40, dtype=torch.float64)
    mixing = torch.tensor([[1.0, -0.3], [0.7, 2.0]], dtype=torch.float64)
    gradients = []
    for fast in (True, False):
        x_, w_ = x.clone().requires_grad_(), w.clone().requires_grad_()
        kernel = torch.exp(-(x_.unsqueeze(0) - x_.unsqueeze(1)).abs() / 0.05)
        gram = laplacian_gram(x_, w_, 0.05) if fast else w_ @ kernel @ w_.mT
        gradients.append(torch.autograd.grad((gram * mixing).sum(), (x_, w_)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_half_a_million_rows_need_no_matrix():
    torch.manual_seed(0)
    r = torch.rand(524_288).requires_grad_()
    c = (torch.rand(524_288) < 0.5).float()
    value = mmce(r, c)
    (gradient,) = torch.autograd.grad(value, r)
    # The integral that the sum approaches: gaps of mean 1/2 - r under a uniform r.
    grid = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    kernel = torch.exp(-(grid.unsqueeze(0) - grid.unsqueeze(1)).abs() / 0.4)
    limit = (0.5 - grid) @ kernel @ (0.5 - grid) / 2000**2
    assert abs(float(value.detach()) / float(limit) - 1) < 0.02
    assert gradient.isfinite().all()


def test_identical_rows_scattered_over_the_batch_change_nothing():
    r, c = torch.tensor([0.6, 0.9], dtype=torch.float64), torch.tensor([0.0, 1.0], dtype=torch.float64)
    for statistic in (mmce, weighted_mmce):
        torch.testing.assert_close(statistic(r.repeat(500), c.repeat(500)), statistic(r, c))


def test_weighted_is_the_loop_over_its_three_blocks():
    torch.manual_seed(1)
    r = torch.rand(9, dtype=torch.float64)
    c = torch.tensor([1.0, 0, 0, 1, 1, 0, 1, 0, 1], dtype=torch.float64)
    a, b = (r[c > 0], 1 - r[c > 0]), (r[c == 0], r[c == 0])
    m, n = 5, 4
    blocks = [(pairs(a, a, 0.4), m * m, 1), (pairs(b, b, 0.4), n * n, 1), (pairs(a, b, 0.4), m * n, -2)]
    single = math.sqrt(sum(factor * s / k for s, k, factor in blocks) + 1e-10)
    reference = math.sqrt(sum(factor * s / k / (k + 1e-5) for s, k, factor in blocks) + 1e-10)
    assert float(weighted_mmce(r, c)) == pytest.approx(single, rel=1e-12)
    assert float(weighted_mmce(r, c, normalization="reference")) == pytest.approx(reference, rel=1e-12)


@pytest.mark.parametrize("normalization", ["single", "reference"])
@pytest.mark.parametrize("target", [[0], [1], [0, 0], [1, 1], [0, 0, 0]])
def test_weighted_is_zero_when_all_are_right_or_all_wrong(normalization, target):
    logits = torch.tensor([[2.0, 0.0], [3.0, 0.0], [1.5, 0.0]])[: len(target)].requires_grad_()
    loss = WeightedMMCE(normalization=normalization)
    term = loss.formula(loss.prepare(logits, torch.tensor(target)))["mmce"]
    assert float(term.detach()) == 0
    assert not torch.autograd.grad(term, logits)[0].any()


def test_root_of_a_single_row_is_its_gap():
    loss = MMCE(squared=False)
    loss(torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([1]))
    assert float(loss.terms["mmce"]) == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-9)


def test_correctness_carries_no_gradient_and_confidence_is_pulled_to_it():
    logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    for label, sign in ((0, -1), (1, 1)):
        loss = MMCE()
        term = loss.formula(loss.prepare(logits, torch.tensor([label])))["mmce"]
        (gradient,) = torch.autograd.grad(term, logits)
        p = 1 / (1 + math.exp(-1))
        assert float(gradient[0, 0]) == pytest.approx(sign * 2 * abs((label == 0) - p) * p * (1 - p))


def test_nan_in_an_ignored_row_does_not_reach_the_others():
    logits = torch.tensor([[1.0, 0.0], [float("nan"), 0.0], [0.0, 2.0]])
    for loss in (MMCE(), WeightedMMCE()):
        value = loss(logits, torch.tensor([0, -100, 0]))
        assert float(value) == pytest.approx(float(loss(logits[[0, 2]], torch.tensor([0, 0]))))


@pytest.mark.parametrize("bandwidth", [0.0, -0.4, 1e-4, float("nan")])
def test_bandwidth_must_leave_the_exponential_in_range(bandwidth):
    with pytest.raises(InputError, match="bandwidth"):
        MMCE(bandwidth=bandwidth)


def test_normalization_is_one_of_two():
    with pytest.raises(InputError, match="'single' or 'reference'"):
        WeightedMMCE(normalization="double")
