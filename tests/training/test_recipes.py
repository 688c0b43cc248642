"""Every shipped recipe: it resolves, builds, and takes two steps on data of its layout."""

import pytest
import torch
from lightning.pytorch import Trainer

from calibrant import data
from calibrant.data import ImageData
from calibrant.data.image_set import ImageSet, ImageTask
from calibrant.losses import list_losses
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import TrainerConfig
from calibrant.training.recipe_files import list_recipes, load_recipe, summary
from calibrant.training.stage import loading, quiet
from calibrant.training.stages import build, build_second


def miniature(name: str) -> ImageTask:
    """Return a few random images in the shape of a data set."""
    if name == "digits":
        return data.create("digits")
    classes = {"cifar10": 10, "cifar100": 100}[name.removesuffix("_lt")]
    generator = torch.Generator().manual_seed(0)

    def part(count: int) -> ImageSet:
        pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
        return ImageSet(pixels, torch.arange(count) % classes, torch.arange(count))

    names = [str(c) for c in range(classes)]
    # The published long-tailed sets have no validation images.
    held_out = 0 if name.endswith("_lt") else 8
    return ImageTask(part(300), part(held_out), part(8), names, mean=[120.0] * 3, std=[60.0] * 3)


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_builds_and_takes_two_steps(name):
    # The published network is built; two steps of it cost seconds, so they are taken by a small one.
    recipe = load_recipe(name)
    images = ImageData(miniature(recipe.data.name))
    with torch.device("meta"):
        assert sum(p.numel() for p in build_network(recipe, images).parameters()) > 1000
    if recipe.model.name == "resnet50_cifar":
        recipe.model.name = "resnet20"
    module = build(recipe, images)
    take_two_steps(module, images, recipe.trainer)
    if recipe.decouple.method not in ("none", "tau_norm"):
        take_two_steps(build_second(recipe, images, module.network), images, recipe.trainer)


def take_two_steps(module: TrainingModule, images: ImageData, config: TrainerConfig) -> None:
    """Take two steps; every parameter that is trained moves, and no other."""
    images.loading = loading(module.stage, config, 0)
    before = [(p, p.requires_grad, p.detach().clone()) for p in module.network.parameters()]
    with quiet():
        trainer = Trainer(
            accelerator="cpu",
            max_steps=2,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            gradient_clip_val=module.stage.clip,
        )
        trainer.fit(module, datamodule=images)
    assert trainer.global_step == 2
    assert all(torch.equal(p, old) != trained for p, trained, old in before)


def build_network(recipe, images) -> TrainingModule:
    from calibrant import models

    classes = len(images.class_names)
    return models.create(
        recipe.model.name, num_classes=classes, in_channels=images.channels, **recipe.model.args
    )


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_names_losses_that_exist_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert set(recipe.losses) <= set(list_losses())
    assert recipe.last_stage.loss.name in list_losses()
    line = summary(name)
    assert line.endswith((".", "."))
    assert len(line) > 20
    if name != "digits":
        assert "published" in line


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("cifar10/")])
def test_cifar10_recipes_are_as_published(name):
    train = load_recipe(name).train
    assert (train.optimizer.name, train.optimizer.lr, train.optimizer.momentum) == ("sgd", 0.1, 0.9)
    assert (train.optimizer.weight_decay, train.optimizer.nesterov) == (5e-4, False)
    assert (train.batch_size, train.drop_last, train.clip, train.augment) == (128, True, 2.0, True)
    assert load_recipe(name).model.name == "resnet50_cifar"
    assert load_recipe(name).train.loss.name == name.removeprefix("cifar10/")
