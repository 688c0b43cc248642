"""Every shipped recipe: it resolves, builds, and takes two steps on data of its layout."""

import re

import pytest
import torch
from lightning.pytorch import Trainer
from torch import nn

from calibrant import models
from calibrant.data import Data, DenseData, FileImageData
from calibrant.losses import create, list_losses
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import TrainerConfig
from calibrant.training.recipe_files import list_recipes, load_recipe, shipped, summary
from calibrant.training.schedules import rate_factor
from calibrant.training.stage import count_steps, loading, quiet
from calibrant.training.stages import build, build_second
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
    small = {"resnet50_cifar": "resnet20", "resnet32": "resnet20"}
    small |= {"resnet50_tiny": "resnet20"}
    small |= dict.fromkeys(["timm:resnet50", "timm:resnet50.tv_in1k", "torchvision:resnet50"], "tiny_net")
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


@pytest.mark.parametrize("name", [n for n in list_recipes() if "ecp" in load_recipe(n).losses])
def test_the_published_weight_of_the_entropy_is_for_its_mean_over_the_classes(name):
    losses = load_recipe(name).losses
    assert losses["ecp"] == {"class_reduction": "mean"}


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith(("cifar10/", "cifar100/"))])
def test_cifar_recipes_are_as_published(name):
    train = load_recipe(name).train
    assert (train.optimizer.name, train.optimizer.lr, train.optimizer.momentum) == ("sgd", 0.1, 0.9)
    assert (train.optimizer.weight_decay, train.optimizer.nesterov) == (5e-4, False)
    assert (train.batch_size, train.drop_last, train.clip, train.augment) == (128, True, 2.0, True)
    assert (train.epochs, train.schedule.name, train.schedule.milestones) == (200, "multistep", [80, 120])
    assert (train.schedule.gamma, train.schedule.warmup, train.select) == (0.1, 0, "best")
    recipe = load_recipe(name)
    assert (recipe.data.val, recipe.model.name) == (5000, "resnet50_cifar")
    assert train.loss.name == name.partition("/")[2].removesuffix("_margin_0")


@pytest.mark.parametrize("data", ["cifar10", "tiny_imagenet"])
def test_margin_0_is_mbls_with_another_margin(data):
    recipe, parent = load_recipe(f"{data}/mbls_margin_0"), load_recipe(f"{data}/mbls")
    assert recipe.train.loss.args == {"margin": 0.0}
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


#: Imbalance, smoothing at head and tail, shifted batch norm, rate of the classifier, as released.
MISLAS = {
    "cifar10_lt/mislas": (None, 0.3, 0.0, False, 0.5),
    "cifar10_lt/mislas_50": (50, 0.2, 0.0, False, 0.2),
    "cifar10_lt/mislas_10": (10, 0.1, 0.0, False, 0.2),
    "cifar100_lt/mislas": (None, 0.4, 0.1, True, 0.2),
    "cifar100_lt/mislas_50": (50, 0.3, 0.0, True, 0.1),
    "cifar100_lt/mislas_10": (10, 0.2, 0.0, True, 0.1),
}


@pytest.mark.parametrize("name", MISLAS)
def test_mislas_is_as_released_for_every_imbalance(name):
    recipe = load_recipe(name)
    second = recipe.decouple
    args = second.loss.args
    assert (second.method, second.loss.name, second.epochs) == ("mislas", "las", 10)
    ours = (recipe.data.imbalance, args["eps_head"], args["eps_tail"], second.shift_bn, second.lr_factor)
    assert ours == MISLAS[name]
    assert (recipe.train.mix.name, recipe.train.mix.alpha, recipe.train.epochs) == ("mixup", 1.0, 200)
    assert (second.sampler.name, second.sampler.extra_batches, second.mix.name) == ("class_balanced", 1, "none")


LONG_TAILED = [name for name in list_recipes() if name.startswith(("cifar10_lt/", "cifar100_lt/"))]


