"""ASLP: levels that are learned, saved, restored and shared between processes."""

import copy
import warnings

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import ASLPMC, ASLPMEI, ScBCE, create
from tests.together import in_two

IMAGES = 7


def _maps(seed=0, count=IMAGES):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(count, 1, 3, 4, generator=generator)
    wrong = torch.rand(logits.shape, generator=generator) < 0.2
    return logits, ((logits > 0) ^ wrong).float()


def _epoch(loss, order, *, batch=3, seed=0):
    """Run the protocol over one epoch and return the values of the loss."""
    logits, target = _maps(seed)
    values = []
    for ids in order.split(batch):
        values.append(loss(logits[ids], target[ids], index=ids))
        loss.observe(logits[ids], target[ids], index=ids)
    for part in torch.arange(IMAGES).split(4):
        loss.observe(logits[part], target[part])
    loss.step_epoch()
    return values


def test_the_accuracy_is_that_of_all_pixels_of_the_validation():
    loss = ASLPMC(IMAGES, ignore_index=255)
    logits, target = _maps()
    labels = target.long()
    labels[0] = 255
    for part in torch.arange(IMAGES).split(4):
        loss.observe(logits[part], labels[part])
    loss.step_epoch()
    right = (logits >= 0) == (target == 1)
    assert loss.accuracy.item() == pytest.approx(right[1:].double().mean().item())
    before = loss.accuracy.item()
    loss.step_epoch()
    assert loss.accuracy.item() == before


def test_levels_rest_while_warming_up_and_then_follow_the_rule():
    loss = ASLPMC(IMAGES, warmup=2)
    logits, target = _maps()
    margin = ((2 * target - 1) * logits).mean((1, 2, 3))
    for _ in range(2):
        _epoch(loss, torch.arange(IMAGES))
        assert not loss.alpha.any()
    accuracy = loss.accuracy.float()
    expected = torch.zeros(IMAGES)
    for _ in range(3):
        _epoch(loss, torch.arange(IMAGES))
        pull = (1 - accuracy - expected).clamp(max=0)
        expected = (expected + loss.eta * (margin + loss.lam * pull)).clamp(0, 0.49)
        torch.testing.assert_close(loss.alpha, expected)
    assert loss.alpha.any()


def test_the_loss_is_that_of_the_levels():
    loss = ASLPMC(IMAGES, mode="expected")
    loss.alpha.copy_(torch.linspace(0, 0.3, IMAGES))
    logits, target = _maps()
    ids = torch.tensor([5, 0, 3])
    expected = ScBCE(loss.alpha)(logits[ids], target[ids], index=ids)
    torch.testing.assert_close(loss(logits[ids], target[ids], index=ids), expected)


def test_the_order_of_the_images_does_not_matter():
    one, other = ASLPMC(IMAGES, warmup=1), ASLPMC(IMAGES, warmup=1)
    for epoch in range(4):
        _epoch(one, torch.arange(IMAGES))
        _epoch(other, torch.randperm(IMAGES, generator=torch.Generator().manual_seed(epoch)), batch=2)
    torch.testing.assert_close(one.alpha, other.alpha, rtol=0, atol=1e-7)
    assert one.alpha.any()


def test_an_image_that_is_not_seen_keeps_its_level_and_one_seen_twice_gets_the_mean():
    loss = ASLPMC(3, warmup=1)
    loss.epoch.fill_(1)
    loss.accuracy.fill_(0.9)
    loss.alpha.copy_(torch.tensor([0.1, 0.2, 0.05]))
    sure, unsure = torch.full((1, 1, 1, 4), 9.0), torch.full((1, 1, 1, 4), 1.0)
    ids, target = torch.tensor([2]), torch.ones(1, 1, 1, 4)
    loss.observe(sure, target, index=ids)
    loss.observe(unsure, target, index=ids)
    loss.step_epoch()
    assert loss.alpha.tolist() == pytest.approx([0.1, 0.2, 0.05 + loss.eta * 5])


@pytest.mark.parametrize(
    ("strength", "start", "level"),
    [(2.0, 0.4899, 0.49), (2.0, 0.495, 0.495), (1.0, 0.989, 0.99), (0.5, 0.999, 1.0)],
)
def test_levels_stay_below_the_limit(strength, start, level):
    loss = ASLPMC(1, strength=strength, lam=0.0, eta=0.0)
    assert loss.bounded(torch.tensor([start, -0.1])).tolist() == pytest.approx([min(start, level), 0.0])
    assert loss.bounded(torch.tensor([9.0])).tolist() == pytest.approx(
        [1.0 if strength < 1 else level], abs=6e-3
    )


