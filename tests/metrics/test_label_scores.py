"""Scores of label maps: against a direct computation over all pixels and over each image."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.metrics import functional
from calibrant.metrics.label_scores import LabelScores
from calibrant.metrics.segmentation import segmentation_scores


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    found = []
    for i in range(6):
        # In float64 rows and maps have the same softmax; in float32 it is rounded otherwise, by the version.
        logits = 2 * torch.randn(4, 9 + i, 12 - i, generator=generator, dtype=torch.float64)
        label = torch.randint(0, 4, logits.shape[1:], generator=generator)
        logits.scatter_add_(0, label[None], torch.full(label.shape, 1.5, dtype=torch.float64)[None])
        label[0, : 3 + i] = 255
        found.append((logits, label))
    return found


def scored(maps, **settings):
    scores = LabelScores(4, **settings)
    for logits, label in maps:
        scores.add(logits, label)
    return scores


def pooled(maps):
    """Return all pixels that count, as rows."""
    rows = torch.cat([logits.flatten(1).T for logits, _ in maps])
    labels = torch.cat([label.flatten() for _, label in maps])
    return rows[labels != 255], labels[labels != 255]


def test_values_are_those_of_all_pixels_together(maps):
    found = scored(maps).estimates(intervals=False)
    rows, labels = pooled(maps)
    for name in ("accuracy", "ece", "aece", "classwise_ece", "nll", "brier", "mce", "ks"):
        expected = getattr(functional, name)(rows, labels, inputs="logits")
        assert found[name].value == pytest.approx(float(expected), rel=1e-9), name
    expected = segmentation_scores(rows.argmax(1), labels, num_classes=4, include_background=True)
    assert found["miou"].value == pytest.approx(float(expected.miou), rel=1e-12)
    assert "miou_foreground" not in found


def test_means_over_images_are_those_of_each_image(maps):
    found = scored(maps, background=True).estimates(intervals=False)
    each, weights, things = [], [], []
    for logits, label in maps:
        rows, labels = pooled([(logits, label)])
        each.append(float(functional.ece(rows, labels, inputs="logits")))
        thing = labels > 0
        things.append(float(functional.ece(rows[thing], labels[thing], inputs="logits")))
        weights.append(int(thing.sum()))
    assert found["ece_image"].value == pytest.approx(sum(each) / len(each), rel=1e-9)
    expected = sum(w * e for w, e in zip(weights, things, strict=True)) / sum(weights)
    assert found["ece_foreground"].value == pytest.approx(expected, rel=1e-9)
    assert found["ece_image"].value > found["ece"].value
    rows, labels = pooled(maps)
    overlap = segmentation_scores(rows.argmax(1), labels, num_classes=4, include_background=False)
    assert found["miou_foreground"].value == pytest.approx(float(overlap.miou), rel=1e-12)


def test_what_is_ignored_counts_nowhere(maps):
    other = [(torch.where(label == 255, 50.0, logits), label) for logits, label in maps]
    nothing = (torch.zeros(4, 3, 3, dtype=torch.float64), torch.full((3, 3), 255))
    plain, changed = (scored(m, background=True).estimates() for m in (maps, [*other, nothing]))
    for name, estimate in plain.items():
        assert changed[name].value == estimate.value, name


def test_intervals_hold_the_value_and_shrink_with_more_images(maps):
    few, many = (scored(maps * k, background=True).estimates() for k in (1, 8))
    for name in ("miou", "miou_foreground", "accuracy", "ece_image", "nll", "brier"):
        assert few[name].low <= few[name].value <= few[name].high
        assert many[name].high - many[name].low < 0.7 * (few[name].high - few[name].low), name
    assert few["aece"].low != few["aece"].low


def test_nothing_to_judge_is_refused():
    with pytest.raises(InputError, match="There are no samples"):
        LabelScores(3).estimates()
    scores = LabelScores(3)
    scores.add(torch.zeros(3, 2, 2), torch.full((2, 2), 255))
    with pytest.raises(InputError, match="every label is ignored"):
        scores.estimates()
    with pytest.raises(InputError, match="Label 3 at position"):
        scores.add(torch.zeros(3, 2, 2), torch.full((2, 2), 3))