@pytest.mark.parametrize("name", LONG_TAILED)
def test_long_tailed_recipes_have_the_optimizer_of_the_published_code(name):
    recipe = load_recipe(name)
    assert recipe.data.name == name.split("/")[0]
    first = recipe.train
    assert (first.optimizer.lr, first.optimizer.momentum, first.optimizer.weight_decay) == (0.1, 0.9, 2e-4)
    assert (first.batch_size, first.augment, first.clip) == (128, True, 2.0 if recipe.data.val else None)
    assert recipe.model.name == ("bbn_resnet32" if "/bbn" in name else "resnet32")
    assert first.epochs == (300 if "remix" in name else 200)
    second = recipe.decouple
    if second.method in ("crt", "lws", "mislas"):
        assert (second.optimizer, second.batch_size, second.epochs) == (first.optimizer, 128, 10)
        assert (second.schedule.name, second.schedule.final, second.mix.name) == ("cosine", 0.0, "none")
        sampler = second.sampler
        assert (sampler.name, sampler.per_class, sampler.extra_batches) == ("class_balanced", 4, 1)


def without_tail(name: str) -> tuple[str, int | None]:
    """Return the name of a long-tailed recipe without its imbalance, and that imbalance."""
    method, _, imbalance = name.rpartition("_")
    return (method, int(imbalance)) if imbalance in ("50", "10") else (name, None)


@pytest.mark.parametrize("name", LONG_TAILED)
def test_the_imbalance_is_that_of_the_name(name):
    assert load_recipe(name).data.imbalance == without_tail(name)[1]


@pytest.mark.parametrize("name", [n for n in LONG_TAILED if n.startswith("cifar10_lt/") and "mislas" not in n])
def test_a_recipe_of_another_imbalance_differs_in_it_alone(name):
    recipe, parent = load_recipe(name), load_recipe(without_tail(name)[0])
    recipe.data.imbalance, recipe.name = parent.data.imbalance, parent.name
    assert recipe == parent


@pytest.mark.parametrize("name", [n for n in LONG_TAILED if n.startswith("cifar100_lt/") and "mislas" not in n])
def test_a_recipe_of_cifar100_is_that_of_cifar10_on_other_data(name):
    ours, other = load_recipe(name), load_recipe(without_tail(name)[0].replace("cifar100", "cifar10"))
    assert ours.data.name == "cifar100_lt"
    assert (ours.train, ours.decouple, ours.model) == (other.train, other.decouple, other.model)


@pytest.mark.parametrize("tail", ["", "_50", "_10"])
def test_cb_ce_takes_the_place_of_the_smoothing_alone(tail):
    recipe, parent = load_recipe(f"cifar100_lt/mislas_cb_ce{tail}"), load_recipe(f"cifar100_lt/mislas{tail}")
    assert (recipe.decouple.loss.name, recipe.decouple.loss.args) == ("cb_ce", {})
    recipe.decouple.loss, recipe.name = parent.decouple.loss, parent.name
    assert recipe == parent