def test_saturated_logits_count_as_much_as_in_the_published_code():
    loss = ASLPMC(1, warmup=1, lam=0.0)
    loss.epoch.fill_(1)
    loss.accuracy.fill_(0.9)
    loss.observe(torch.full((1, 1, 2), 60.0), torch.ones(1, 1, 2), index=torch.tensor([0]))
    loss.step_epoch()
    assert loss.alpha.item() == pytest.approx(0.002 * 16.118)


def test_the_paper_scales_the_gain_by_b():
    margin, alpha = torch.tensor([4.0]), torch.tensor([0.0])
    code, paper = (ASLPMC(1, strength=1.0, lam=0.0, grad_scale=scale) for scale in ("inverse", "paper"))
    for loss in (code, paper):
        loss.accuracy.fill_(0.9)
    assert code.raised(alpha, margin).item() == pytest.approx(0.002 * 8)
    assert paper.raised(alpha, margin).item() == pytest.approx(0.002 * 2)


def test_the_stable_preset_converges_and_the_reference_jumps():
    def course(loss):
        loss.accuracy.fill_(0.95)
        alpha, seen = torch.zeros(1, dtype=torch.float64), []
        for _ in range(60):
            alpha = loss.bounded(loss.raised(alpha, torch.tensor([8.0], dtype=torch.float64)))
            seen.append(alpha.item())
        return seen

    stable = ASLPMC(1)
    assert stable.eta * stable.lam * stable.b == pytest.approx(0.8)
    limit = 0.05 + 8 / stable.lam
    assert course(stable)[-1] == pytest.approx(limit, abs=1e-9)
    with pytest.warns(UserWarning, match="do not converge"):
        reference = ASLPMC(1, preset="reference")
    assert (reference.eta, reference.lam) == (0.002, 2000.0)
    late = course(reference)[-10:]
    assert max(late) - min(late) > 0.02


def test_the_published_script_is_a_strength_of_four():
    with pytest.warns(UserWarning, match="no lower bound|do not converge"):
        loss = ASLPMC(1, preset="reference", beta_code=2.0, allow_out_of_range=True)
    loss.accuracy.fill_(0.95)
    alpha, seen = torch.zeros(1, dtype=torch.float64), []
    for _ in range(5):
        alpha = loss.bounded(loss.raised(alpha, torch.tensor([8.0], dtype=torch.float64)))
        seen.append(round(alpha.item(), 6))
    assert seen == [0.008, 0.016, 0.024, 0.032, 0.0]


def test_entropy_grows_until_it_costs_accuracy():
    loss = ASLPMEI(2, warmup=1, eta=0.01, lam=100.0)
    right = torch.ones(2, 1, 4)
    for hits, expected in ((4, [0.0, 0.0]), (4, [0.03, 0.03]), (3, [0.06, 0.06]), (4, [0.0, 0.0])):
        logits = torch.full((2, 1, 4), 3.0)
        loss.observe(logits, right, index=torch.tensor([0, 1]))
        logits[..., hits:] = -3.0
        loss.observe(logits, right)
        loss.step_epoch()
        assert loss.alpha.tolist() == pytest.approx(expected)
    assert loss.best.item() == 1.0


def test_the_reference_accuracy_may_be_given():
    loss = ASLPMEI(2, reference=0.8)
    for accuracy, constraint in ((0.75, -0.05), (0.85, 0.0)):
        loss.accuracy.fill_(accuracy)
        assert loss.constraint(loss.alpha).item() == pytest.approx(constraint)


def test_the_table_names_the_most_perturbed_first():
    loss = ASLPMC(3)
    loss.alpha.copy_(torch.tensor([0.1, 0.3, 0.2]))
    assert [name for name, _ in loss.levels_table(["a", "b", "c"])] == ["b", "c", "a"]
    with pytest.raises(InputError, match="2 ids do not fit 3 levels"):
        loss.levels_table("ab")


