"""The promises that the design makes about metrics, each a test by its name."""

import itertools
import math

import numpy as np
import pytest
import torch
import torchmetrics.functional.classification as tm
from hypothesis import given, settings
from hypothesis import strategies as st
from netcal.metrics import ECE as NetcalECE

from calibrant.errors import InputError
from calibrant.losses import MarginLoss
from calibrant.metrics import ECE, State, evaluate
from calibrant.metrics import functional as F
from calibrant.metrics.binning import CONVENTIONS, bin_index, convention
from calibrant.posthoc import TemperatureScaling
from tests.metrics.data import measure_share, on_edges, sample
from tests.together import in_two


def test_1_one_binning_rule_on_every_type():
    rule = convention("calibrant")
    for bins in (1, 2, 3, 7, 10, 15, 16, 25, 100):
        edges = [k / bins for k in range(bins + 1)]
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            near = torch.tensor(edges, dtype=dtype)
            values = torch.cat(
                [near, near.nextafter(near.new_tensor(2.0)), near.nextafter(near.new_tensor(-1.0))]
            )
            values = values.clamp(0, 1)
            wide = values.double().tolist()
            exact = [max(sum(p > e for e in edges[:-1]) - 1, 0) for p in wide]
            assert bin_index(values, bins, rule).tolist() == exact


def test_1_one_binning_rule_zero_and_one():
    assert bin_index(torch.tensor([0.0, 1.0, -1e-7, 1 + 1e-6]), 15, convention("calibrant")).tolist() == [
        0,
        14,
        0,
        14,
    ]


@pytest.mark.parametrize("edges", [False, True])
def test_1_conventions_reproduce_torchmetrics_and_netcal(edges):
    probs, target = on_edges() if edges else sample(2000)
    for bins in (10, 15, 16):
        theirs = tm.multiclass_calibration_error(probs, target, probs.shape[1], n_bins=bins)
        ours = F.ece(probs, target, inputs="probs", n_bins=bins, convention="torchmetrics")
        assert abs(ours - theirs) < 5e-7  # torchmetrics adds up in float32
        netcal = NetcalECE(bins).measure(probs.numpy(), target.numpy())
        ours = F.ece(probs, target, inputs="probs", n_bins=bins, convention="netcal")
        assert abs(float(ours) - netcal) < 1e-12


def test_1_the_sides_tell_conventions_apart():
    probs, target = on_edges()
    ours, netcal, mapie = (
        float(F.ece(probs, target, inputs="probs", n_bins=n, convention=c))
        for n, c in ((16, "calibrant"), (16, "netcal"), (17, "mapie"))
    )
    assert ours == mapie
    assert netcal > 0.2 + ours


def test_1_convention_reproduces_mapie_by_its_rule():
    # MAPIE is not among the test requirements; its rule: numpy.digitize(score, linspace(0, 1, n), right=True).
    probs, target = sample(3000)
    confidence, predicted = probs.max(1)
    index = np.digitize(confidence.numpy(), np.linspace(0, 1, 15), right=True)
    right = (predicted == target).numpy()
    gaps = [
        (index == b).mean() * abs(confidence.numpy()[index == b].mean() - right[index == b].mean())
        for b in np.unique(index)
    ]
    ours = F.ece(probs, target, inputs="probs", n_bins=15, convention="mapie")
    assert abs(float(ours) - sum(gaps)) < 1e-12
    assert abs(float(ours) - float(F.ece(probs, target, inputs="probs", n_bins=14))) < 1e-12


def test_2_nothing_is_guessed():
    probs, target = sample(50)
    small = probs / 10  # would pass for probabilities by their range
    with pytest.raises(TypeError, match="inputs"):
        F.ece(probs, target)
    with pytest.raises(InputError, match=r"row 0 sum to 0\.1, not 1"):
        F.ece(small, target, inputs="probs")
    assert F.ece(small, target, inputs="logits") == F.ece(small.softmax(1), target, inputs="probs")


@pytest.mark.parametrize("bad", [math.nan, 1.001, -0.001])
def test_2_values_out_of_range_name_the_first_index(bad):
    probs, target = sample(50)
    probs[7, 3] = bad
    with pytest.raises(InputError, match=r"\(7, 3\)"):
        evaluate(probs, target, inputs="probs")
    maps = probs.reshape(5, 10, 10).movedim(2, 1).contiguous()
    with pytest.raises(InputError, match=r"\(0, 3, 7\)"):
        F.classwise_ece(maps, target.reshape(5, 10), inputs="probs")


def test_2_rounding_is_clamped():
    probs = torch.tensor([[1 + 1e-6, -1e-6], [0.3, 0.7]], dtype=torch.float64)
    target = torch.tensor([0, 0])
    assert abs(float(F.ece(probs, target, inputs="probs")) - 0.35) < 1e-12
    assert abs(float(F.classwise_ece(probs, target, inputs="probs")) - 0.35) < 1e-6


