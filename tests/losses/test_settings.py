"""What a loss is built with: a value that cannot be is refused, and none does another thing than it says."""

import numpy as np
import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import (
    CALS,
    CALSHR,
    DualFocalLoss,
    EntropyPenalty,
    MarginLoss,
    create,
)
from calibrant.losses.two_class import TwoClassLoss
from calibrant.metrics import functional as F


@pytest.mark.parametrize(
    ("name", "settings", "said"),
    [
        (
            "mbls",
            {"margin": 1.0, "class_reduction": "avg"},
            "class_reduction must be 'mean' or 'sum', not 'avg'",
        ),
        ("cals", {"num_classes": 3, "class_reduction": "avg"}, "class_reduction must be 'mean' or 'sum'"),
        ("ecp", {"class_reduction": "avg"}, "class_reduction must be 'sum' or 'mean'"),
        ("acls", {"margin": 1.0, "pos_reference": "zeros"}, "pos_reference must be 'zero', 'min' or 'mean'"),
        ("acls", {"neg_margin": -1.0}, "neg_margin must be at least 0, not -1"),
        ("acls", {"margin": 1.0, "ties": "double"}, "ties must be 'single' or 'reference'"),
        ("ls", {"over": "other"}, "over must be 'all' or 'others', not 'other'"),
        ("mdca", {"over": "other"}, "over must be 'all' or 'others', not 'other'"),
        ("mbls", {"schedule": "multiply"}, "mu must lie above 0 for schedule 'multiply', not 0.0"),
        ("mbls", {"schedule": "step", "mu": 2.0, "step_size": 0}, "step_size must be at least 1 epoch, not 0"),
        ("ce", {"ignore_index": "255"}, "whole numbers, not '255'"),
        ("ce", {"ignore_index": 1.5}, "whole numbers, not 1.5"),
        ("ce", {"ignore_index": [1, 1.5]}, "whole numbers, not"),
        ("las", {"class_counts": ["a", "b"]}, "must list the training samples of each class, not be"),
        ("las", {"class_counts": 5}, "must list the training samples of each class, not be 5"),
        ("ce", {"weight": "abc"}, "weight must be one number for each class, not 'abc'"),
        ("cals", {"num_classes": 3, "multipliers": "abc"}, "multipliers must be a number or 3 of them"),
        ("cals", {"num_classes": 3, "rho": 0.0}, "rho must lie above 0, not 0.0"),
        ("cals", {"num_classes": 3, "multipliers": float("nan")}, "multipliers must hold numbers, not NaN"),
        (
            "cals",
            {"num_classes": 3, "multiplier_bounds": (2.0, 1.0)},
            "a least and a greatest value",
        ),
        ("cals_hr", {"num_classes": -1}, "num_classes must be at least 1, not -1"),
        ("cals_hr", {"num_classes": 3, "gamma": 0.5}, "gamma and tau must be at least 1, not 0.5 and 1.1"),
        ("adafocal", {"gamma": 50.0}, "gamma must lie in gamma_range"),
        ("focal", {"gamma": float("nan")}, "gamma must be at least 0, not nan"),
        ("mbls", {"margin": float("nan")}, "margin must be at least 0, not nan"),
        ("flsc", {"milestones": (3, 1)}, "milestones, which rise"),
        ("flsc", {"gammas": (3.0, 1.0)}, "gammas must be one more than milestones"),
        ("aslp_mc", {"num_samples": 3, "eta": 0.0}, "eta must lie above 0, not 0.0"),
    ],
)
def test_a_value_that_cannot_be_is_refused(name, settings, said):
    with pytest.raises(InputError, match=said):
        create(name, **settings)


def test_the_power_of_the_focal_loss_goes_along_its_schedule():
    logits, target = torch.tensor([[1.0, 0.0]], dtype=torch.float64), torch.tensor([0])
    loss = create("flsc", gammas=(5.0, 3.0, 2.0), milestones=(1, 3))
    for power in (5.0, 3.0, 3.0, 2.0, 2.0):
        assert torch.equal(loss(logits, target), create("focal", gamma=power)(logits, target))
        state = loss.state_dict()
        other = create("flsc", gammas=(5.0, 3.0, 2.0), milestones=(1, 3))
        other.load_state_dict(state)
        assert other.gamma == power
        loss.step_epoch()


def test_each_penalty_of_acls_can_have_a_margin_of_its_own():
    logits, target = torch.tensor([[4.0, 0.0, 3.0]]), torch.tensor([0])
    loss = create("acls", alpha=1.0, pos_margin=3.0, neg_margin=0.5)
    # 1 past the one margin; 3.5 and 0.5 past the other.
    loss(logits, target)
    assert (float(loss.terms["pos"]), float(loss.terms["neg"])) == (1.0, (3.5**2 + 0.5**2) / 2)


@pytest.mark.parametrize(
    ("index", "labels"),
    [
        (3, (3,)),
        (np.int64(3), (3,)),
        (torch.tensor(3), (3,)),
        ([3, 4], (3, 4)),
        (torch.tensor([3, 4]), (3, 4)),
        (np.array([3, 4]), (3, 4)),
        (None, ()),
    ],
)
def test_labels_to_ignore_come_in_every_form(index, labels):
    assert create("ce", ignore_index=index).ignored == labels
    target, logits = torch.tensor([3, 4, 0]), torch.zeros(3, 5)
    assert F.accuracy(logits, target, inputs="logits", ignore_index=index) == 1 / (3 - len(labels))


@pytest.mark.parametrize("loss", [CALS(3, 1.0), CALSHR(3, 1.0), CALS(1, 1.0), CALSHR(1, 1.0)])
def test_multipliers_are_for_as_many_classes_as_the_logits_have(loss):
    with pytest.raises(InputError, match=r"built for [13] classes, but the logits have 5"):
        loss(torch.zeros(2, 5), torch.tensor([0, 1]))


@pytest.mark.parametrize("loss", [EntropyPenalty(0.1, gamma=0.5), DualFocalLoss(0.5)])
def test_a_power_below_1_has_a_finite_gradient_where_nothing_is_missing(loss):
    logits = torch.tensor([[20.0, 0.0], [120.0, 0.0]], requires_grad=True)
    loss(logits, torch.tensor([0, 0])).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert float(logits.grad.abs().max()) < 1e-3


@pytest.mark.parametrize("never", [0, -1])
def test_multipliers_that_are_never_updated_stay(never):
    cals = CALS(2, 1.0, rho_every=never, multiplier_every=never)
    heuristic = CALSHR(2, 1.0, every=never)
    before = (cals.class_state()["rho"].clone(), heuristic.multipliers.clone())
    for width in (5.0, 50.0, 500.0):
        for loss in (cals, heuristic):
            loss.observe(torch.tensor([[width, 0.0], [0.0, width]]), torch.tensor([0, 1]))
            loss.step_epoch()
    assert torch.equal(cals.class_state()["rho"], before[0])
    assert torch.equal(heuristic.multipliers, before[1])


@pytest.mark.parametrize("rank_average", [False, True])
def test_without_an_observation_nothing_changes(rank_average):
    loss = CALS(2, 1.0, multipliers=0.5, rank_average=rank_average)
    loss.step_epoch()
    assert loss.class_state()["multipliers"].tolist() == [0.5, 0.5]
    assert loss.lagrangian.previous.isnan().all()


def test_the_schedule_of_a_loss_on_binary_maps_advances():
    inner = MarginLoss(1.0, alpha=0.1, schedule="add", mu=1.0)
    TwoClassLoss(inner).step_epoch()
    assert inner.alpha == pytest.approx(1.1)
