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
    changes = {"decouple__method": method, "decouple__shift_bn": shift, "decouple__lr_factor": 1.0}
    recipe = tiny_recipe(**{**TWO_STAGES, **changes})
    target = run(recipe, tmp_path)
    before, after = (target.read_weights(stage) for stage in ("train", "decouple"))
    changed = {name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])}
    statistics = {"body.1.running_mean", "body.1.running_var", "body.1.num_batches_tracked"}
    assert changed == (moving & before.keys()) | (statistics if shift else set())
    start = second_of(**changes).network.state_dict()
    if "classifier.scale" in moving:
        assert not torch.equal(after["classifier.scale"], start["classifier.scale"])


def test_the_rates_of_classifier_and_scale_differ_by_their_factor():
    module = second_of(decouple__optimizer__lr=0.2)
    groups = {group["name"]: group["lr"] for group in module.trained()}
    assert groups == {"classifier": 0.1, "scale": 0.2}


@pytest.mark.parametrize(("decay", "kept"), [("sum", False), ("delta", True)])
def test_weight_decay_pulls_to_zero_or_to_the_classifier_of_the_first_stage(tmp_path, decay, kept):
    recipe = tiny_recipe(**{**TWO_STAGES, "decouple__decay": decay, "decouple__optimizer__weight_decay": 15.0})
    target = run(recipe, tmp_path)
    before, after = target.read_weights("train")["classifier.weight"], target.read_weights("decouple")
    whole = after["classifier.weight"] + (after["classifier.kept_weight"] if kept else 0)
    assert (float((whole - before).norm() / before.norm()) < 0.2) == kept


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


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"decouple__loss__name": "cee"}, "no loss 'cee'"),
        ({"model__head": "cosine", "train__loss__name": "ldam"}, "a network that ends in a linear layer"),
        ({"decouple__loss__name": "cals", "data__val": 0}, "learns on validation images, of which there"),
        (
            {
                "decouple__batch_size": 500,
                "decouple__drop_last": True,
                "decouple__sampler__name": "shuffle",
                "decouple__sampler__extra_batches": 0,
            },
            "make no whole batch of 500",
        ),
    ],
)
def test_a_second_stage_that_cannot_be_is_refused_before_the_first_is_trained(tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        run(tiny_recipe(**{**TWO_STAGES, **changes}), tmp_path)
    assert not RunFolder(tmp_path).history_path.exists()
    # The mistake leaves nothing that stands in the way of the recipe as it was meant.
    assert run(tiny_recipe(train__epochs=1), tmp_path).finished


@pytest.mark.parametrize(("loss", "head"), [("ldam", "linear"), ("ce", "cosine")])
def test_ldam_and_cosines_go_together(loss, head):
    recipe = tiny_recipe(train__loss__name=loss, model__head=head)
    with pytest.raises(InputError, match=f"'{loss}' does not go with model.head '{head}'"):
        build(recipe, read_data(recipe))


def test_a_first_stage_that_test_images_chose_is_told_of_by_what_starts_from_it(tmp_path):
    first = run(tiny_recipe(train__epochs=2, train__select="test_best"), tmp_path / "first")
    plain = run(tiny_recipe(train__epochs=2), tmp_path / "plain")
    for source, chosen in ((first, True), (plain, False)):
        second = tiny_recipe(
            decouple__method="tau_norm", decouple__select="test_best", decouple__from_run=str(source.path)
        )
        result = run(second, tmp_path / f"from {source.path.name}").result()
        assert result["selected_on_test"] is chosen
        assert result["first_stage"]["run"] == str(source.path)
        assert result["first_stage"]["train"]["epochs"] == 2


def test_the_rate_that_is_written_down_is_the_largest(tmp_path):
    target = run(tiny_recipe(**TWO_STAGES, decouple__optimizer__lr=0.2), tmp_path)
    assert target.history("decouple")["lr"][0] == pytest.approx(0.2)


def test_weights_inside_the_power_of_the_focal_loss_are_deferred_too(tmp_path):
    inside = {
        "train__loss__name": "cb_focal",
        "train__loss__args": {"form": "weight_in_exponent", "beta": 0.0},
        "train__reweight_beta": 0.9,
        "data__train": 39,
    }
    plain, later = (
        run(tiny_recipe(**inside, train__reweight_from=start), tmp_path / str(start)).history()["train_loss"]
        for start in (None, 2)
    )
    assert later[:2] == plain[:2]
    assert later[2] != plain[2]


def test_a_loss_that_weighs_the_classes_is_not_reweighted():
    recipe = tiny_recipe(train__loss__name="cb_ce", train__reweight_from=1)
    with pytest.raises(InputError, match="The loss 'cb_ce' weighs the classes already"):
        build(recipe, read_data(recipe))
