"""MDCA and DCA against loops over classes and samples, and their special cases."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import DCA, MDCA, CrossEntropy, FocalLoss, LabelSmoothing


def batch(rows=12, classes=6):
    torch.manual_seed(0)
    return 2 * torch.randn(rows, classes, dtype=torch.float64), torch.randint(0, classes, (rows,))


def term(loss, name, logits, target):
    loss(logits, target)
    return float(loss.terms[name])


def test_mdca_is_the_loop_over_classes_with_ignored_rows_left_out():
    logits, target = batch()
    target[3] = target[7] = -100
    kept = [i for i in range(12) if target[i] >= 0]
    p = logits.softmax(1)
    total = 0.0
    for k in range(6):
        confidence = sum(float(p[i, k]) for i in kept) / len(kept)
        share = sum(int(target[i]) == k for i in kept) / len(kept)
        total += abs(confidence - share)
    assert term(MDCA(), "mdca", logits, target) == pytest.approx(total / 6, rel=1e-12)


def test_dca_is_the_loop_over_samples_with_ignored_rows_left_out():
    logits, target = batch()
    target[0] = -100
    p = logits.softmax(1)
    gap = sum(float(p[i].max()) - (int(p[i].argmax()) == int(target[i])) for i in range(1, 12))
    assert term(DCA(), "dca", logits, target) == pytest.approx(abs(gap) / 11, rel=1e-12)


def test_mdca_cannot_see_errors_that_cancel():
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]], dtype=torch.float64)
    assert term(MDCA(), "mdca", logits, torch.tensor([1, 0])) == pytest.approx(0.0, abs=1e-15)


def test_a_class_that_the_batch_lacks_counts():
    logits = torch.zeros(2, 4, dtype=torch.float64)
    assert term(MDCA(), "mdca", logits, torch.tensor([0, 1])) == pytest.approx(0.25)


def test_mdca_of_soft_targets_compares_with_their_mean():
    logits = torch.zeros(2, 2, dtype=torch.float64)
    soft = torch.tensor([[0.9, 0.1], [0.5, 0.5]], dtype=torch.float64)
    assert term(MDCA(), "mdca", logits, soft) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("base", "options", "alone"),
    [
        ("ce", {}, CrossEntropy()),
        ("focal", {"gamma": 2.0}, FocalLoss(2.0)),
        ("ls", {"alpha": 0.2}, LabelSmoothing(0.2, over="others")),
        ("ls", {"alpha": 0.2, "over": "all"}, LabelSmoothing(0.2)),
    ],
)
def test_base_is_the_loss_of_that_name(base, options, alone):
    logits, target = batch()
    weight = [1.0, 2.0, 0.5, 1.0, 3.0, 1.0]
    loss = MDCA(beta=2.5, base=base, weight=weight, **options)
    alone.weight = loss.weight
    value = loss(logits, target)
    torch.testing.assert_close(value, alone(logits, target) + 2.5 * loss.terms["mdca"])


def test_dca_raises_the_confidence_where_accuracy_exceeds_it():
    for label, sign in ((0, -1.0), (1, 1.0)):
        logits = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
        loss = DCA(alpha=0.0, beta=1.0)
        (gradient,) = torch.autograd.grad(loss(logits, torch.tensor([label])), logits)
        p = float(logits.softmax(1)[0, 0].detach())
        torch.testing.assert_close(gradient, sign * p * (1 - p) * torch.tensor([[1.0, -1.0]]).double())


def test_alpha_weighs_the_cross_entropy():
    logits, target = batch()
    expected = 0.3 * CrossEntropy()(logits, target) + 2 * term(DCA(), "dca", logits, target)
    torch.testing.assert_close(DCA(alpha=0.3, beta=2.0)(logits, target), expected)


def test_unknown_base_is_refused():
    with pytest.raises(InputError, match="'focal', 'ce' or 'ls'"):
        MDCA(base="nll")
