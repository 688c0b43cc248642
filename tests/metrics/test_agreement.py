"""Agreement with other libraries and with slow formulas where the definitions coincide."""

import itertools

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from netcal.metrics import ACE as NetcalACE
from netcal.metrics import MCE as NetcalMCE
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    jaccard_score,
    log_loss,
    roc_auc_score,
    top_k_accuracy_score,
)

from calibrant.errors import InputError
from calibrant.metrics import functional as F
from calibrant.metrics.segmentation import segmentation_scores
from calibrant.metrics.statistics import entropy, logit_statistics, ood_auroc, probability_statistics
from tests.metrics.data import sample

PROBS, TARGET = sample(3000)
TARGET = torch.where(torch.arange(3000) % 5 == 0, 0, TARGET)
P, Y = PROBS.numpy(), TARGET.numpy()
SETTINGS = {"inputs": "probs"}


def test_scikit_learn():
    correct = P.argmax(1) == Y
    assert float(F.accuracy(PROBS, TARGET, **SETTINGS)) == pytest.approx(accuracy_score(Y, P.argmax(1)))
    assert float(F.accuracy(PROBS, TARGET, k=3, **SETTINGS)) == pytest.approx(top_k_accuracy_score(Y, P, k=3))
    assert float(F.macro_accuracy(PROBS, TARGET, **SETTINGS)) == pytest.approx(
        balanced_accuracy_score(Y, P.argmax(1))
    )
    assert float(F.nll(PROBS, TARGET, **SETTINGS)) == pytest.approx(log_loss(Y, P), rel=1e-9)
    assert float(F.auroc(PROBS, TARGET, **SETTINGS)) == pytest.approx(roc_auc_score(correct, P.max(1)))
    halves = sum(brier_score_loss(k == Y, P[:, k]) for k in range(10))
    assert float(F.brier(PROBS, TARGET, **SETTINGS)) == pytest.approx(halves)
    scores = F.segmentation(PROBS, TARGET, include_background=True, **SETTINGS)
    assert float(scores.miou) == pytest.approx(jaccard_score(Y, P.argmax(1), average="macro"))


@pytest.mark.parametrize("n_bins", [10, 15])
def test_torchmetrics_away_from_edges(n_bins):
    for norm, ours in (("l1", F.ece), ("l2", F.rmsce), ("max", F.mce)):
        theirs = tm.multiclass_calibration_error(PROBS, TARGET, 10, n_bins=n_bins, norm=norm)
        assert float(ours(PROBS, TARGET, n_bins=n_bins, **SETTINGS)) == pytest.approx(float(theirs), abs=1e-6)


def test_netcal_away_from_edges():
    assert float(F.mce(PROBS, TARGET, **SETTINGS)) == pytest.approx(NetcalMCE(15).measure(P, Y), abs=1e-12)
    theirs = NetcalACE(15).measure(P, Y)
    assert float(F.average_ce(PROBS, TARGET, **SETTINGS)) == pytest.approx(theirs, abs=1e-12)


def test_class_wise_is_the_mean_of_events():
    each = []
    for k in range(10):
        p = PROBS[:, k : k + 1]
        each.append(F.ece(p, (k == TARGET).long(), task="event", **SETTINGS))
    assert torch.isclose(torch.stack(each).mean(), F.classwise_ece(PROBS, TARGET, **SETTINGS), atol=1e-12)


def test_ace_by_hand():
    each = []
    for k in range(10):
        order = np.argsort(P[:, k], kind="stable")
        parts = [np.ceil(3000 * b / 15).astype(int) for b in range(16)]
        gaps = [
            abs(P[order[a:b], k].mean() - (Y[order[a:b]] == k).mean()) for a, b in itertools.pairwise(parts)
        ]
        each.append(np.mean(gaps))
    assert float(F.ace(PROBS, TARGET, **SETTINGS)) == pytest.approx(np.mean(each), abs=1e-12)
    assert F.tace(PROBS, TARGET, threshold=0.0, **SETTINGS) == F.ace(PROBS, TARGET, **SETTINGS)


def test_ace_from_the_histogram_is_close():
    from calibrant.metrics import ACE

    metric = ACE(num_classes=10, exact_limit=100, **SETTINGS)
    metric.update(PROBS, TARGET)
    assert float(metric.compute()) == pytest.approx(float(F.ace(PROBS, TARGET, **SETTINGS)), abs=5e-3)


def test_debiased_error_by_hand():
    confidence, correct = P.max(1), P.argmax(1) == Y
    index = np.ceil(confidence * 15).astype(int) - 1
    total = 0.0
    for b in np.unique(index):
        inside = index == b
        n, gap, rate = inside.sum(), confidence[inside].mean() - correct[inside].mean(), correct[inside].mean()
        if n > 1:
            total += n / 3000 * (gap**2 - rate * (1 - rate) / (n - 1))
    assert float(F.debiased_ece(PROBS, TARGET, root=False, **SETTINGS)) == pytest.approx(total, abs=1e-12)
    assert float(F.debiased_ece(PROBS, TARGET, **SETTINGS)) == pytest.approx(total**0.5, abs=1e-12)
    with pytest.raises(InputError, match="correction must be"):
        F.debiased_ece(PROBS, TARGET, correction="none", **SETTINGS)


