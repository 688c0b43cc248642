"""Where other libraries are measurably wrong: the same cases, with the exact values."""

import math

import pytest
import torch
import torchmetrics.functional.classification as tm
from sklearn.metrics import brier_score_loss, log_loss

from calibrant.errors import InputError
from calibrant.metrics import ECE, ClasswiseECE, State, evaluate, reliability
from calibrant.metrics import functional as F
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.ranking import auroc, grouped, ks_error
from tests.metrics.data import sample


def pairs(confidence, correct, n_bins=15, parts=("top", "samples"), rule="calibrant"):
    state = State(parts, 2, n_bins, rule)
    state.add_pairs(torch.as_tensor(confidence, dtype=torch.float64), torch.as_tensor(correct))
    return {name: float(DEFINITIONS[name].view(state)) for name in ("ece", "aece", "mce", "oe", "ue")}


def binary_rows(confidence, correct):
    """Return (N, 3) probabilities with `confidence` at class 0, and labels that make it right or not."""
    probs = torch.stack([confidence, 1 - confidence, torch.zeros_like(confidence)], 1)
    return probs, (~correct).long()


def test_confidence_of_exactly_one():
    # Half at 1.0 with accuracy 0.8, half at 0.95 with accuracy 1: exact 0.075 in one bin, 0.125 in two.
    confidence = torch.tensor([1.0] * 50 + [0.95] * 50)
    correct = torch.tensor([True] * 40 + [False] * 10 + [True] * 50)
    probs, target = binary_rows(confidence, correct)
    for dtype in (torch.float32, torch.float64):
        assert F.ece(probs.to(dtype), target, inputs="probs") == pytest.approx(0.075, abs=1e-7)
    theirs = tm.multiclass_calibration_error(probs, target, 3, n_bins=15)
    assert theirs == pytest.approx(0.125, abs=1e-6)
    ours = F.ece(probs, target, inputs="probs", convention="torchmetrics")
    assert ours == pytest.approx(0.125, abs=1e-6)


@pytest.mark.parametrize("convention", ["calibrant", "netcal", "guo2017"])
def test_confidence_on_an_edge(convention):
    # 0.5 belongs to (0, 0.5]; where it belongs to [0.5, 1) the two gaps of 0.25 cancel.
    confidence = [0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75]
    correct = [True, False, False, False, True, True, True, True]
    found = pairs(confidence, correct, n_bins=2, rule=convention)["ece"]
    assert found == pytest.approx(0.0 if convention == "netcal" else 0.25, abs=1e-12)


def test_edges_do_not_move_with_the_type():
    # Confidences k/16 are exact in every type; 15 bins have edges that float32 cannot hold.
    confidence = torch.arange(8, 17).repeat(20) / 16
    correct = torch.arange(180) % 2 == 0
    values = [
        float(F.ece(*binary_rows(confidence.to(dtype), correct), inputs="probs", n_bins=n))
        for n in (15, 16)
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    ]
    assert len(set(values[:4])) == 1
    assert len(set(values[4:])) == 1


def test_half_precision_binary_counts():
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(100_000, generator=generator).half()
    target = (torch.rand(100_000, generator=generator) < p.float()).long()
    ours = F.ece(p.unsqueeze(1), target, inputs="probs", task="event")
    wide = F.ece(p.double().unsqueeze(1), target, inputs="probs", task="event")
    assert ours == pytest.approx(float(wide), abs=1e-12)
    assert 0.001 < ours < 0.01
    # The same bins in half precision overflow to nothing elsewhere.
    assert tm.binary_calibration_error(p, target, n_bins=15) == 0.0


def test_counts_beyond_2_to_the_24():
    # In float32 a count stops at 2^24; 40 rows on either side of it are lost there.
    part = State({"top"}, 2, n_bins=2)
    part.add_pairs(torch.full((2**22,), 0.75), torch.ones(2**22, dtype=torch.bool))
    whole = State({"top"}, 2, n_bins=2)
    for _ in range(4):
        whole.merge(part)
    whole.add_pairs(torch.full((40,), 0.75), torch.zeros(40, dtype=torch.bool))
    n = 2**24 + 40
    assert int(whole.bins().count[1]) == n
    assert float(DEFINITIONS["ece"].view(whole)) == pytest.approx((2**24 - 0.75 * n) / n, abs=1e-15)


