"""Class counts: what is refused, and how a value of each class reaches the rows."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import Batch, create
from calibrant.losses.counts import check_counts, of_label


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ([10], "at least two classes"),
        ([[1, 2], [3, 4]], "shape"),
        ([3, -1], r"class_counts\[1\] is -1"),
        ([3, float("nan")], r"class_counts\[1\] is nan"),
        ([0, 3], r"class_counts\[0\] is 0"),
    ],
)
def test_impossible_counts_are_refused(counts, what):
    with pytest.raises(InputError, match=what):
        check_counts(counts)


def test_an_empty_class_is_admitted_where_nothing_divides_by_it():
    assert check_counts([0, 3], positive=False).tolist() == [0, 3]


def test_the_value_of_the_label_is_its_expectation_under_a_soft_target():
    values = torch.tensor([1.0, 5.0, 9.0], dtype=torch.float64)
    logits = torch.zeros(2, 3, 2)
    soft = torch.tensor([0.5, 0.25, 0.25]).view(1, 3, 1).expand(2, 3, 2)
    hard = torch.tensor([[0, 2], [1, 1]])
    assert torch.equal(of_label(Batch(logits, hard, None, None), values), torch.tensor([[1.0, 9], [5, 5]]))
    assert torch.equal(of_label(Batch(logits, soft, None, None), values), torch.full((2, 2), 4.0))


@pytest.mark.parametrize("name", ["las", "ldam", "cb_focal", "logit_adjustment", "balanced_softmax", "cb_ce"])
def test_counts_of_other_classes_than_the_logits_are_refused(name):
    loss = create(name, class_counts=[5, 4, 3])
    with pytest.raises(InputError, match="classes"):
        loss(torch.zeros(2, 4), torch.tensor([0, 3]))


def test_a_loss_without_its_counts_says_so():
    with pytest.raises(InputError, match="needs class_counts"):
        create("ldam", num_classes=3)
