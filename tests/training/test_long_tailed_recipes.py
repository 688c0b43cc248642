"""Recipes of long tails: what each published table, and the code behind it, says of them."""

import pytest

from calibrant.training.recipe import TrainerConfig
from calibrant.training.recipe_files import list_recipes, load_recipe
from calibrant.training.schedules import rate_factor
from calibrant.training.stage import count_steps
from tests.training.miniatures import read_miniature

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