def test_debiased_error_of_a_calibrated_network_is_not_biased():
    plain, debiased = [], []
    for seed in range(200):
        probs, target = sample(300, seed=seed)
        plain.append(float(F.rmsce(probs, target, **SETTINGS)) ** 2)
        debiased.append(float(F.debiased_ece(probs, target, root=False, **SETTINGS)))
    assert np.mean(plain) > 1e-3
    assert abs(np.mean(debiased)) < 3 * np.std(debiased) / 200**0.5


def test_error_splits_into_over_and_under_confidence():
    over, under = (getattr(F, n)(PROBS, TARGET, **SETTINGS) for n in ("overconfidence", "underconfidence"))
    assert torch.isclose(over + under, F.ece(PROBS, TARGET, **SETTINGS), atol=1e-12)
    assert torch.isclose(over - under, F.signed_ce(PROBS, TARGET, **SETTINGS), atol=1e-12)
    assert F.oe(PROBS, TARGET, **SETTINGS) <= over
    assert F.ue(PROBS, TARGET, **SETTINGS) <= under


def test_logits_of_float32_agree_with_log_softmax():
    logits = 8 * torch.randn(2000, 10, generator=torch.Generator().manual_seed(0))
    exact = torch.nn.functional.cross_entropy(logits.double(), TARGET[:2000])
    assert float(F.nll(logits, TARGET[:2000], inputs="logits")) == pytest.approx(float(exact), rel=1e-6)


def test_groups():
    counts = [500, 300, 200, 100, 99, 60, 20, 19, 10, 5]
    recall = [(P[k == Y].argmax(1) == k).mean() for k in range(10)]
    groups = F.group_accuracy(PROBS, TARGET, class_counts=counts, **SETTINGS)
    expected = (np.mean(recall[:3]), np.mean(recall[3:7]), np.mean(recall[7:]))
    assert [float(g) for g in groups] == pytest.approx(expected)
    fixed = F.group_accuracy(PROBS, TARGET, groups="mislas", **SETTINGS)
    assert [float(g) for g in fixed] == pytest.approx(expected)
    turned = F.group_accuracy(PROBS, TARGET, groups="mislas", class_counts=counts[::-1], **SETTINGS)
    assert float(turned.many) == pytest.approx(np.mean(recall[7:]))
    for wrong, message in (
        ({}, "Give class_counts"),
        ({"class_counts": [1, 2]}, r"shape \(2,\)"),
        ({"groups": "thirds"}, "three lists"),
    ):
        with pytest.raises(InputError, match=message):
            F.group_accuracy(PROBS, TARGET, **wrong, **SETTINGS)
    with pytest.raises(InputError, match="fixed for 10, 100"):
        F.group_accuracy(torch.eye(3), torch.arange(3), groups="mislas", **SETTINGS)


def test_segmentation_leaves_out_what_is_said():
    predicted, target = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 1, 1, 2, 9])
    settings = {"num_classes": 5, "ignore_index": 9}
    scores = segmentation_scores(predicted, target, include_background=True, **settings)
    assert float(scores.miou) == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
    assert float(scores.pixel_accuracy) == pytest.approx(3 / 4)
    assert scores.class_iou.isnan().tolist() == [False, False, False, True, True]
    front = segmentation_scores(predicted, target, include_background=False, **settings)
    assert float(front.miou) == pytest.approx(3 / 4)
    zeros = segmentation_scores(predicted, target, include_background=False, missing="zero", **settings)
    assert float(zeros.miou) == pytest.approx(1.5 / 4)
    for wrong, message in (
        ((predicted, target[:3]), "one shape"),
        ((predicted.float(), target), "integer maps"),
        ((predicted + 4, target), r"outside \[0, 5\)"),
        ((predicted, target * 0 + 9), "no samples"),
    ):
        with pytest.raises(InputError, match=message):
            segmentation_scores(*wrong, include_background=True, **settings)
    with pytest.raises(InputError, match="missing must be"):
        segmentation_scores(predicted, target, include_background=True, missing="drop", **settings)


def test_statistics_of_outputs():
    logits = torch.tensor([[4.0, 2.0, 0.0], [1.0, 1.0, 1.0], [9.0, 0.0, 0.0]])
    found = logit_statistics(logits[:2], top=(0.01, 1.0))
    assert [float(x) for x in found[:3]] == [1.5, 2.0, 1.0]
    assert {share: float(value) for share, value in found.max_diff_of_top.items()} == {0.01: 4.0, 1.0: 2.0}
    ignored = logit_statistics(logits, torch.tensor([0, 0, 7]), ignore_index=7)
    assert ignored.margin == found.margin
    uniform = probability_statistics(torch.full((2, 4), 0.25), inputs="probs")
    assert [round(float(x), 6) for x in uniform] == [0.25, 0.0, 0.0]
    assert torch.allclose(entropy(torch.zeros(2, 4, 3), inputs="logits"), torch.ones(2, 3, dtype=torch.float64))
    scores = ood_auroc(PROBS[:50], torch.full((20, 10), 0.1), inputs="probs")
    assert float(scores.entropy) == float(scores.confidence) == 1.0
    for action, message in (
        (lambda: logit_statistics(logits[:, :1]), "two classes"),
        (lambda: logit_statistics(logits, top=(0.0,)), r"\(0, 1\]"),
        (lambda: logit_statistics(logits[:0]), "no samples"),
        (lambda: logit_statistics(torch.tensor([1.0])), r"\(N, C, \*\)"),
        (lambda: probability_statistics(logits, inputs="probs"), "outside"),
    ):
        with pytest.raises(InputError, match=message):
            action()
