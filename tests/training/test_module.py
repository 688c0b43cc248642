"""The protocol between a stage and its loss."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses import Loss, create
from calibrant.losses.registry import LOSSES
from calibrant.training.module import make_optimizer
from calibrant.training.recipe import OptimizerConfig
from calibrant.training.runner import read_data, run
from calibrant.training.stages import build, build_second
from tests.training.tiny import tiny_recipe

CALLS: list[tuple[str, int]] = []


class Recorder(Loss):
    """Cross-entropy that notes what it is shown."""

    def __init__(self, num_classes: int, class_counts: Tensor) -> None:
        super().__init__()
        assert len(class_counts) == num_classes
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def formula(self, batch):
        CALLS.append(("loss", -1 if batch.index is None else len(batch.index)))
        return {"ce": -batch.at_target(batch.logits.log_softmax(1))}

    def observe(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> None:
        assert not logits.requires_grad
        CALLS.append(("observe", len(logits)))

    def step_epoch(self) -> None:
        self.epochs += 1
        CALLS.append(("step", int(self.epochs)))


class SampleRecorder(Recorder):
    """The same, per sample."""

    needs_index = True


LOSSES.register("recorder")(Recorder)
LOSSES.register("sample_recorder")(SampleRecorder)


def test_a_learning_loss_sees_every_validation_batch_then_the_end_of_the_epoch(tmp_path):
    CALLS.clear()
    run(tiny_recipe(train__loss__name="recorder", train__epochs=2, train__validate_every=2), tmp_path)
    epoch = [("loss", -1)] * 3 + [("observe", 30)]
    assert [*epoch, ("step", 1), *epoch, ("step", 2)] == CALLS


def test_a_loss_that_learns_per_sample_sees_training_batches_with_their_ids(tmp_path):
    CALLS.clear()
    run(tiny_recipe(train__loss__name="sample_recorder", train__epochs=1), tmp_path)
    steps = [call for size in (16, 16, 8) for call in (("loss", size), ("observe", size))]
    assert [*steps, ("step", 1)] == CALLS


def test_the_state_of_a_loss_is_in_the_checkpoint(tmp_path):
    target = run(tiny_recipe(train__loss__name="recorder", train__epochs=3), tmp_path)
    state = torch.load(target.checkpoint_path, weights_only=True)["state_dict"]
    assert state["loss.epochs"] == 3


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_weight_decay_is_on_every_parameter(name):
    recipe = tiny_recipe()
    module = build(recipe, read_data(recipe))
    optimizer = make_optimizer(module.trained(), OptimizerConfig(name, lr=0.2, weight_decay=0.3))
    (group,) = optimizer.param_groups
    assert len(group["params"]) == len(list(module.network.parameters()))
    assert (group["lr"], group["weight_decay"]) == (0.2, 0.3)


def test_the_gradient_is_clipped_to_its_norm(tmp_path):
    moved = {}
    for clip in (None, 1e-3):
        recipe = tiny_recipe(train__epochs=1, train__batch_size=40, train__clip=clip,
                             train__optimizer__weight_decay=0.0)  # fmt: skip
        before = build(recipe, read_data(recipe)).network.state_dict()
        target = run(recipe, tmp_path / str(clip))
        after = torch.load(target.checkpoint_path, weights_only=True)["state_dict"]
        names = [n for n, _ in build(recipe, read_data(recipe)).network.named_parameters()]
        moved[clip] = sum(((after[f"network.{n}"] - before[n]) ** 2).sum() for n in names).sqrt().item()
    assert moved[1e-3] == pytest.approx(0.1 * 1e-3, rel=1e-2)
    assert moved[None] > 10 * moved[1e-3]


def test_validation_chooses_the_epoch_unless_told_otherwise(tmp_path):
    wild = {"train__optimizer__lr": 4.0, "train__schedule__name": "constant", "train__epochs": 5}
    history = run(tiny_recipe(**wild), tmp_path / "None").history()["val_accuracy"]
    assert max(history) > history[-1]
    accuracy = {}
    for select in (None, "best", "last"):
        target = run(tiny_recipe(**wild, train__select=select), tmp_path / str(select))
        accuracy[select] = target.result()["metrics"]["val"]["none"]["accuracy"]["value"]
    best, last = pytest.approx(max(history)), pytest.approx(history[-1])
    assert accuracy == {None: best, "best": best, "last": last}
    blind, same = (
        run(tiny_recipe(**wild, data__val=0, train__select=select), tmp_path / f"blind-{select}")
        for select in (None, "last")
    )
    assert torch.equal(blind.predictions("test").logits, same.predictions("test").logits)


@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("ce", {"reduction": "sum"}, (6, 3)),
        ("ce", {"weight": [1.0, 10.0, 2.0]}, (6, 3)),
        ("bce", {"weight": [1.0, 10.0]}, (4, 1, 5, 5)),
        ("bce", {"weight": [1.0, 10.0], "reduction": "sum"}, (4, 1, 5, 5)),
    ],
)
@pytest.mark.parametrize("soft", [False, True])
def test_processes_have_together_the_gradient_of_one(monkeypatch, name, settings, shape, soft):
    recipe = tiny_recipe()
    module = build(recipe, read_data(recipe))
    module.loss = create(name, **settings)
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if name == "bce":
        # Unlike parts: nothing in the first, objects in the second.
        target = torch.tensor([0.0, 0.0, 0.9, 1.0])[:, None, None, None].expand(shape)
        target = target if soft else target.round().long()
    else:
        target = (3 * logits).softmax(1) if soft else torch.tensor([0, 0, 1, 1, 1, 2])
    whole = float(module.loss(logits, target))
    parts = (slice(0, 2), slice(2, None))
    monkeypatch.setattr(type(module), "trainer", SimpleNamespace(world_size=2))
    masses: list[Tensor] = []
    monkeypatch.setattr("calibrant.training.module.sum_over_processes", lambda own: masses.append(own.clone()))
    for part in parts:
        module._shared(module.loss(logits[part], target[part]), target[part])
    monkeypatch.setattr("calibrant.training.module.sum_over_processes", lambda own: own.copy_(sum(masses)))
    shared = [module._shared(module.loss(logits[part], target[part]), target[part])[0] for part in parts]
    assert float(sum(shared) / 2) == pytest.approx(whole, rel=1e-5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"loss__args": {"reduction": "none"}}, "loss.args.reduction must be 'mean' or 'sum' in training"),
        ({"loss__name": "cb_ce", "reweight_from": 0}, "reweight_from to null"),
        ({"loss__name": "cb_focal", "reweight_from": 0}, "reweight_from to null"),
        ({"loss__name": "crl", "mix__name": "mixup"}, "mix.name 'mixup' mixes with another"),
    ],
)
@pytest.mark.parametrize("stage", ["train", "decouple"])
def test_what_a_stage_cannot_be_is_said_by_the_name_of_the_stage(changes, said, stage):
    settings = {f"{stage}__{key}": value for key, value in changes.items()}
    if stage == "decouple":
        settings["decouple__method"] = "crt"
    recipe = tiny_recipe(**settings)
    images = read_data(recipe)
    with pytest.raises(InputError, match=f"{stage}.{said}"):
        build_second(recipe, images, build(recipe, images).network) if stage == "decouple" else build(
            recipe, images
        )


@pytest.mark.parametrize("loss", ["ldam", "bce", "nacl"])
def test_a_second_stage_refuses_a_loss_that_its_classifier_cannot_have(loss):
    recipe = tiny_recipe(decouple__method="crt", decouple__loss__name=loss)
    images = read_data(recipe)
    with pytest.raises(InputError, match=f"'{loss}' cannot train the linear classifier of a second stage"):
        build_second(recipe, images, build(recipe, images).network)


def test_each_stage_augments_by_its_own_seed():
    recipe = tiny_recipe()
    drawn = {}
    for first in (None, 5):
        images = read_data(recipe)
        for seed in (first, 7):
            if seed is not None:
                images.loading = replace(images.loading, seed=seed)
                drawn[first, seed] = torch.rand(3, generator=images._epoch_generator(torch.zeros(1)))
    assert torch.equal(drawn[None, 7], drawn[5, 7])
    assert not torch.equal(drawn[5, 5], drawn[5, 7])