def test_3_ignore_index_takes_one_or_several_labels():
    probs, target = sample(90)
    kept = F.ece(probs[30:], target[30:], inputs="probs")
    target[:15] = 255
    assert F.ece(probs[15:], target[15:], inputs="probs") == F.ece(
        probs, target, inputs="probs", ignore_index=255
    )
    target[15:30] = -1
    assert F.ece(probs, target, inputs="probs", ignore_index=[255, -1]) == kept
    with pytest.raises(InputError, match=r"Label -1 at position \(15,\)"):
        F.ece(probs, target, inputs="probs", ignore_index=255)


def test_3_an_ignored_batch_counts_nothing():
    probs, target = sample(60)
    metric = ECE(inputs="probs", ignore_index=255)
    metric.update(probs, target)
    before = metric.compute()
    metric.update(probs, torch.full_like(target, 255))
    assert metric.compute() == before
    logits = torch.randn(4, 3, requires_grad=True)
    loss = MarginLoss(ignore_index=255)(logits, torch.full((4,), 255))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert not gradient.any()


def test_4_counts_and_sums_are_exact_at_2_to_the_25():
    state = State({"top"}, 2)
    part = State({"top"}, 2)
    for confidence, correct in ((0.75, True), (0.5, False)):
        part.add_pairs(torch.full((2**20,), confidence), torch.full((2**20,), correct))
    for _ in range(16):
        state.merge(part)
    state.add_pairs(torch.tensor([0.75]), torch.tensor([True]))
    bins = state.bins()
    assert bins.count.dtype == torch.int64
    assert int(bins.count.sum()) == 2**25 + 1
    assert float(bins.confidence.sum()) == 2**24 * 1.25 + 0.75
    assert int(bins.correct.sum()) == 2**24 + 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_4_half_precision_counts_are_exact(dtype):
    probs, target = sample(100_000, classes=2, dtype=torch.float32)
    half = probs.to(dtype)
    state = State({"top"}, 2)
    state.update(half, target, inputs="probs")
    assert int(state.bins().count.sum()) == 100_000
    assert F.ece(half, target, inputs="probs") == F.ece(half.float(), target, inputs="probs")


def test_5_pooled_by_default_and_averages_by_name():
    probs, target = sample(6 * 40)
    maps, labels = probs.reshape(6, 40, 10).movedim(2, 1), target.reshape(6, 40)
    pooled = F.ece(maps, labels, inputs="probs")
    assert torch.isclose(pooled, F.ece(probs, target, inputs="probs"), atol=1e-12)
    each = torch.stack([F.ece(m[None], t[None], inputs="probs") for m, t in zip(maps, labels, strict=True)])
    assert torch.isclose(F.ece(maps, labels, inputs="probs", average="image"), each.mean(), atol=1e-12)
    assert each.mean() > pooled
    labels[0, 10:] = 255
    count = torch.tensor([10, 40, 40, 40, 40, 40], dtype=torch.float64)
    settings = {"inputs": "probs", "ignore_index": 255}
    each = torch.stack([F.ece(m[None], t[None], **settings) for m, t in zip(maps, labels, strict=True)])
    weighted = F.ece(maps, labels, average="image_weighted", **settings)
    assert torch.isclose(weighted, (each * count).sum() / count.sum(), atol=1e-12)
    by_batch = ECE(average="batch", **settings)
    for m, t in zip(maps.split(2), labels.split(2), strict=True):
        by_batch.update(m, t)
    each = [F.ece(m, t, **settings) for m, t in zip(maps.split(2), labels.split(2), strict=True)]
    assert torch.isclose(by_batch.compute(), torch.stack(each).mean(), atol=1e-12)


def test_6_equal_mass_binning_ignores_the_order():
    # Four confidences, each perfectly calibrated; correct rows first is what splits ties elsewhere.
    confidence = torch.tensor([0.3, 0.5, 0.7, 0.9], dtype=torch.float64).repeat_interleave(100)
    correct = torch.cat([torch.arange(100) < 100 * c for c in (0.3, 0.5, 0.7, 0.9)])
    for order in (torch.arange(400), torch.arange(400).flip(0), correct.long().argsort()):
        state = State({"samples"}, 10)
        state.add_pairs(confidence[order], correct[order])
        assert float(AECE_of(state)) < 1e-12


def AECE_of(state):
    from calibrant.metrics.definitions import DEFINITIONS

    return DEFINITIONS["aece"].view(state)


def test_7_the_task_is_named():
    probs, target = sample(500, classes=2)
    top, event = (F.ece(probs, target, inputs="probs", task=task) for task in ("top_label", "event"))
    one = probs[:, 1]
    by_hand = F.ece(torch.stack([1 - one, one], 1), target, inputs="probs", task="event")
    assert abs(event - by_hand) < 1e-12
    assert abs(top - event) > 1e-4
    one_channel = F.ece(one.unsqueeze(1), target, inputs="probs", task="event")
    assert abs(one_channel - event) < 1e-12
    with pytest.raises(InputError, match="two classes, not 3"):
        F.ece(torch.eye(3), torch.arange(3), inputs="probs", task="event")


