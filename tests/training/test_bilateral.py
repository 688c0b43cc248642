"""Training of a network with two branches: what a step sees, how long an epoch is, where it goes on."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses.mixing import bbn_lambda
from calibrant.models.bbn import BilateralBranchNetwork, bilateral_cifar
from calibrant.models.registry import MODELS
from calibrant.training.bilateral import BilateralModule
from calibrant.training.recipe import Recipe
from calibrant.training.runner import read_data, run
from calibrant.training.stage import count_steps
from calibrant.training.stages import build
from tests.training.test_runner import facts, run_with_interruptions
from tests.training.tiny import tiny_recipe


def smallest(num_classes: int, in_channels: int = 1) -> BilateralBranchNetwork:
    """The smallest bilateral-branch network."""
    return bilateral_cifar(num_classes, 14, in_channels)


MODELS.register("tiny_bilateral")(smallest)


def bilateral(**changes: object) -> Recipe:
    return tiny_recipe(**{"model__name": "tiny_bilateral", "train__sampler__name": "bilateral", **changes})


def module_at(epoch: int, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> BilateralModule:
    module = build(recipe, read_data(recipe))
    assert isinstance(module, BilateralModule)
    monkeypatch.setattr(BilateralModule, "current_epoch", epoch)
    return module


def test_the_loss_of_a_step_is_that_of_both_halves_by_the_share_of_the_epoch(monkeypatch):
    module = module_at(3, bilateral(), monkeypatch)
    images = torch.rand(10, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    target = torch.arange(10) % 3
    alpha = bbn_lambda(3, 4)
    assert alpha == 1 - 9 / 16
    got = module._loss_of({"image": images, "target": target, "id": target, "index": target})
    logits = module.network(images[:5], images[5:], alpha)
    rows = (
        torch.nn.functional.cross_entropy(logits, target[:5]),
        torch.nn.functional.cross_entropy(logits, target[5:]),
    )
    torch.testing.assert_close(got, alpha * rows[0] + (1 - alpha) * rows[1])


def test_the_share_of_a_shorter_training_can_end_above_0(monkeypatch):
    images, target = torch.rand(8, 1, 8, 8), torch.arange(8) % 3
    batch = {"image": images, "target": target, "id": target, "index": target}
    module = module_at(3, bilateral(train__sampler__horizon=10), monkeypatch)
    shares = []
    module.network.register_forward_pre_hook(lambda _, given: shares.append(float(given[2])))
    module._loss_of(batch)
    assert shares == [pytest.approx(1 - 0.3**2)]
    with pytest.raises(InputError, match=r"horizon 3 is over before the 4 epochs"):
        module_at(0, bilateral(train__sampler__horizon=3), monkeypatch)


def test_the_reversed_branch_learns_nothing_while_it_has_no_share(monkeypatch):
    images, target = torch.rand(8, 1, 8, 8), torch.arange(8) % 3
    batch = {"image": images, "target": target, "id": target, "index": target}
    for epoch, still in ((0, True), (1, False)):
        module = module_at(epoch, bilateral(), monkeypatch)
        module._loss_of(batch).backward()
        silent = [bool(p.grad.abs().max() == 0) for p in module.network.branch_b.parameters() if p.dim() == 4]
        assert silent == [still] * 2


@pytest.mark.parametrize(("drop_last", "steps"), [(False, 3), (True, 2)])
def test_an_epoch_has_as_many_steps_as_one_branch_has_batches(tmp_path, monkeypatch, drop_last, steps):
    # 40 images in batches of 16 for each branch.
    recipe = bilateral(train__epochs=2, train__drop_last=drop_last)
    assert count_steps(recipe.train, read_data(recipe), recipe.trainer) == 2 * steps
    monkeypatch.setattr("calibrant.training.callbacks.PAUSE", 0.0)
    told = []
    run(recipe, tmp_path, listener=lambda done, total, _: told.append((done, total)))
    assert told[-1] == (2 * steps, 2 * steps)


@pytest.mark.parametrize("changes", [{}, {"train__drop_last": True, "train__reweight_from": 2}])
def test_an_interrupted_run_ends_with_the_same_numbers(tmp_path, monkeypatch, changes):
    recipe = bilateral(**changes)
    whole = run(recipe, tmp_path / "whole")
    broken = run_with_interruptions(recipe, tmp_path / "broken", [2, 5, 7], monkeypatch)
    assert facts(broken) == facts(whole)
    for split in ("val", "test"):
        assert torch.equal(broken.predictions(split).logits, whole.predictions(split).logits)
    assert broken.history_path.read_text() == whole.history_path.read_text()
    assert whole.predictions("test").logits.shape == (50, 3)


def test_a_second_stage_may_follow(tmp_path):
    second = {"decouple__method": "crt", "decouple__epochs": 1, "decouple__batch_size": 16}
    target = run(bilateral(train__epochs=1, **second), tmp_path)
    before, after = (target.read_weights(stage) for stage in ("train", "decouple"))
    changed = {name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])}
    assert changed == {"classifier.weight", "classifier.bias"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__sampler__name": "shuffle"}, r"set train\.sampler\.name to 'bilateral'"),
        ({"model__name": "tiny_net"}, "which the network 'tiny_net' is not"),
        ({"train__mix__name": "mixup"}, r"set train\.mix\.name to 'none', not 'mixup'"),
        ({"trainer__devices": 2}, r"set trainer\.devices to 1"),
        ({"train__loss__name": "crl"}, "learns from each image by itself"),
        ({"train__sampler__extra_batches": 1}, "extra_batches must be 0"),
        ({"decouple__method": "crt", "decouple__sampler__name": "bilateral"}, r"decouple\.sampler\.name 'bil"),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(tmp_path, changes, said):
    with pytest.raises(InputError, match=said) as caught:
        run(bilateral(**changes), tmp_path)
    assert "\n" not in str(caught.value)


def test_any_loss_on_rows_or_batches_learns_from_pairs(tmp_path):
    for name in ("mbls", "cals", "mdca"):
        recipe = bilateral(train__epochs=1, train__loss__name=name)
        assert run(recipe, tmp_path / name).finished
