"""Two stages: what moves in the second, where each goes on, and a first stage that serves many."""

import pytest
import torch
from torch import nn

from calibrant.errors import InputError
from calibrant.models.heads import ScaledLinear
from calibrant.training.decouple import DecoupledModule
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import read_data, run
from calibrant.training.stages import build, build_second
from tests.training.test_runner import facts, run_with_interruptions
from tests.training.tiny import tiny_recipe

TWO_STAGES = {
    "train__mix__name": "mixup",
    "decouple__method": "mislas",
    "decouple__epochs": 3,
    "decouple__batch_size": 16,
    "decouple__loss__name": "las",
    "decouple__lr_factor": 0.5,
    "decouple__shift_bn": True,
    "decouple__sampler__extra_batches": 1,
}


def second_of(**changes: object) -> DecoupledModule:
    recipe = tiny_recipe(**{**TWO_STAGES, **changes})
    images = read_data(recipe)
    return build_second(recipe, images, build(recipe, images).network)


@pytest.mark.parametrize("steps", [[5, 14, 20], [1, 11, 13]], ids=["twice in the second", "every stage"])
def test_a_run_that_is_killed_in_either_stage_ends_with_the_same_numbers(tmp_path, monkeypatch, steps):
    recipe = tiny_recipe(**TWO_STAGES)
    whole = run(recipe, tmp_path / "whole")
    broken = run_with_interruptions(recipe, tmp_path / "broken", steps, monkeypatch)
    assert facts(broken) == facts(whole)
    for split in ("val", "test"):
        assert torch.equal(broken.predictions(split).logits, whole.predictions(split).logits)
    for stage in ("train", "decouple"):
        assert broken.stage(stage).history.read_text() == whole.stage(stage).history.read_text()
    # 40 images in batches of 16, and one batch more in the second stage: 4 x 3 and 3 x 4 steps.
    assert [len(whole.history(stage)["epoch"]) for stage in ("train", "decouple")] == [4, 3]


def test_the_first_stage_of_another_run_gives_the_same_as_an_own_one(tmp_path):
    whole = run(tiny_recipe(**TWO_STAGES), tmp_path / "whole")
    first = run(tiny_recipe(train__mix__name="mixup"), tmp_path / "first")
    for source in (first, whole):
        target = tmp_path / f"from {source.path.name}"
        other = run(tiny_recipe(**TWO_STAGES, decouple__from_run=str(source.path)), target)
        assert torch.equal(other.predictions("test").logits, whole.predictions("test").logits)
        assert not other.stage("train").weights.exists()


def test_a_first_stage_on_other_data_or_of_another_network_is_refused(tmp_path):
    run(tiny_recipe(train__epochs=1), tmp_path / "first")
    for changes, said in (
        ({"data__train": 30}, r"data\.train None, but this recipe has 30"),
        ({"model__args": {"dropout": 0.1}}, r"model\.args \{\}, but"),
    ):
        recipe = tiny_recipe(**TWO_STAGES, decouple__from_run=str(tmp_path / "first"), **changes)
        with pytest.raises(InputError, match=said):
            run(recipe, tmp_path / f"second {said}")
    nothing = tiny_recipe(**TWO_STAGES, decouple__from_run=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        run(nothing, tmp_path / "third")


@pytest.mark.parametrize(
    ("method", "moving"),
    [
        ("crt", {"classifier.weight", "classifier.bias"}),
        ("lws", {"classifier.scale"}),
        ("mislas", {"classifier.weight", "classifier.bias", "classifier.scale"}),
    ],
)
@pytest.mark.parametrize("shift", [False, True])
def test_the_second_stage_moves_the_classifier_and_if_asked_the_running_statistics(
    tmp_path, method, moving, shift
):
    recipe = tiny_recipe(**{**TWO_STAGES, "decouple__method": method, "decouple__shift_bn": shift})
    target = run(recipe, tmp_path)
    before, after = (target.read_weights(stage) for stage in ("train", "decouple"))
    changed = {name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])}
    statistics = {"body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"}
    assert changed == (moving & before.keys()) | (statistics if shift else set())
    start = second_of(decouple__method=method).network.state_dict()
    if "classifier.scale" in moving:
        assert not torch.equal(after["classifier.scale"], start["classifier.scale"])


def test_the_rates_of_classifier_and_scale_differ_by_their_factor():
    module = second_of(decouple__optimizer__lr=0.2)
    groups = {group["name"]: group["lr"] for group in module.trained()}
    assert groups == {"classifier": 0.1, "scale": 0.2}


def test_features_have_no_dropout_in_the_second_stage():
    module = second_of().train()
    modes = {type(part): part.training for part in module.network.modules()}
    assert (modes[nn.BatchNorm2d], modes[nn.Dropout], modes[ScaledLinear]) == (True, False, True)
    assert not any(part.training for part in second_of(decouple__shift_bn=False).train().network.body)


def test_batch_norms_that_the_first_stage_did_not_train_do_not_shift():
    recipe = tiny_recipe(**TWO_STAGES)
    images = read_data(recipe)
    network = build(recipe, images).network
    network.body[1].requires_grad_(False)
    assert not build_second(recipe, images, network).train().network.body[1].training


def test_tau_normalisation_trains_nothing(tmp_path):
    target = run(tiny_recipe(decouple__method="tau_norm", decouple__tau=1.0), tmp_path)
    assert not target.stage("decouple").history.exists()
    weight = target.read_weights("decouple")["classifier.weight"]
    assert torch.allclose(weight.norm(dim=1), torch.ones(3))


def test_a_damaged_first_stage_is_one_clear_sentence(tmp_path):
    recipe = tiny_recipe(**TWO_STAGES)
    target = run(recipe, tmp_path)
    target.result_path.unlink()
    path = target.stage("train").weights
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"train\.safetensors is damaged .* delete it and run again"):
        run(recipe, tmp_path)


def test_weights_of_a_killed_write_are_not_left_behind(tmp_path):
    target = RunFolder(tmp_path)
    with pytest.raises(AttributeError):
        target.write_weights("train", {"a": None}, 0.0)
    assert not list(tmp_path.rglob("*"))
