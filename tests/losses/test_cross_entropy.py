"""Cross-entropy against PyTorch's own."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from calibrant.errors import InputError
from calibrant.losses import CrossEntropy, LabelSmoothing, MarginLoss


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(6, 4), (2, 4, 3, 5)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore_index", [-100, 2, 255])
def test_equals_torch(reduction, shape, weighted, ignore_index):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 4, shape[:1] + shape[2:], generator=generator)
    target.view(-1)[::3] = ignore_index
    weight = torch.tensor([0.5, 2.0, 1.0, 3.0]) if weighted else None
    ours = CrossEntropy(weight=weight, ignore_index=ignore_index, reduction=reduction)(logits, target)
    theirs = F.cross_entropy(
        logits,
        target,
        weight=None if weight is None else weight.double(),
        ignore_index=ignore_index,
        reduction=reduction,
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 6), st.integers(2, 7), st.floats(0, 0.9), st.integers(0, 2**31))
def test_label_smoothing_equals_torch(rows, classes, alpha, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 5 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(0, classes, (rows,), generator=generator)
    theirs = F.cross_entropy(logits, target, label_smoothing=alpha)
    torch.testing.assert_close(LabelSmoothing(alpha)(logits, target), theirs, rtol=1e-10, atol=1e-12)


@given(st.integers(2, 7), st.floats(0.01, 0.9), st.integers(0, 2**31))
def test_mass_over_the_others_is_a_rescaled_mass_over_all(classes, alpha, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, classes, generator=generator, dtype=torch.float64)
    target = torch.randint(0, classes, (5,), generator=generator)
    smoothed = torch.full((5, classes), alpha / (classes - 1), dtype=torch.float64)
    smoothed.scatter_(1, target.unsqueeze(1), 1 - alpha)
    ours = LabelSmoothing(alpha, over="others")(logits, target)
    torch.testing.assert_close(ours, F.cross_entropy(logits, smoothed), rtol=1e-10, atol=1e-12)


def test_several_labels_are_ignored():
    logits, target = torch.randn(4, 3), torch.tensor([0, 7, 255, 2])
    ours = CrossEntropy(ignore_index=[7, 255])(logits, target)
    torch.testing.assert_close(ours, F.cross_entropy(logits[[0, 3]], target[[0, 3]]))


@pytest.mark.parametrize(
    ("logits", "target", "message"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 3]), r"Label 3 at position \(1,\) is outside \[0, 3\)"),
        (torch.zeros(2, 3), torch.tensor([0, -1]), "Label -1 at position"),
        (torch.zeros(2, 3), torch.tensor([0]), r"Target of shape \(1,\) fits no logits of shape \(2, 3\)"),
        (torch.zeros(2, 3), torch.zeros(2), "give integer labels"),
        (torch.tensor([[0.0, float("nan")]]), torch.tensor([0]), r"NaN, first at position \(0, 1\)"),
        (torch.zeros(3), torch.tensor([0, 1, 2]), r"real logits of shape \(N, C, \*\)"),
    ],
)
def test_mistakes_get_one_sentence(logits, target, message):
    with pytest.raises(InputError, match=message) as caught:
        CrossEntropy()(logits, target)
    assert "\n" not in str(caught.value)


def test_values_are_looked_at_only_where_asked():
    logits = torch.tensor([[0.0, float("nan")]])
    loss = CrossEntropy()
    loss.check_values = False
    assert loss(logits, torch.tensor([0])).isnan()


def test_a_reduction_that_does_not_exist_is_refused():
    with pytest.raises(InputError, match="reduction must be"):
        CrossEntropy(reduction="average")
    with pytest.raises(InputError, match="not on a row"):
        MarginLoss(penalise_ignored=True, reduction="none")(torch.randn(2, 3), torch.tensor([0, 1]))
