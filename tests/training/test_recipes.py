"""Every shipped recipe: it resolves, builds, and takes two steps on data of its layout."""

import re

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from calibrant import models
from calibrant.data import Data, DenseData, FileImageData
from calibrant.losses import list_losses
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import TrainerConfig
from calibrant.training.recipe_files import list_recipes, load_recipe, shipped, summary
from calibrant.training.stage import loading, quiet
from calibrant.training.stages import build, build_second
from tests.training import tiny  # noqa: F401, registers the small networks
from tests.training.miniatures import read_miniature


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_builds_and_takes_two_steps(name):
    # The published network is built; two steps of it cost seconds, so they are taken by a small one.
    recipe = load_recipe(name)
    # Nothing is downloaded here.
    for option in ("pretrained", "weights_backbone", "weights"):
        recipe.model.args.pop(option, None)
    images = read_miniature(recipe)
    with torch.device("meta"):
        assert sum(p.numel() for p in build_network(recipe, images).parameters()) > 1000
    deep = ["resnet50_cifar", "resnet101_cifar", "resnet32", "resnet56"]
    small = dict.fromkeys([*deep, "resnet34_tiny", "resnet50_tiny", "resnet101_tiny"], "resnet20")
    small |= dict.fromkeys(["timm:resnet50", "timm:resnet50.tv_in1k"], "tiny_net")
    small |= {f"torchvision:resnet{depth}": "tiny_net" for depth in (50, 101, 152)}
    small |= {"timm:swinv2_tiny_window8_256": "tiny_net", "bbn_resnet50": "bbn_resnet32"}
    small |= {"places_resnet152": "tiny_net"}
    small |= dict.fromkeys(["aslp", "torchvision:deeplabv3_resnet50"], "tiny_dense_net")
    if recipe.model.name in small:
        recipe.model.name, recipe.model.args = small[recipe.model.name], {}
    for stage in (recipe.train, recipe.decouple):
        stage.batch_size = min(stage.batch_size, 2 if isinstance(images, FileImageData) else 8)
    module = build(recipe, images)
    take_two_steps(module, images, recipe.trainer)
    if recipe.decouple.method not in ("none", "tau_norm"):
        take_two_steps(build_second(recipe, images, module.network), images, recipe.trainer)


def take_two_steps(module: TrainingModule, images: Data, config: TrainerConfig) -> None:
    """Take two steps; every parameter that is trained moves, and no other."""
    images.loading = loading(module.stage, config, 0)
    before = [(p, p.requires_grad, p.detach().clone()) for p in moving(module)]
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


def moving(module: TrainingModule) -> list[nn.Parameter]:
    """Return the parameters whose moves are told by whether they are trained.

    In the first epoch the reversed branch of BBN has the share 0: its weights decay, and its zeros stay.
    """
    resting = [
        p for name, p in module.network.named_parameters() if name.startswith("branch_b") and not p.any()
    ]
    return [p for p in module.network.parameters() if all(p is not other for other in resting)]


def build_network(recipe, images) -> nn.Module:
    if isinstance(images, DenseData):
        return models.create_dense(recipe.model.name, **images.context, **recipe.model.args)
    classes = len(images.class_names)
    return models.create(recipe.model.name, num_classes=classes, **images.context, **recipe.model.args)


@pytest.mark.parametrize("name", list_recipes())
def test_a_recipe_names_losses_that_exist_and_says_what_it_is(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert set(recipe.losses) <= set(list_losses())
    assert recipe.last_stage.loss.name in list_losses()
    line = summary(name)
    assert line.endswith(".")
    assert len(line) > 20
    if name != "digits":
        assert "published" in line
    if name not in ("digits", "image_folder", "r52"):
        # Where its figures, or its loss, come from.
        lines = (shipped() / f"{name}.yaml").read_text().splitlines()
        source = " ".join(said for said in lines[1:] if said.startswith("#"))
        assert re.search(r"(CVPR|ICCV|ECCV|ICLR|NeurIPS|AAAI|IPMI|MICCAI)\D{0,12}20\d\d", source)


@pytest.mark.parametrize("name", [n for n in list_recipes() if re.search(r"_r1\d\d/", n)])
def test_a_deeper_network_is_trained_as_the_usual_one(name):
    group, method = name.split("/")
    data, depth = group.rsplit("_r", 1)
    recipe, parent = load_recipe(name), load_recipe(f"{data}/{method}")
    images = read_miniature(load_recipe(name))
    with torch.device("meta"):
        network = build_network(recipe, images)
    assert sum(p.numel() for p in network.parameters()) > {"101": 42, "152": 58}[depth] * 1e6
    assert summary(name).split("; published")[0] == summary(f"{data}/{method}").split("; published")[0].replace(
        "ResNet-50", f"ResNet-{depth}"
    )
    recipe.model, recipe.name = parent.model, parent.name
    assert recipe == parent
