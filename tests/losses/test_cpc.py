"""CPC against loops over pairs of classes, its tiles, and its special cases."""

import math

import pytest
import torch

from calibrant.losses import CPC, cpc
from calibrant.losses.cpc import pair_spread


def log_sigmoid(x):
    return -math.log1p(math.exp(-x)) if x > 0 else x - math.log1p(math.exp(x))


def all_pairs(row):
    return -sum(log_sigmoid(a - b) for j, a in enumerate(row) for k, b in enumerate(row) if j != k)


@pytest.mark.parametrize("classes", [1, 2, 3, 31, 32, 33, 70])
def test_spread_is_the_loop_over_pairs_whatever_the_tiles(classes):
    torch.manual_seed(0)
    values = 4 * torch.randn(3, classes, 2, dtype=torch.float64)
    expected = [[all_pairs(values[n, :, s].tolist()) for s in range(2)] for n in range(3)]
    torch.testing.assert_close(
        pair_spread(values), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=1e-12
    )


@pytest.mark.parametrize("shape", [(5, 40), (2, 6, 3, 4), (3, 35, 5)])
def test_blocks_of_rows_change_nothing(shape, monkeypatch):
    torch.manual_seed(0)
    values = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    whole = pair_spread(values)
    (gradient,) = torch.autograd.grad(whole.log().sum(), values)
    monkeypatch.setattr(cpc, "_BLOCK", {"cpu": 2000})
    pieces = pair_spread(values)
    torch.testing.assert_close(pieces, whole, rtol=1e-13, atol=0)
    torch.testing.assert_close(
        torch.autograd.grad(pieces.log().sum(), values)[0], gradient, rtol=1e-13, atol=1e-13
    )


def test_slope_is_exact_for_distant_and_equal_values():
    values = torch.tensor([[0.0, 0.0, 500.0, -500.0, 1e-9]], dtype=torch.float64, requires_grad=True)
    value = pair_spread(values)
    (gradient,) = torch.autograd.grad(value.sum(), values)
    tanh = ((values.unsqueeze(2) - values.unsqueeze(1)) / 2).detach().tanh().sum(2)
    torch.testing.assert_close(gradient, tanh, rtol=1e-12, atol=1e-15)
    assert float(value.detach()) == pytest.approx(all_pairs(values[0].tolist()), rel=1e-12)


def test_spread_passes_gradcheck_and_refuses_a_second_derivative():
    torch.manual_seed(0)
    values = torch.randn(2, 5, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pair_spread, (values,))
    (gradient,) = torch.autograd.grad(pair_spread(values).sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="once, not twice"):
        gradient.sum().backward()


def test_operator_is_registered_as_torch_demands():
    values = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    # Not its last check, which differentiates the slope too.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.calibrant.pair_spread, (values,), test_utils=checks)


@pytest.mark.parametrize("label", [0, 2, 4])
def test_terms_are_the_loops_over_the_other_classes(label):
    torch.manual_seed(1)
    logits = 2 * torch.randn(1, 5, dtype=torch.float64)
    loss = CPC(discrimination=0.7, exclusion=0.4)
    value = loss(logits, torch.tensor([label]))
    row = logits[0].tolist()
    others = row[:label] + row[label + 1 :]
    bdc = -sum(log_sigmoid(row[label] - z) for z in others) / 4
    bec = all_pairs(others) / (2 * 4 * 3)
    assert float(loss.terms["bdc"]) == pytest.approx(bdc, rel=1e-12)
    assert float(loss.terms["bec"]) == pytest.approx(bec, rel=1e-12)
    assert float(value) == pytest.approx(float(loss.terms["ce"]) + 0.7 * bdc + 0.4 * bec, rel=1e-12)


def test_two_classes_have_nothing_to_exclude():
    logits = torch.tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True)
    for self_pairs in (False, True):
        loss = CPC(self_pairs=self_pairs)
        loss(logits, torch.tensor([0, 0])).backward()
        assert float(loss.terms["bec"]) == 0
        assert logits.grad.isfinite().all()


def test_self_pairs_add_a_constant_and_no_gradient():
    torch.manual_seed(0)
    logits = torch.randn(4, 6, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 5, 2, 2])
    plain, counted = CPC()(logits, target), CPC(self_pairs=True)(logits, target)
    assert float((counted - plain).detach()) == pytest.approx(0.5 * math.log(2) / 4, rel=1e-12)
    for a, b in zip(torch.autograd.grad(plain, logits), torch.autograd.grad(counted, logits), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-17)


def test_exclusion_pulls_the_other_logits_together():
    logits = torch.tensor([[5.0, 2.0, 0.0, 0.0]], requires_grad=True)
    (gradient,) = torch.autograd.grad(
        CPC(discrimination=0.0)(logits, torch.tensor([0])) - CPC(0.0, 0.0)(logits, torch.tensor([0])), logits
    )
    assert gradient[0, 1] > 0 > gradient[0, 2]
    assert gradient[0, 0] == 0