@pytest.mark.parametrize("name", ["ece", "aece", "classwise_ece", "brier", "smooth_ece", "debiased_ece"])
def test_7_the_number_of_distinct_labels_changes_nothing(name):
    probs, target = sample(300)
    only_two = target % 2
    padded = torch.cat([probs, torch.zeros(300, 1, dtype=torch.float64)], 1)
    ours = getattr(F, name)(probs, only_two, inputs="probs")
    same = getattr(F, name)(padded, only_two, inputs="probs")
    scale = 10 / 11 if name == "classwise_ece" else 1.0
    assert torch.isclose(same, scale * ours, atol=1e-12)


def test_8_a_fitted_temperature_is_positive():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 5, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    for scale in (0.025, 1.0, 25.0):
        found = TemperatureScaling().fit(scale * logits, target)
        assert float(found.temperature_) > 0
        assert found.converged_


@settings(max_examples=25)
@given(seed=st.integers(0, 10_000), cuts=st.lists(st.integers(0, 120), max_size=5))
def test_9_batches_order_and_processes_change_nothing(seed, cuts):
    probs, target = sample(120, classes=4, seed=seed)
    probs = probs.round(decimals=2)
    probs[:, 0] += 1 - probs.sum(1)
    probs = probs.clamp(min=0)
    parts = ("top", "class", "labels", "hits", "samples", "nll", "brier", "ranks", "class_samples")
    whole = State(parts, 4)
    whole.update(probs, target, inputs="probs")
    order = torch.randperm(120, generator=torch.Generator().manual_seed(seed))
    merged = State(parts, 4)
    for low, high in itertools.pairwise([0, *sorted(cuts), 120]):
        rows = order[low:high]
        process = State(parts, 4)
        process.update(probs[rows], target[rows], inputs="probs")
        merged.merge(process)
    for name, tensor in whole.sums.items():
        if tensor.dtype == torch.int64:
            assert torch.equal(tensor, merged.sums[name]), name
        elif not tensor.isinf().any():
            assert torch.allclose(tensor, merged.sums[name], atol=1e-10), name
    assert torch.isclose(AECE_of(whole), AECE_of(merged), atol=1e-12)


@pytest.mark.parametrize("sizes", [(40, 40), (70, 10), (90, 30), (20, 100)])
def test_9_exact_or_histogram_depends_on_the_total_alone(sizes):
    probs, target = sample(sum(sizes))
    whole = State({"samples"}, 10, exact_limit=100)
    whole.update(probs, target, inputs="probs")
    merged = State({"samples"}, 10, exact_limit=100)
    for p, t in zip(probs.split(sizes), target.split(sizes), strict=True):
        process = State({"samples"}, 10, exact_limit=100)
        process.update(p, t, inputs="probs")
        merged.merge(process)
    assert whole.cells().exact == merged.cells().exact == (sum(sizes) <= 100)
    assert torch.isclose(AECE_of(whole), AECE_of(merged), atol=1e-12)


def test_9_two_processes_are_one():
    found = in_two(measure_share, (150, 50))
    probs, target = sample(200)
    state = State({"samples"}, 10, exact_limit=100)
    state.update(probs, target, inputs="probs")
    alone = [F.ece, F.classwise_ece, F.aece]
    expected = [f(probs, target, inputs="probs") for f in alone] + [AECE_of(state)]
    for share in found:
        assert torch.allclose(share, torch.stack(expected), atol=1e-12)


@pytest.mark.parametrize("shape", [(300,), (3, 10, 10)])
@pytest.mark.parametrize("inputs", ["logits", "probs"])
def test_10_ties_go_where_argmax_sends_them(shape, inputs):
    generator = torch.Generator().manual_seed(1)
    values = torch.randint(0, 3, (shape[0], 4, *shape[1:]), generator=generator).double()
    values = values if inputs == "logits" else values.softmax(1)
    target = torch.randint(0, 4, shape, generator=generator)
    right = (values.argmax(1) == target).double().mean()
    assert torch.isclose(F.accuracy(values, target, inputs=inputs), right, atol=1e-12)
    state = State({"top", "hits"}, 4)
    state.update(values, target, inputs=inputs)
    assert int(state.bins().correct.sum()) == round(float(right) * 300)
    assert int(state.sums["label_correct"].sum()) == round(float(right) * 300)


def test_10_two_tied_logits_that_softmax_cannot_tell_apart():
    # The second logit is larger by one unit in the last place, which float32 softmax loses.
    low = torch.tensor(20.0)
    logits = torch.stack([low, low.nextafter(torch.tensor(30.0))]).unsqueeze(0)
    assert logits.argmax(1).item() == 1
    assert float(F.accuracy(logits, torch.tensor([1]), inputs="logits")) == 1.0
    state = State({"top"}, 2)
    state.update(logits, torch.tensor([0]), inputs="logits")
    assert int(state.bins().correct.sum()) == 0


def test_every_convention_has_a_name_that_it_is_found_by():
    for name, rule in CONVENTIONS.items():
        assert convention(name) is rule
        assert rule.name == name
