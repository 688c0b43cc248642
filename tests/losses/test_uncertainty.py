"""AvUC, S-AvUC and the soft-binned ECE against loops over samples, and where the published code breaks."""

import math

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import AvU, SoftAvU, SoftBinnedECE


def batch(rows=40, classes=4):
    torch.manual_seed(0)
    logits = 2 * torch.randn(rows, classes, dtype=torch.float64)
    target = logits.argmax(1)
    target[::3] = torch.randint(0, classes, (len(target[::3]),))
    target[5] = -100
    return logits, target


def samples(logits, target, mixed):
    """Confidence, whether right, and entropy of each sample that counts."""
    for z, y in zip(logits, target.tolist(), strict=True):
        if y >= 0:
            p = z.softmax(0)
            q = (1 - mixed) * p + mixed / len(p)
            yield float(p.max()), int(p.argmax()) == y, -sum(float(v) * math.log(v) for v in q)


def term(loss, logits, target):
    loss(logits, target)
    return float(next(value for name, value in loss.terms.items() if name != "ce"))


@pytest.mark.parametrize("threshold", [None, 0.8])
@pytest.mark.parametrize("variant", ["intel", "google"])
def test_avu_is_the_loop_over_the_four_counts(variant, threshold):
    logits, target = batch()
    count = {(right, certain): 0.0 for right in (True, False) for certain in (True, False)}
    for r, right, u in samples(logits, target, 0.0 if variant == "intel" else 1e-5):
        certain = u < (0.8 if threshold else math.log(4) / 2)
        count[right, certain] += (r if right else 1 - r) * (1 - math.tanh(u) if certain else math.tanh(u))
    assert all(value > 0 for value in count.values())
    good = count[True, True] + count[False, False]
    bad = count[True, False] + count[False, True]
    expected = -math.log(good / (good + bad)) if variant == "intel" else math.log(1 + bad / good)
    assert term(AvU(threshold=threshold, variant=variant), logits, target) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize(("threshold", "temperature"), [(0.5, 1.0), (0.2, 0.1)])
def test_soft_avu_is_the_loop_over_samples(threshold, temperature):
    logits, target = batch()
    good = bad = 0.0
    for _, right, u in samples(logits, target, 1e-5):
        h = u / math.log(4)
        odds = (h * (1 - threshold) / ((1 - h) * threshold)) ** (1 / temperature)
        q = odds / (1 + odds)
        certain, uncertain = (1 - q) * (1 - math.tanh(u)), q * math.tanh(u)
        good += certain if right else uncertain
        bad += uncertain if right else certain
    loss = SoftAvU(threshold=threshold, temperature=temperature)
    assert term(loss, logits, target) == pytest.approx(math.log(1 + bad / good), rel=1e-10)


@pytest.mark.parametrize("label_binned", [False, True])
def test_soft_binned_ece_is_the_loop_over_bins(label_binned):
    logits, target = batch()
    rows = list(samples(logits, target, 0.0))
    low, bins, temperature = (0.25 if label_binned else 0.0), 7, 0.02
    anchors = [low + (1 - low) * (b + 0.5) / bins for b in range(bins)]
    shares = []
    for r, _, _ in rows:
        raw = [math.exp(-((r - a) ** 2) / temperature) for a in anchors]
        shares.append([v / sum(raw) for v in raw])
    if label_binned:
        shares = [[(1 - 1e-5) * v + 1e-5 / bins for v in row] for row in shares]
    total = 0.0
    for b in range(bins):
        mass = sum(row[b] for row in shares)
        conf = sum(row[b] * r for row, (r, _, _) in zip(shares, rows, strict=True)) / mass
        acc = sum(row[b] * right for row, (_, right, _) in zip(shares, rows, strict=True)) / mass
        if label_binned:
            total += sum(row[b] * (acc - r) ** 2 for row, (r, _, _) in zip(shares, rows, strict=True))
        else:
            total += mass * (conf - acc) ** 2
    expected = total / len(rows) if label_binned else math.sqrt(total / len(rows) + 1e-10)
    loss = SoftBinnedECE(bins=bins, temperature=temperature, label_binned=label_binned)
    assert term(loss, logits, target) == pytest.approx(expected, rel=1e-10)


def test_a_cold_soft_binned_ece_is_the_root_mean_square_ece():
    logits, target = batch(200)
    rows = list(samples(logits, target, 0.0))
    squared = 0.0
    for b in range(15):
        inside = [(r, right) for r, right, _ in rows if b / 15 < r <= (b + 1) / 15]
        if inside:
            squared += len(inside) / len(rows) * (sum(r - right for r, right in inside) / len(inside)) ** 2
    assert term(SoftBinnedECE(temperature=1e-7), logits, target) == pytest.approx(math.sqrt(squared), rel=1e-6)


def test_decay_is_the_ratio_of_membership_between_neighbouring_bins():
    loss = SoftBinnedECE(bins=10, decay=2.5)
    assert math.exp(-(0.1**2) / loss.temperature) == pytest.approx(1 / 2.5)


@pytest.mark.parametrize("decay", [0.9, 1.0, -1.0])
def test_a_decay_that_would_invert_the_binning_is_refused(decay):
    with pytest.raises(InputError, match="above 1"):
        SoftBinnedECE(decay=decay)


@pytest.mark.parametrize("loss", [AvU(), AvU(variant="google"), SoftAvU(), SoftBinnedECE()])
@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("scale", [0.0, 1.0, 1e4], ids=["uniform", "ordinary", "saturated"])
def test_uniform_and_saturated_predictions_have_finite_gradients(loss, label, scale):
    logits = scale * torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    logits.requires_grad_()
    value = loss(logits, torch.tensor([label, label]))
    assert value.isfinite()
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


def test_detached_confidence_keeps_the_value_and_leaves_the_gradient_to_the_entropy():
    logits, target = batch()
    logits.requires_grad_()
    gradients = []
    for detach in (False, True):
        loss = AvU(variant="google", detach_confidence=detach)
        value = loss.formula(loss.prepare(logits, target))["avu"]
        gradients.append((float(value.detach()), torch.autograd.grad(value, logits)[0]))
    assert gradients[0][0] == gradients[1][0]
    assert (gradients[0][1] - gradients[1][1]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AvU(variant="amd"), "'intel' or 'google'"),
        (lambda: AvU(threshold=0.0), "nats"),
        (lambda: SoftAvU(threshold=1.0), "between 0 and 1"),
        (lambda: SoftAvU(temperature=0.0), "temperature"),
        (lambda: SoftBinnedECE(temperature=-1.0), "temperature"),
        (lambda: SoftBinnedECE(bins=0), "bins"),
    ],
)
def test_settings_out_of_range_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