def test_absent_classes():
    probs, target = sample(400)
    target = target % 9  # class 9 never occurs
    every = F.classwise_ece(probs, target, inputs="probs")
    skipped = F.classwise_ece(probs, target, inputs="probs", absent="skip")
    reference = F.classwise_ece(probs, target, inputs="probs", convention="guo2017")
    share = float(probs[:, 9].mean())  # the error of a class that never occurs is its mean probability
    assert float(every * 10 - skipped * 9) == pytest.approx(share, abs=1e-12)
    assert reference == pytest.approx(float(skipped), abs=1e-12)
    # An absent class below the largest label counts in the reference, too.
    middle = torch.where(target == 4, 5, target)
    every = F.classwise_ece(probs, middle, inputs="probs")
    reference = F.classwise_ece(probs, middle, inputs="probs", convention="guo2017")
    assert float(every * 10 - reference * 9) == pytest.approx(share, abs=1e-12)


def test_logits_that_look_like_probabilities():
    generator = torch.Generator().manual_seed(0)
    logits = torch.rand(500, 10, generator=generator, dtype=torch.float64)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    exact = F.ece(logits.softmax(1), target, inputs="probs")
    assert F.ece(logits, target, inputs="logits") == exact
    guessed = tm.multiclass_calibration_error(logits, target, 10, n_bins=15)
    assert guessed > 0.5 + exact
    with pytest.raises(InputError, match="inputs='logits'"):
        F.ece(logits, target, inputs="probs")


def test_a_rounding_error_above_one_does_not_make_logits():
    probs, target = sample(1000)
    probs[3] = 0.0
    probs[3, 2] = 1.0
    exact = F.ece(probs, target, inputs="probs")
    probs[3, 2] = 1 + 1e-6
    assert F.ece(probs, target, inputs="probs") == exact
    by_batch = ECE(inputs="probs")
    for p, t in zip(probs.split(100), target.split(100), strict=True):
        by_batch.update(p, t)
    assert by_batch.compute() == pytest.approx(float(exact), abs=1e-12)
    assert tm.multiclass_calibration_error(probs, target, 10, n_bins=15) > exact + 0.1


def test_nan_is_not_swallowed():
    probs, target = sample(1000)
    probs[17] = math.nan
    with pytest.raises(InputError, match=r"hold nan at position \(17, 0\)"):
        F.ece(probs, target, inputs="probs")
    with pytest.raises(InputError, match=r"\(17, 0\)"):
        ClasswiseECE(inputs="logits", num_classes=10).update(probs, target)


def test_labels_to_ignore():
    probs, target = sample(1000)
    exact = F.ece(probs[300:], target[300:], inputs="probs")
    target[:300] = 255
    with pytest.raises(InputError, match=r"Label 255 at position \(0,\) is outside \[0, 10\)"):
        F.ece(probs, target, inputs="probs")
    for name in ("ece", "aece", "classwise_ece", "brier", "nll", "ks", "smooth_ece", "ace", "tace"):
        kept = getattr(F, name)(probs[300:], target[300:], inputs="probs")
        assert getattr(F, name)(probs, target, inputs="probs", ignore_index=255) == pytest.approx(
            float(kept), abs=1e-12
        ), name
    assert F.ece(probs, target, inputs="probs", ignore_index=255) == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize("name", [n for n in DEFINITIONS if n not in ("group_accuracy", "segmentation")])
def test_maps_of_pixels(name):
    probs, target = sample(2 * 6 * 5, classes=4)
    maps = probs.reshape(2, 6, 5, 4).permute(0, 3, 1, 2)
    ours = getattr(F, name)(maps, target.reshape(2, 6, 5), inputs="probs")
    rows = getattr(F, name)(probs, target, inputs="probs")
    parts = zip(ours, rows, strict=True) if isinstance(ours, tuple) else [(ours, rows)]
    assert all(float(a) == pytest.approx(float(b), abs=1e-12) for a, b in parts)


def test_one_sample():
    found = pairs([0.7], [True])
    assert found["ece"] == pytest.approx(0.3)
    assert found["aece"] == pytest.approx(0.3)
    assert found["mce"] == pytest.approx(0.3)
    result = evaluate(torch.tensor([[0.3, 0.7]]), torch.tensor([1]), inputs="probs")
    assert result["ece"].value == pytest.approx(0.3)
    assert result["smooth_ece"].value == pytest.approx(0.3, abs=1e-4)
    assert result["accuracy"].value == 1.0
    assert math.isnan(result["auroc"].value)