@pytest.mark.parametrize("flavour", ["aslp_mc", "aslp_mei"])
def test_a_restored_loss_goes_on_as_the_saved_one(flavour):
    def make():
        return create(flavour, num_samples=IMAGES, warmup=1, generator=torch.Generator().manual_seed(5))

    loss, restored = make(), make()
    for epoch in range(3):
        _epoch(loss, torch.arange(IMAGES), seed=epoch)
    logits, target = _maps()
    ids = torch.tensor([1, 4])
    loss.observe(logits[ids], target[ids], index=ids)
    loss.observe(logits[:3], target[:3])
    restored.load_state_dict(copy.deepcopy(loss.state_dict()))
    for epoch in range(3, 6):
        for one, two in zip(
            *(_epoch(x, torch.arange(IMAGES), seed=epoch) for x in (loss, restored)), strict=True
        ):
            assert torch.equal(one, two)
    for name, value in loss.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name]), name


def test_the_state_is_read_without_unpickling(tmp_path):
    loss = ASLPMC(3, generator=torch.Generator().manual_seed(1))
    loss.alpha += torch.tensor([0.1, 0.2, 0.3])
    torch.save(loss.state_dict(), tmp_path / "state.pt")
    restored = ASLPMC(3, generator=torch.Generator().manual_seed(2))
    restored.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(restored.alpha, loss.alpha)
    one, two = (torch.rand(5, generator=x.generator) for x in (loss, restored))
    assert torch.equal(one, two)


def _course(rank):
    loss = ASLPMC(IMAGES, warmup=1)
    # Shards of unequal size; the last image is seen by both, as a sampler that pads would show it.
    mine = [torch.tensor([0, 2, 4]), torch.tensor([1, 3, 5, 6])][rank]
    judged = [torch.tensor([0, 1]), torch.tensor([2, 3, 4, 5, 6])][rank]
    course = []
    for epoch in range(4):
        logits, target = _maps(epoch)
        for ids in mine.split(2):
            loss.observe(logits[ids], target[ids], index=ids)
        if rank == 0:
            loss.observe(logits[6:], target[6:], index=torch.tensor([6]))
        loss.observe(logits[judged], target[judged])
        loss.step_epoch()
        course.append(torch.cat([loss.alpha.double(), loss.accuracy[None], loss.best[None]]))
    return torch.stack(course)


def test_two_processes_learn_what_one_learns_from_all():
    first, second = in_two(_course)
    assert torch.equal(first, second)
    alone = ASLPMC(IMAGES, warmup=1)
    for epoch in range(4):
        _epoch(alone, torch.arange(IMAGES), seed=epoch)
        torch.testing.assert_close(first[epoch, :IMAGES].float(), alone.alpha, rtol=0, atol=1e-7)
        assert first[epoch, IMAGES:].tolist() == pytest.approx([alone.accuracy.item(), alone.best.item()])
    assert alone.alpha.any()


def test_what_the_loss_is_shown():
    assert ASLPMC(3).observes == {"train", "validation"}
    assert create("cals", num_classes=3).observes == {"validation"}
    assert ScBCE(torch.zeros(3)).observes == {"train"}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"num_samples": 0}, "number of training images, not 0"),
        ({"warmup": 0}, "at least 1"),
        ({"preset": "fast"}, "preset must be"),
        ({"grad_scale": "half"}, "grad_scale must be"),
        ({"technique": "inversion"}, "technique must be one of"),
        ({"mode": "drawn"}, "mode must be"),
        ({"reference": "last"}, "reference must be 'best' or"),
        ({"reference": 95}, "reference must be 'best' or"),
    ],
)
def test_mistakes_are_refused(arguments, what):
    with pytest.raises(InputError, match=what):
        create("aslp_mc" if "preset" in arguments else "aslp_mei", **{"num_samples": 3} | arguments)


def test_the_number_of_images_must_be_known():
    with pytest.raises(InputError, match="needs num_samples"):
        create("aslp_mc")
    logits, target = _maps()
    with pytest.raises(InputError, match="pass index=ids"):
        ASLPMC(IMAGES)(logits, target)
    with pytest.raises(InputError, match=r"index must lie in \[0, 3\)"):
        ASLPMC(3)(logits, target, index=torch.arange(IMAGES))


def test_levels_are_not_learned_without_validation():
    loss = ASLPMC(IMAGES, warmup=1)
    loss.step_epoch()
    logits, target = _maps()
    with pytest.raises(InputError, match="has seen none"):
        loss.observe(logits, target, index=torch.arange(IMAGES))


def test_no_warning_without_a_reason():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ASLPMC(3), ASLPMC(3, technique="moderation")
        # Its constraint does not depend on the level, and needs no damping.
        assert ASLPMEI(3).lam == 2000.0
    assert not caught
