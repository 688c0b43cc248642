"""RankMixup against loops over samples and mixtures; the battery, with mixtures supplied."""

import math
from functools import partial

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import CrossEntropy, RankMixup, list_losses
from calibrant.testing.loss_checks import check_compiled, check_loss


class Supplied(RankMixup):
    """RankMixup with two mixtures of each sample made from its logits, as the battery passes none."""

    def forward(self, logits, target, *, index=None):
        mixed = -0.5 * logits.repeat(2, *[1] * (logits.dim() - 1))
        soft = torch.zeros_like(mixed)
        soft[:, 0], soft[:, 1] = 0.625, 0.375
        return super().forward(logits, target, index=index, mixed_logits=mixed, mixed_target=soft)


def batch(rows=6, mixtures=3, classes=5):
    torch.manual_seed(0)
    logits = 2 * torch.randn(rows, classes, dtype=torch.float64)
    mixed = 2 * torch.randn(mixtures * rows, classes, dtype=torch.float64)
    soft = torch.zeros_like(mixed)
    for i in range(len(soft)):
        share = 1.0 if i % 5 == 0 else 0.5 + 0.5 * float(torch.rand(()))
        soft[i, i % classes], soft[i, (i + 1) % classes] = share, 1 - share
    return logits, torch.randint(0, classes, (rows,)), mixed, soft


@pytest.mark.parametrize("ranking", ["margin", "ndcg"])
def test_passes_the_battery(ranking):
    check_loss(partial(Supplied, ranking))


@pytest.mark.parametrize("ranking", ["margin", "ndcg"])
def test_compiles(ranking):
    check_compiled(partial(Supplied, ranking))


def test_margin_ranking_is_the_loop_over_pairs():
    logits, target, mixed, soft = batch()
    target[2] = -100
    total = 0.0
    for n in (0, 1, 3, 4, 5):
        for m in range(3):
            i = m * 6 + n
            if float(soft[i].max()) < 1:
                total += max(0.0, float(mixed[i].max() - logits[n].max()) + 2.0) / 3
    loss = RankMixup(alpha=0.3)
    value = loss(logits, target, mixed_logits=mixed, mixed_target=soft)
    assert float(loss.terms["mixup"]) == pytest.approx(total / 5, rel=1e-12)
    torch.testing.assert_close(value, CrossEntropy()(logits, target) + 0.3 * loss.terms["mixup"])


def test_ndcg_is_the_loop_over_sorted_mixtures():
    logits, target, mixed, soft = batch()
    total = 0.0
    for n in range(6):
        ranked = sorted(((float(soft[m * 6 + n].max()), m) for m in range(3)), key=lambda pair: -pair[0])
        confidences = [logits[n], *(mixed[m * 6 + n] for _, m in ranked)]
        dcg = sum(float(z.softmax(0).max()) / math.log2(i + 2) for i, z in enumerate(confidences))
        ideal = sum(rel / math.log2(i + 2) for i, rel in enumerate([1.0, *(share for share, _ in ranked)]))
        total += 1 - min(dcg / ideal, ideal / dcg)
    loss = RankMixup("ndcg")
    loss(logits, target, mixed_logits=mixed, mixed_target=soft)
    assert float(loss.terms["mixup"]) == pytest.approx(total / 6, rel=1e-12)


def test_reference_pairs_multiply_the_two_means():
    logits, target, mixed, soft = batch(mixtures=1)
    hinge = (mixed.max(1).values - logits.max(1).values + 2).relu()
    two = (soft.max(1).values < 1).double()
    loss = RankMixup(pairs="reference")
    loss(logits, target, mixed_logits=mixed, mixed_target=soft)
    assert float(loss.terms["mixup"]) == pytest.approx(float((two.unsqueeze(0) * hinge.unsqueeze(1)).mean()))
    assert float(loss.terms["mixup"]) != pytest.approx(float((two * hinge).mean()))


def test_a_mixture_of_one_class_is_not_ranked_whatever_its_weights_round_to():
    logits, mixed = torch.tensor([[0.0, 0.0]]), torch.tensor([[9.0, 0.0]])
    soft = torch.tensor([[1.0 - 2**-24, 0.0]])
    loss = RankMixup()
    loss(logits, torch.tensor([0]), mixed_logits=mixed, mixed_target=soft)
    assert float(loss.terms["mixup"]) == 0


def test_the_mixtures_get_gradient_too():
    logits, target, mixed, soft = batch()
    mixed.requires_grad_()
    for ranking in ("margin", "ndcg"):
        value = RankMixup(ranking)(logits, target, mixed_logits=mixed, mixed_target=soft)
        assert torch.autograd.grad(value, mixed)[0].any()


def test_without_mixtures_it_trains_nothing_and_evaluates_cross_entropy():
    logits, target, *_ = batch()
    loss = RankMixup()
    with pytest.raises(InputError, match="mixed_logits and mixed_target"):
        loss(logits, target)
    torch.testing.assert_close(loss.eval()(logits, target), CrossEntropy()(logits, target))
    assert "rank_mixup" not in list_losses()


def test_mixtures_that_fit_no_samples_are_refused():
    logits, target, mixed, soft = batch()
    loss = RankMixup()
    for wrong, its_target in ((mixed[:-1], soft[:-1]), (mixed[:, :-1], soft[:, :-1]), (mixed[:0], soft[:0])):
        with pytest.raises(InputError, match="mixtures of each sample"):
            loss(logits, target, mixed_logits=wrong, mixed_target=its_target)
    with pytest.raises(InputError, match="probabilities of the shape"):
        loss(logits, target, mixed_logits=mixed, mixed_target=soft.argmax(1))


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="'margin' or 'ndcg'"):
        RankMixup("mrl")
    with pytest.raises(InputError, match="'own' or 'reference'"):
        RankMixup(pairs="all")
