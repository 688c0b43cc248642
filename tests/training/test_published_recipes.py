"""Recipes of balanced data, of maps and of texts: what each paper, and the code behind it, says of them."""

from dataclasses import replace

import pytest

from calibrant.losses import create
from calibrant.training.recipe import MixConfig
from calibrant.training.recipe_files import list_recipes, load_recipe
from calibrant.training.schedules import rate_factor

#: How RankMixup's table mixes on CIFAR-10; of RegMixup, alpha is 10 on CIFAR-100.
MIXED = {
    "mixup": MixConfig("mixup", alpha=1.0),
    "regmixup": MixConfig("regmixup", alpha=20.0),
    "rank_mixup": MixConfig("rank_mixup", alpha=2.0, weight=0.1, margin=2.0),
    "rank_mixup_ndcg": MixConfig("rank_mixup", alpha=2.0, weight=0.1, ranking="ndcg", copies=3),
}


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
    if name == "cifar100/regmixup":
        assert train.mix.alpha == 10
        train.mix.alpha = 20.0
    method = name.partition("/")[2].removesuffix("_margin_0")
    assert (train.loss.name, train.mix) == (("ce", MIXED[method]) if method in MIXED else (method, MixConfig()))


@pytest.mark.parametrize("data", ["cifar10", "tiny_imagenet"])
def test_margin_0_is_mbls_with_another_margin(data):
    recipe, parent = load_recipe(f"{data}/mbls_margin_0"), load_recipe(f"{data}/mbls")
    assert recipe.train.loss.args == {"margin": 0.0}
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
    assert set(parent.losses) == named - {"mbls_margin_0", *MIXED}
    loss = name.removeprefix("tiny_imagenet/")
    if loss in MIXED:
        own = {"mixup": {"alpha": 0.2}, "regmixup": {"alpha": 10.0}}.get(loss, {"alpha": 1.0, "margin": 1.0})
        assert recipe.train.mix == replace(MIXED[loss], **own)
        recipe.train.mix, recipe.losses = parent.train.mix, parent.losses
    elif loss != "mbls_margin_0":
        assert (recipe.train.loss.name, recipe.train.loss.args) == (loss, parent.losses[loss])
    recipe.train.loss, recipe.name = parent.train.loss, parent.name
    assert recipe == parent


#: Network, epochs and steps of the poster of MDCA.
NETWORKS = {
    "cifar10_r32": ("cifar10", "resnet32", 160, [80, 120]),
    "cifar10_r56": ("cifar10", "resnet56", 160, [80, 120]),
    "cifar100_r32": ("cifar100", "resnet32", 200, [100, 150]),
    "cifar100_r56": ("cifar100", "resnet56", 200, [100, 150]),
    "svhn_r20": ("svhn", "resnet20", 100, [50, 70]),
    "svhn_r56": ("svhn", "resnet56", 100, [50, 70]),
    "tiny_imagenet_r34": ("tiny_imagenet", "resnet34_tiny", 100, [40, 60]),
}


@pytest.mark.parametrize("group", NETWORKS)
@pytest.mark.parametrize("loss", ["brier", "dca", "mmce_w", "flsd", "mdca"])
def test_recipes_of_the_poster_of_mdca_are_as_published(group, loss):
    recipe = load_recipe(f"{group}/{loss}")
    train = recipe.train
    schedule = (train.epochs, train.schedule.milestones)
    assert (recipe.data.name, recipe.model.name, *schedule) == NETWORKS[group]
    assert (train.optimizer.lr, train.optimizer.momentum, train.optimizer.weight_decay) == (0.1, 0.9, 5e-4)
    assert (train.batch_size, train.clip) == (64 if "tiny" in group else 128, None)
    assert (train.select, train.augment) == ("best", "svhn" not in group)
    weights = {"mmce_w": {"alpha": 4.0, "normalization": "reference"}, "dca": {"beta": 1.0}}
    weights["mdca"] = {"beta": 1.0, "gamma": 1.0}
    assert (train.loss.name, train.loss.args) == (loss, weights.get(loss, {}))


@pytest.mark.parametrize("loss", ["ce", "brier", "mmce_w", "ls", "focal", "flsd53"])
def test_recipes_of_the_code_of_focal_calibration_sum_all_but_the_brier_score(loss):
    train = load_recipe(f"cifar10_350/{loss}").train
    assert (train.epochs, train.schedule.milestones, train.clip, train.select) == (350, [150, 250], 2.0, "last")
    assert train.loss.args.get("reduction", "mean") == ("mean" if loss == "brier" else "sum")


def test_a_table_of_its_own_compares_its_own_losses():
    tables = {
        "cifar10_350/ce": ["ce", "brier", "mmce_w", "ls", "focal", "flsd53"],
        "cifar10/rank_mixup": ["ce"],
    }
    poster = ["brier", "dca", "mmce_w", "flsd", "mdca"]
    tables |= {f"{group}/brier": poster for group in NETWORKS}
    for name, losses in tables.items():
        assert list(load_recipe(name).losses) == losses


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