def test_bbn_on_photographs_is_as_released():
    recipe = load_recipe("inaturalist2018/bbn")
    train, sampler = recipe.train, recipe.train.sampler
    rates = [rate_factor(train.schedule, e, train.epochs) for e in (0, 118, 119, 158, 159, 179)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    assert (train.epochs, train.batch_size, sampler.name, sampler.horizon) == (180, 128, "bilateral", 200)
    assert (train.optimizer.lr, train.optimizer.weight_decay, train.optimizer.nesterov) == (0.05, 1e-4, True)
    assert (train.drop_last, train.mix.name, train.select) == (True, "none", None)


def test_bbn_has_the_rates_of_its_scheduler():
    train = load_recipe("cifar10_lt/bbn").train
    rates = {e: rate_factor(train.schedule, e, train.epochs) for e in (0, 1, 3, 4, 118, 119, 158, 159, 199)}
    # The published scheduler steps before each epoch, from a third of the rate at its step 0.
    expected = {0: 7 / 15, 1: 0.6, 3: 13 / 15, 4: 1, 118: 1, 119: 1e-2, 158: 1e-2, 159: 1e-4, 199: 1e-4}
    assert rates == pytest.approx(expected)
    assert (train.optimizer.nesterov, train.drop_last, train.mix.name) == (True, True, "none")
    images = read_miniature(load_recipe("cifar10_lt/bbn"))
    assert count_steps(train, images, TrainerConfig()) == 200 * (len(images.task.train) // 128)


@pytest.mark.parametrize("name", ["validated", "ls", "mbls", "acls", "cals", "cals_hr"])
def test_the_validated_recipes_differ_in_their_loss_alone(name):
    recipe, parent = load_recipe(f"cifar10_lt/{name}"), load_recipe("cifar10_lt/validated")
    assert (recipe.data.val, recipe.posthoc) == (1000, ["temperature"])
    loss = "ce" if name == "validated" else name
    assert (recipe.train.loss.name, recipe.train.loss.args) == (loss, parent.losses[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


#: Options of the losses of newsgroups that a comparison does not run of itself.
POSTER = {
    "brier": {},
    "dca": {"beta": 1.0},
    "mdca": {"beta": 1.0, "gamma": 1.0},
    "mmce_w": {"alpha": 8.0, "normalization": "reference"},
}


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("newsgroups/")])
def test_newsgroup_recipes_are_as_published_and_differ_in_their_loss_alone(name):
    recipe, parent = load_recipe(name), load_recipe("newsgroups/ce")
    train, optimizer = recipe.train, recipe.train.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.betas) == ("adam", 0.01, (0.9, 0.999))
    assert (optimizer.weight_decay, train.batch_size, train.drop_last) == (5e-4, 128, True)
    assert (train.clip, recipe.data.val, recipe.data.split_seed) == (None, 900, 1)
    assert recipe.data.args == {"counted": "all"}
    assert (train.epochs, train.schedule.milestones, train.select) == (20, [10, 15], "best")
    loss = name.removeprefix("newsgroups/")
    assert (recipe.train.loss.name, recipe.train.loss.args) == (loss, (parent.losses | POSTER)[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


def test_r52_is_trained_as_the_newsgroups():
    recipe, parent = load_recipe("r52"), load_recipe("newsgroups/ce")
    assert (recipe.data.name, recipe.data.val, recipe.data.args["groups"]) == ("text_table", 653, "counts")
    assert (recipe.train, recipe.model, recipe.losses) == (parent.train, parent.model, parent.losses)


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("voc/")])
def test_voc_recipes_are_as_published_and_differ_in_their_loss_alone(name):
    recipe, parent = load_recipe(name), load_recipe("voc/ce")
    train = recipe.train
    assert (train.optimizer.name, train.optimizer.momentum, train.optimizer.weight_decay) == ("sgd", 0.9, 5e-4)
    assert (train.batch_size, train.clip, train.select, recipe.data.val) == (8, 2.0, "best", 293)
    loss = name.removeprefix("voc/")
    assert (recipe.train.loss.name, recipe.train.loss.args) == (loss, parent.losses[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("tiny_imagenet/")])
def test_tiny_imagenet_recipes_are_as_published_and_differ_in_their_loss_alone(name):
    recipe, parent = load_recipe(name), load_recipe("tiny_imagenet/ce")
    train = recipe.train
    assert (train.optimizer.lr, train.optimizer.momentum, train.optimizer.weight_decay) == (0.1, 0.9, 5e-4)
    assert (train.batch_size, train.epochs, train.drop_last, train.clip) == (64, 100, False, 2.0)
    assert (recipe.model.name, train.schedule.milestones, train.select) == ("resnet50_tiny", [40, 60], "best")
    named = {n.split("/")[1] for n in list_recipes() if n.startswith("tiny_imagenet/")}
    assert set(recipe.losses) == named - {"mbls_margin_0"}
    loss = name.removeprefix("tiny_imagenet/")
    if loss != "mbls_margin_0":
        assert (recipe.train.loss.name, recipe.train.loss.args) == (loss, parent.losses[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


#: Network, epochs and decay of the first stage; smoothing at head and tail: the released settings of MiSLAS.
LISTED = {
    "imagenet_lt": ("torchvision:resnet50", 180, 5e-4, 0.3, 0.0),
    "inaturalist2018": ("torchvision:resnet50", 200, 1e-4, 0.3, 0.0),
    "places_lt": ("places_resnet152", 90, 5e-4, 0.4, 0.1),
}


@pytest.mark.parametrize("name", LISTED)
def test_mislas_is_as_released_for_the_sets_with_lists(name):
    recipe = load_recipe(f"{name}/mislas")
    first, second = recipe.train, recipe.decouple
    args = second.loss.args
    assert LISTED[name] == (
        recipe.model.name,
        first.epochs,
        first.optimizer.weight_decay,
        args["eps_head"],
        args["eps_tail"],
    )
    assert second.optimizer == first.optimizer
    assert (first.mix.name, first.mix.alpha, first.schedule.name) == ("mixup", 0.2, "cosine")
    assert (first.batch_size, second.batch_size, recipe.data.val) == (256, 256, 0)
    assert (second.method, second.loss.name, second.epochs) == ("mislas", "las", 10)
    assert (second.shift_bn, second.lr_factor, second.mix.name) == (True, 0.05, "none")
    assert (second.sampler.name, second.sampler.extra_batches) == ("class_balanced", 1)


def test_imagenet_has_the_rates_of_its_scheduler():
    train = load_recipe("imagenet/ce").train
    rates = [5e-4 * rate_factor(train.schedule, epoch, train.epochs) for epoch in (0, 1, 199)]
    assert rates == pytest.approx([5e-7, 4.99969e-4, 5.03e-6], rel=1e-3)
    assert train == load_recipe("imagenet_lt/validated").train


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("imagenet/")])
def test_imagenet_recipes_are_as_published_and_differ_in_their_loss_alone(name):
    recipe, parent = load_recipe(name), load_recipe("imagenet/ce")
    train, optimizer, schedule = recipe.train, recipe.train.optimizer, recipe.train.schedule
    assert (optimizer.name, optimizer.lr, optimizer.betas) == ("adamw", 5e-4, (0.9, 0.999))
    assert (optimizer.weight_decay, train.batch_size, train.drop_last, train.clip) == (0.05, 512, True, 2.0)
    assert (schedule.name, schedule.final, schedule.warmup, schedule.warmup_start) == ("cosine", 0.01, 1, 1e-3)
    assert (train.epochs, train.select, train.augment, train.mix.name) == (200, "best", True, "none")
    assert (recipe.data.val, recipe.data.split_seed, recipe.data.args["erase"]) == (None, 1, 0.25)
    loss = name.removeprefix("imagenet/")
    if loss.endswith("_swinv2"):
        assert (recipe.data.args["size"], recipe.model.args) == (256, {"drop_path_rate": 0.1})
        loss = loss.removesuffix("_swinv2")
        recipe.data, recipe.model = parent.data, parent.model
    assert (recipe.model.name, recipe.model.args, recipe.data.args) == ("timm:resnet50", {}, {"erase": 0.25})
    named = {n.split("/")[1] for n in list_recipes() if n.startswith("imagenet/")}
    assert set(recipe.losses) == {n.removesuffix("_swinv2") for n in named}
    assert (train.loss.name, train.loss.args) == (loss, parent.losses[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("cub/")])
def test_cub_recipes_are_as_quoted_and_differ_in_their_loss_alone(name):
    recipe, parent = load_recipe(name), load_recipe("cub/ce")
    train, optimizer, schedule = recipe.train, recipe.train.optimizer, recipe.train.schedule
    assert (optimizer.name, optimizer.lr, optimizer.momentum, optimizer.nesterov) == ("sgd", 0.1, 0.9, False)
    assert (optimizer.weight_decay, train.batch_size, train.drop_last, train.clip) == (5e-4, 16, True, 2.0)
    assert (schedule.name, schedule.milestones, schedule.gamma) == ("multistep", [80, 160], 0.1)
    assert (train.epochs, train.select, train.augment) == (200, "best", True)
    # None: the 600 training images that the reader sets aside.
    assert (recipe.data.name, recipe.data.val, recipe.data.split_seed) == ("cub200", None, 1)
    assert (recipe.model.name, recipe.model.args) == ("timm:resnet50.tv_in1k", {"pretrained": True})
    assert set(recipe.losses) == {n.split("/")[1] for n in list_recipes() if n.startswith("cub/")}
    loss = name.removeprefix("cub/")
    assert (train.loss.name, train.loss.args) == (loss, parent.losses[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


#: Technique, level and strength of the static perturbations, one loss that a comparison does not run of itself.
STATIC = {
    "slp_hi": ("hard_inversion", 0.05, 2.0),
    "slp_si": ("soft_inversion", 1 / 15, 1.5),
    "slp_m": ("moderation", 0.1, 1.0),
    "slp_dm": ("dynamic_moderation", 0.1, 1.0),
}


@pytest.mark.parametrize("name", [n for n in list_recipes() if n.startswith("duts/")])
def test_duts_recipes_are_as_released_and_differ_in_their_loss_alone(name):
    recipe, parent = load_recipe(name), load_recipe("duts/bce")
    train, optimizer, schedule = recipe.train, recipe.train.optimizer, recipe.train.schedule
    assert (optimizer.name, optimizer.lr, optimizer.betas) == ("adam", 2.5e-5, (0.9, 0.999))
    assert (optimizer.weight_decay, train.batch_size, train.drop_last, train.clip) == (0.0, 10, False, None)
    assert (schedule.name, schedule.gamma, schedule.every) == ("compounding", 0.95, 10)
    assert (train.epochs, train.select, train.augment) == (30, "last", True)
    assert (recipe.data.name, recipe.data.val, recipe.data.args) == ("duts", None, {"size": 384})
    assert (recipe.model.name, recipe.model.args) == ("aslp", {"pretrained": True})
    named = {n.split("/")[1] for n in list_recipes() if n.startswith("duts/")}
    assert set(recipe.losses) == named - set(STATIC)
    loss = name.removeprefix("duts/")
    if loss not in STATIC:
        assert (train.loss.name, train.loss.args) == (loss, parent.losses[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


@pytest.mark.parametrize("name", STATIC)
def test_static_perturbations_draw_and_flip_the_same_mass(name):
    config = load_recipe(f"duts/{name}").train.loss
    technique, alpha, strength = STATIC[name]
    loss = create(config.name, **config.args)
    assert (config.name, config.args["technique"], loss.mode) == ("sc_bce", technique, "sampled")
    assert (loss.alpha, loss.strength, loss.noise) == (pytest.approx(alpha), strength, name == "slp_dm")
    assert loss.alpha * loss.strength / 2 == pytest.approx(0.05)


@pytest.mark.parametrize("method", ["crt", "lws"])
@pytest.mark.parametrize(
    ("where", "first", "second"),
    [
        ("", "none", "none"),
        ("_mixup", "mixup", "none"),
        ("_mixup_second", "none", "mixup"),
        ("_mixup_both", "mixup", "mixup"),
    ],
)
def test_the_two_stages_of_imagenet_lt_are_mixed_as_in_table_1(method, where, first, second):
    recipe, plain = load_recipe(f"imagenet_lt/{method}{where}"), load_recipe(f"imagenet_lt/{method}")
    mixes = [recipe.train.mix, recipe.decouple.mix]
    assert [mix.name for mix in mixes] == [first, second]
    assert all(mix.alpha == 0.2 for mix in mixes if mix.name != "none")
    assert recipe.decouple.method == method
    recipe.train.mix, recipe.decouple.mix, recipe.name = plain.train.mix, plain.decouple.mix, plain.name
    assert recipe == plain


#: Loss, classifier, mixing, and the epoch from which classes are weighted, of table 5 of MiSLAS.
REWEIGHTED = {
    "imagenet_lt/ce_drw": ("ce", "linear", "none", 144),
    "imagenet_lt/focal_drw": ("cb_focal", "linear", "none", 144),
    "imagenet_lt/ldam_drw": ("ldam", "cosine", "none", 144),
    "inaturalist2018/cb_focal": ("cb_focal", "linear", "none", None),
    "inaturalist2018/ldam_drw": ("ldam", "cosine", "none", 160),
    "inaturalist2018/remix_drw": ("ce", "linear", "remix", 160),
}


@pytest.mark.parametrize("name", REWEIGHTED)
def test_reweighted_recipes_have_the_schedule_of_their_data(name):
    recipe, train = load_recipe(name), load_recipe(name).train
    parent = load_recipe(f"{name.split('/')[0]}/mixup").train
    assert REWEIGHTED[name] == (train.loss.name, recipe.model.head, train.mix.name, train.reweight_from)
    assert (train.optimizer, train.schedule, train.epochs) == (parent.optimizer, parent.schedule, parent.epochs)
    assert (train.batch_size, train.reweight_beta, recipe.decouple.method) == (256, 0.9999, "none")
    args = {"gamma": 1.0, "beta": 0.0, "form": "weight_in_exponent"} if "focal_drw" in name else {}
    assert train.loss.args == args
    assert train.mix.name == "none" or (train.mix.alpha, train.mix.kappa, train.mix.tau) == (0.2, 3.0, 0.5)


@pytest.mark.parametrize("depth", [101, 152])
def test_the_deeper_networks_of_table_1_are_a_matter_of_a_name(depth):
    recipe = load_recipe("imagenet_lt/lws_mixup", {"model": {"name": f"torchvision:resnet{depth}"}})
    images = read_miniature(recipe)
    with torch.device("meta"):
        network = build_network(recipe, images)
    assert sum(p.numel() for p in network.parameters()) > {101: 42, 152: 58}[depth] * 1e6
