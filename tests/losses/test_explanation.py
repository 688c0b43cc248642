"""The implied targets: exact against closed form for every loss, the curves, and what is read off them."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import CrossEntropy, Loss, MarginLoss, create
from calibrant.losses.explanation import (
    closed_form,
    closed_form_target,
    explain,
    implicit_target,
    moved_targets,
    smoothing_curve,
    stated_batch,
)
from calibrant.losses.registry import LOSSES
from calibrant.testing.loss_checks import random_batch

COUNTS = [500, 200, 80, 30, 10]
ROWS = 12
#: The options under which a loss has another form, and what is drawn by default without draws.
OPTIONS: dict[str, list[dict[str, object]]] = {
    "acls": [
        {"margin": 2.0, "pos_reference": reference, "ties": ties}
        for reference in ("zero", "min", "mean")
        for ties in ("single", "reference")
    ]
    + [{"pos_margin": 2.0, "neg_margin": 1.0}],
    "aslp_mc": [{"mode": "expected"}],
    "aslp_mei": [{"mode": "expected", "strength": 1.5}],
    "avu": [{"variant": "intel"}, {"variant": "google", "detach_confidence": True}],
    "binary_mmce": [{"pixels": None}],
    "cals": [
        {"margin": 2.0, "penalty": "phr", "normalize": False},
        *({"margin": 2.0, "penalty": penalty, "multipliers": 0.3} for penalty in ("phr", "p2", "p3", "relu")),
        {"margin": 2.0, "multipliers": 0.3, "class_reduction": "sum"},
    ],
    "cals_hr": [{"margin": 2.0, "multipliers": [0.1, 0.2, 0.3, 0.1, 0.5]}],
    "cb_ce": [{}, {"divide_by": "samples"}],
    "cb_focal": [{}, {"form": "weight_in_exponent"}],
    "crl": [{"confidence": kind} for kind in ("softmax", "margin", "entropy")],
    "dca": [{"alpha": 0.5}],
    "disturb_label": [{"mode": "expected"}],
    "ecp": [{}, {"class_reduction": "mean", "gamma": 2.0, "clamp": 1e-3}],
    "focal": [{}, {"detach_weight": True, "gamma": 2.5}],
    "las": [{}, {"form": "paper"}],
    "ls": [{}, {"over": "others"}],
    "mbls": [{"margin": 3.0}, {"margin": 2.0, "class_reduction": "sum"}, {"margin": 2.0, "detach_max": True}],
    "mdca": [{"base": base} for base in ("focal", "ce", "ls")],
    "meep": [{}, {"kind": "uniform"}, {"entropy": "per_class"}],
    "mmce": [{}, {"squared": False}],
    "mmce_w": [{}, {"normalization": "reference"}],
    "nacl": [{"distance": d, "pull": p} for d in ("l1", "l2") for p in ("logits", "probs")],
    "sb_ece": [{}, {"decay": 2.0}],
    "sc_bce": [{"alpha": 0.2, "strength": 1.5}],
    "soft_avu": [{"threshold": 0.2}],
}
#: Those of this package: tests register losses of their own.
NAMES = sorted(name for name in LOSSES._factories if LOSSES.get(name).__module__.startswith("calibrant."))
CASES = [(name, options) for name in NAMES for options in OPTIONS.get(name, [{}])]


def made(name: str, **options: object) -> Loss:
    """Return a loss of 5 classes, with something learned where it learns."""
    loss = create(name, num_classes=5, class_counts=COUNTS, num_samples=ROWS, **options)
    if name == "crl":
        loss.correct.copy_(torch.randint(0, 4, (ROWS,)))
        loss.epoch.fill_(4)
    if name.startswith("aslp"):
        loss.alpha.copy_(0.3 * torch.rand(ROWS))
    return loss


@pytest.mark.parametrize("ignored", [None, 2])
@pytest.mark.parametrize(("name", "options"), CASES)
def test_the_closed_form_of_every_loss_is_its_gradient(name, options, ignored):
    torch.manual_seed(0)
    loss = made(name, ignore_index=ignored, **options)
    logits, target = random_batch(loss, 5, (ROWS, 4, 4) if loss.spatial else (ROWS,))
    if loss.binary and ignored is not None:
        target[:3] = ignored
    index = torch.arange(ROWS)
    exact = implicit_target(loss, logits, target, index=index)
    written = closed_form_target(loss, logits, target, index=index)
    assert (written - exact).abs().max() <= 1e-10 * max(1.0, float(exact.abs().max()))


def test_cross_entropy_on_the_implied_target_has_the_gradient_of_the_loss():
    torch.manual_seed(0)
    logits, target = 3 * torch.randn(6, 4, 2, 2, dtype=torch.float64), torch.randint(0, 4, (6, 2, 2))
    target[0] = -100
    loss, z = MarginLoss(margin=1.0), logits.requires_grad_()
    (own,) = torch.autograd.grad(loss(z, target), z)
    told = implicit_target(loss, logits, target)
    (alike,) = torch.autograd.grad(CrossEntropy(reduction="sum")(z, told), z)
    assert torch.allclose(alike / (5 * 4), own, atol=1e-14)
    assert loss.reduction == "mean"
    assert torch.equal(told[0], logits.detach().softmax(1)[0])


def test_class_weights_act_on_the_target_and_a_loss_of_the_batch_has_then_no_closed_form():
    torch.manual_seed(0)
    logits, target = random_batch(CrossEntropy(), 5, (ROWS,))
    weight = [1.0, 2.0, 0.5, 3.0, 1.0]
    loss = create("focal", weight=weight)
    assert torch.allclose(closed_form_target(loss, logits, target), implicit_target(loss, logits, target))
    with pytest.raises(InputError, match="MDCA has no closed form"):
        closed_form_target(create("mdca", weight=weight), logits, target)


class Halved(MarginLoss):
    """Computes something of its own."""

    def formula(self, batch):
        terms = super().formula(batch)
        return {"ce": terms["ce"], "half": 0.5 * terms["margin"]}


def test_a_loss_that_computes_something_of_its_own_does_not_inherit_a_closed_form():
    assert closed_form(Halved()) is None
    assert closed_form(create("flsd53")).formula == closed_form(create("flsd")).formula
    assert explain(Halved(margin=6.0, alpha=0.2)).verdict.conditional


@pytest.fixture(scope="module")
def explained():
    every = {
        name: create(name, num_classes=10, class_counts=range(100, 0, -10), num_samples=65) for name in NAMES
    }
    return {name: (loss, explain(loss, points=20)) for name, loss in every.items()}


def test_the_verdict_of_the_curves_is_that_of_the_closed_forms(explained):
    for name, (loss, said) in explained.items():
        assert said.verdict.conditional == closed_form(loss).conditional, name


def test_the_verdicts_are_those_of_the_analysis(explained):
    conditional = {name for name, (_, said) in explained.items() if said.verdict.conditional}
    assert conditional == {
        "acls", "aslp_mc", "aslp_mei", "cals", "cals_hr", "crl", "mbls", "meep", "svls"
    }  # fmt: skip
    steady = {name for name, (_, said) in explained.items() if not said.verdict.adaptive}
    assert {"ce", "bce", "ls", "binary_ls", "las", "mbls", "cals_hr"} <= steady
    assert steady.isdisjoint({"acls", "focal", "flsd53", "mdca", "dca", "mmce", "ecp", "brier", "cpc", "crl"})
    effects = {name: said.verdict.effect for name, (_, said) in explained.items()}
    assert effects["ce"] == "none up to a logit of 20"
    assert effects["ls"] == "smooths, by 0.045 throughout"
    assert effects["mbls"] == "smooths beyond 10, by 0.09 throughout"
    assert effects["acls"] == "smooths beyond 10, 2 at 20 and growing"
    assert effects["focal"].startswith("sharpens up to 1, then smooths")
    assert effects["poly1"].startswith("sharpens, most")
    assert effects["meep"].startswith("of wrong predictions alone: smooths")


def test_a_curve_of_a_loss_of_the_batch_sees_the_row_in_the_stated_batch(explained):
    loss, said = explained["dca"]
    company, labels = stated_batch(10)
    row = torch.zeros(1, 10, dtype=torch.float64)
    row[0, 0] = said.curve.logit[7]
    told = implicit_target(loss, torch.cat([company, row]), torch.cat([labels, torch.tensor([9])]))[-1]
    seen = [float(said.curve.changes[f"wrong_{role}"][7]) for role in ("predicted", "label", "other")]
    assert seen == pytest.approx([float(told[0]), float(told[9] - 1), float(told[1])], abs=1e-15)


def test_explaining_changes_neither_the_loss_nor_the_random_numbers():
    loss = create("disturb_label")
    learner = create("cals", num_classes=10)
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    state = torch.get_rng_state()
    assert explain(loss).verdict.effect == "smooths, by 0.05 throughout"
    explain(learner, points=4)
    assert torch.equal(torch.get_rng_state(), state)
    assert (loss.mode, learner.terms) == ("sampled", {})
    assert all(
        torch.allclose(value, before[name], equal_nan=True) for name, value in learner.state_dict().items()
    )


def test_what_is_moved_is_told_of_maps_with_ignored_pixels_and_of_conditional_losses_alone():
    logits = torch.tensor([[8.0, 4.0, 8.0], [0.0, 0.0, 0.0], [3.0, 1.0, 3.0]]).unsqueeze(0)
    target = torch.tensor([[1, 0, -100]])
    moved, counted = moved_targets(MarginLoss(margin=6.0), logits, target)
    assert moved[0].tolist() == [[True, False, False], [True, False, False], [False, False, False]]
    assert counted.tolist() == [[True, True, False]]
    assert moved_targets(create("focal"), logits, target) is None
    assert moved_targets(Halved(), logits, target) is None


@pytest.mark.parametrize(("options", "said"), [({"num_classes": 2}, "3 classes"), ({"upto": 0.0}, "above 0")])
def test_a_situation_that_cannot_be_is_refused(options, said):
    with pytest.raises(InputError, match=said):
        smoothing_curve(CrossEntropy(), **options)