@pytest.mark.parametrize("name", [n for n in DEFINITIONS if n not in ("group_accuracy", "segmentation")])
def test_no_sample(name):
    with pytest.raises(InputError, match="no samples"):
        getattr(F, name)(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), inputs="logits")
    with pytest.raises(InputError, match="no samples"):
        getattr(F, name)(torch.zeros(2, 3), torch.full((2,), 9), inputs="logits", ignore_index=9)


def test_no_sample_at_all():
    for function in (evaluate, reliability):
        with pytest.raises(InputError, match="no samples"):
            function(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), inputs="logits")


def test_equal_mass_bins_of_ties():
    confidence = torch.tensor([0.3, 0.5, 0.7, 0.9], dtype=torch.float64).repeat_interleave(1000)
    correct = torch.cat([torch.arange(1000) < 1000 * c for c in (0.3, 0.5, 0.7, 0.9)])
    # Correct rows first, which gives 0.13 where ties are split by their order.
    assert pairs(confidence, correct)["aece"] == pytest.approx(0.0, abs=1e-12)
    # One more row in front of each tie must not take it apart.
    assert pairs([0.2, *confidence.tolist()], [False, *correct.tolist()])["aece"] < 1e-4


def permuted(seed):
    # The same ten logits in any order: one confidence, but for its last digits.
    logits = torch.tensor(
        [0.55, 0.1, 0.09, 0.08, 0.07, 0.05, 0.03, 0.02, 0.007, 0.003], dtype=torch.float64
    ).log()
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(10, generator=generator) for _ in range(2000)])
    right = torch.rand(2000, generator=torch.Generator().manual_seed(1)) < 0.55
    target = torch.where(right, (order == 0).int().argmax(1), (order == 1).int().argmax(1))
    assert len(logits[order].softmax(1).amax(1).unique()) > 1
    return logits[order], target, right


def test_confidences_that_rounding_tells_apart_are_ties():
    values, target, right = permuted(0)
    gap = abs(0.55 - right.double().mean())
    assert float(F.aece(values, target, inputs="logits")) == pytest.approx(float(gap), abs=1e-12)
    assert float(F.ks(values, target, inputs="logits")) == pytest.approx(float(gap), abs=1e-12)
    assert float(F.auroc(values, target, inputs="logits")) == 0.5


def test_intervals_do_not_hang_on_rounding():
    first, second = (evaluate(*permuted(seed)[:2], inputs="logits") for seed in (0, 2))
    for name in ("ks", "smooth_ece", "aece", "auroc"):
        assert first[name] == pytest.approx(second[name], abs=1e-9), name
        assert first[name].low <= first[name].value <= first[name].high


def test_dense_confidences_are_not_one_tie():
    margin = torch.linspace(0, 36, 60_000, dtype=torch.float64)
    right = torch.rand(60_000, generator=torch.Generator().manual_seed(0)) < (margin / 8).sigmoid()
    groups = grouped(margin.sigmoid(), right)
    # The last bit of a number next to 1 is 2^-53: no tie is wider than what a softmax rounds.
    assert groups.size.max() < 5000
    by_margin = float(auroc(margin / 36, right))
    assert float(auroc(margin.sigmoid(), right)) == pytest.approx(by_margin, abs=2e-4)


def test_a_confidence_that_is_no_number_is_no_tie():
    assert torch.isnan(ks_error(torch.tensor([0.9, math.nan, 0.3]), torch.tensor([1, 0, 1])))


def test_equal_mass_bins_by_hand():
    confidence = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    correct = [False, True, False, True, False, True, True]
    # 3 bins end at ranks ceil(7/3) = 3, ceil(14/3) = 5 and 7.
    gaps = abs(0.6 - 1) + abs(0.9 - 1) + abs(1.3 - 2)
    assert pairs(confidence, correct, n_bins=3)["aece"] == pytest.approx(gaps / 7)


def test_the_least_confident_sample_counts():
    # The reference leaves it out: its lowest edge is open.
    confidence, correct = [0.4, 0.6, 0.8, 1.0], [True, True, True, True]
    ours = pairs(confidence, correct, n_bins=4)["aece"]
    assert ours == pytest.approx((0.6 + 0.4 + 0.2) / 4)
    reference = pairs(confidence, correct, n_bins=4, rule="guo2017")["aece"]
    assert reference == pytest.approx((0.4 + 0.2) / 4)


