"""Baselines of dense binary maps: losses on the pair (0, z), and special cases of label perturbation."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from calibrant.errors import InputError
from calibrant.losses import CrossEntropy, MarginLoss, RankMixup, ScBCE, SoftBinnedECE, TwoClassLoss, create
from calibrant.losses.mmce import mmce

BASELINES = ["bce", "binary_ls", "binary_focal", "binary_flsd", "binary_brier", "binary_mmce", "disturb_label"]


def _batch():
    torch.manual_seed(0)
    logits = 3 * torch.randn(3, 1, 4, 5, dtype=torch.float64)
    return logits, torch.randint(0, 2, logits.shape).double(), torch.rand_like(logits)


def test_cross_entropy_of_two_classes_is_binary_cross_entropy():
    logits, _, grey = _batch()
    torch.testing.assert_close(TwoClassLoss(CrossEntropy())(logits, grey), bce(logits, grey))
    torch.testing.assert_close(create("bce")(logits, grey), bce(logits, grey))


@pytest.mark.parametrize(("name", "options"), [("binary_focal", {"gamma": 2.0}), ("binary_flsd", {})])
def test_focal_weighs_the_two_labels_by_the_grey(name, options):
    logits, _, grey = _batch()
    p = logits.sigmoid()

    def branch(p):
        gamma = 2.0 if options else torch.where(p < 0.2, 5.0, 3.0)
        return -((1 - p) ** gamma) * p.log()

    expected = grey * branch(p) + (1 - grey) * branch(1 - p)
    torch.testing.assert_close(create(name, reduction="none", **options)(logits, grey), expected)


def test_brier_is_half_of_that_of_two_classes():
    logits, _, grey = _batch()
    torch.testing.assert_close(create("binary_brier")(logits, grey), (logits.sigmoid() - grey).square().mean())


def test_smoothing_and_disturbing():
    logits, target, _ = _batch()
    smoothed = bce(logits, 0.9 * target + 0.05)
    torch.testing.assert_close(create("binary_ls", alpha=0.1)(logits, target), smoothed)
    torch.testing.assert_close(create("disturb_label", rate=0.1, mode="expected")(logits, target), smoothed)


@pytest.mark.parametrize("granularity", ["image", "pixel"])
def test_disturbed_labels_flip_at_half_the_rate(granularity):
    logits, target = torch.zeros(400, 1, 5, 5), torch.ones(400, 1, 5, 5)
    generator = torch.Generator().manual_seed(0)
    loss = create("disturb_label", rate=0.4, granularity=granularity, generator=generator)
    loss(logits, target)
    flipped = loss.realised == 0
    assert flipped.float().mean().item() == pytest.approx(0.2, abs=0.05)
    whole = flipped.flatten(1).all(1) | ~flipped.flatten(1).any(1)
    assert whole.all() == (granularity == "image")


def test_mmce_of_all_pixels_and_of_some():
    logits, target, _ = _batch()
    p = logits.sigmoid()
    confidence, right = torch.maximum(p, 1 - p), ((p > 0.5) == (target == 1)).double()
    whole = create("binary_mmce", alpha=2.0, pixels=None)
    expected = bce(logits, target) + 2 * mmce(confidence, right)
    torch.testing.assert_close(whole(logits, target), expected)
    some = create("binary_mmce", pixels=50, generator=torch.Generator().manual_seed(0))
    drawn = torch.stack([(some(logits, target), some.terms["mmce"])[1] for _ in range(300)])
    assert drawn.std() > 0
    # A pixel paired with itself adds about its squared gap / 50 to the mean.
    assert float(drawn.mean()) == pytest.approx(float(mmce(confidence, right)), abs=0.01)


def test_ignored_pixels_are_not_drawn():
    logits, target, _ = _batch()
    labels = target.long()
    labels[0] = 255
    logits[0] = 50.0
    loss = create("binary_mmce", pixels=None, ignore_index=255)
    alone = create("binary_mmce", pixels=None)
    torch.testing.assert_close(loss(logits, labels), alone(logits[1:], labels[1:]))


@pytest.mark.parametrize("name", BASELINES)
def test_mixed_maps_are_taken(name):
    logits, target, _ = _batch()
    mixed = 0.3 * target + 0.7 * target.flip(0)
    logits.requires_grad_()
    value = create(name)(logits, mixed)
    value.backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()


def test_any_loss_on_classes_can_be_applied():
    logits, target, _ = _batch()
    pair = torch.cat([torch.zeros_like(logits), logits], 1)
    expected = MarginLoss(2.0)(pair, target.squeeze(1).long())
    loss = TwoClassLoss(MarginLoss(2.0))
    torch.testing.assert_close(loss(logits, target), expected)
    assert set(loss.terms) == {"ce", "margin"}


def test_mistakes():
    with pytest.raises(InputError, match="CALS cannot be applied to binary maps"):
        TwoClassLoss(create("cals", num_classes=2))
    with pytest.raises(InputError, match="ScBCE cannot be applied"):
        TwoClassLoss(ScBCE())
    with pytest.raises(InputError, match="reduction='none' does not exist"):
        TwoClassLoss(SoftBinnedECE(), reduction="none")
    with pytest.raises(InputError, match=r"RankMixup cannot be applied to binary maps: .* no more than logits"):
        TwoClassLoss(RankMixup())
    with pytest.raises(InputError, match="NACL looks at neighbouring pixels"):
        TwoClassLoss(create("nacl"))(torch.zeros(2, 1), torch.zeros(2, 1))
    with pytest.raises(InputError, match="without smoothing use 'bce'"):
        create("binary_ls", alpha=0.0)
    with pytest.raises(InputError, match="rate must be"):
        create("disturb_label", rate=1.0)
    with pytest.raises(InputError, match="pixels must be"):
        create("binary_mmce", pixels=1)


def test_a_saved_state_goes_on_drawing_where_it_was():
    logits, target, _ = _batch()
    loss = create("binary_mmce", pixels=5, generator=torch.Generator().manual_seed(0))
    loss(logits, target)
    state = loss.state_dict()
    after = loss(logits, target)
    other = create("binary_mmce", pixels=5, generator=torch.Generator().manual_seed(9))
    other.load_state_dict(state)
    assert torch.equal(other(logits, target), after)