def test_two_classes_top_label_and_event():
    p = torch.tensor([0.9, 0.8, 0.2, 0.1], dtype=torch.float64)
    probs, target = torch.stack([1 - p, p], 1), torch.tensor([1, 0, 0, 1])
    # Top label: confidences .9 .8 .8 .9, right, wrong, right, wrong.
    assert F.ece(probs, target, inputs="probs", n_bins=1) == pytest.approx(0.85 - 0.5)
    # Event: probabilities .9 .8 .2 .1 of an event that happens 1 0 0 1.
    assert F.ece(probs, target, inputs="probs", n_bins=1, task="event") == pytest.approx(0.0, abs=1e-12)
    expected = (abs(0.1 - 1) + abs(0.2 - 0) + abs(0.8 - 0) + abs(0.9 - 1)) / 4
    assert F.ece(probs, target, inputs="probs", n_bins=10, task="event") == pytest.approx(expected)


def test_one_half_in_a_binary_task_is_the_event():
    for values, inputs in ((torch.tensor([[0.0], [0.0]]), "logits"), (torch.tensor([[0.5], [0.5]]), "probs")):
        state = State({"top", "predictions"}, 2)
        state.update(values, torch.tensor([1, 0]), inputs=inputs)
        assert int(state.bins().correct.sum()) == 1
        assert state.sums["predicted_count"].tolist() == [0, 2]


def test_brier_sums_over_classes():
    probs, target = sample(200, classes=2)
    halved = brier_score_loss(target.numpy(), probs[:, 1].numpy())
    assert F.brier(probs, target, inputs="probs") == pytest.approx(2 * halved, abs=1e-12)


def test_nll_of_an_impossible_label_is_not_clipped():
    probs, target = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64), torch.tensor([1, 0])
    assert F.nll(probs, target, inputs="probs") == math.inf
    assert log_loss(target.numpy(), probs.numpy()) < 100
    # From logits the same certainty stays finite.
    assert F.nll(torch.tensor([[200.0, 0.0]]), torch.tensor([1]), inputs="logits") == 200.0


def test_mce_is_a_gap_and_not_a_count():
    found = pairs([0.9] * 100, [False] * 100)
    assert found["mce"] == pytest.approx(0.9)
    assert found["ece"] == pytest.approx(0.9)


def test_the_average_of_images_is_biased_upwards():
    probs, target = sample(100 * 64, classes=5)
    maps, labels = probs.reshape(100, 64, 5).movedim(2, 1), target.reshape(100, 64)
    pooled = F.ece(maps, labels, inputs="probs")
    by_image = F.ece(maps, labels, inputs="probs", average="image")
    assert by_image > 3 * pooled


@pytest.mark.parametrize(
    ("values", "target", "message"),
    [
        (torch.zeros(3), torch.zeros(3, dtype=torch.long), r"\(N, C, \*\)"),
        (torch.zeros(3, 2, dtype=torch.long), torch.zeros(3, dtype=torch.long), "must be real"),
        (torch.zeros(3, 2), torch.zeros(3), "integer labels"),
        (torch.zeros(3, 2), torch.zeros(4, dtype=torch.long), r"must have shape \(3,\)"),
        (torch.zeros(3, 2, 5), torch.zeros(3, dtype=torch.long), r"must have shape \(3, 5\)"),
        (torch.zeros(3, 0), torch.zeros(3, dtype=torch.long), "no classes"),
        ([[0.5, 0.5]], torch.zeros(1, dtype=torch.long), "must be tensors"),
    ],
)
def test_shapes_that_do_not_fit(values, target, message):
    with pytest.raises(InputError, match=message):
        F.ece(values, target, inputs="logits")


@pytest.mark.parametrize("bins", [0, -1, 2.5])
def test_numbers_of_bins_that_do_not_exist(bins):
    with pytest.raises(InputError, match="n_bins must be an integer"):
        F.ece(torch.zeros(3, 2), torch.zeros(3, dtype=torch.long), inputs="logits", n_bins=bins)


def test_a_confidence_of_zero_has_no_bin_in_the_dictionary_code():
    with pytest.raises(InputError, match="no bin for a confidence of 0"):
        pairs([0.0, 0.5], [True, False], rule="focal_calibration_dict")
