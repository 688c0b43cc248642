from pathlib import Path

import pytest

from calibrant.errors import InputError
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import build_recipe, difference, folder_of, load_recipe, to_yaml


def write(path: Path, text: str) -> str:
    path.write_text(text)
    return str(path)


def test_a_recipe_survives_its_yaml(tmp_path):
    recipe = load_recipe("cifar10/mbls", {"seed": 3, "data": {"root": "~/data"}})
    again = load_recipe(write(tmp_path / "recipe.yaml", to_yaml(recipe)))
    assert again == recipe


@pytest.mark.parametrize("parent", ["base", "base.yaml"])
def test_inheritance_merges_and_a_new_loss_starts_from_its_own_options(tmp_path, parent):
    write(tmp_path / "base.yaml", "train:\n  epochs: 7\n  loss: {name: mbls, args: {margin: 3.0}}\nseed: 2\n")
    child = write(tmp_path / "child.yaml", f"inherit: {parent}\ntrain:\n  loss: {{name: ls}}\n")
    recipe = load_recipe(child)
    assert (recipe.name, recipe.seed, recipe.train.epochs) == ("child", 2, 7)
    assert (recipe.train.loss.name, recipe.train.loss.args) == ("ls", {})


def test_a_loss_takes_the_options_of_the_recipe_unless_told_otherwise():
    assert load_recipe("cifar10/mbls").train.loss.args == {"margin": 6.0}
    assert load_recipe("cifar10/ce", {"train": {"loss": {"name": "mbls"}}}).train.loss.args == {"margin": 6.0}
    changed = load_recipe("cifar10/mbls", {"train": {"loss": {"args": {"margin": 8.0}}}})
    assert changed.train.loss.args == {"margin": 8.0}


def test_the_method_names_only_options_that_are_not_the_recipes():
    assert load_recipe("cifar10/mbls").method == "mbls"
    changed = load_recipe("cifar10/mbls", {"train": {"loss": {"args": {"margin": 8.0}}}})
    assert changed.method == "mbls:margin=8.0"
    assert folder_of(changed, Path("runs")) == Path("runs/cifar10-mbls/mbls-margin=8.0/seed0")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {epoch: 3}", "no key 'train.epoch'; did you mean 'epochs'?"),
        ("trian: {epochs: 3}", "no key 'trian'; did you mean 'train'?"),
        ("train: {loss: {nam: ce}}", "no key 'train.loss.nam'; did you mean 'name'?"),
        ("train: {epochs: 0}", "train.epochs must be at least 1, not 0."),
        ("train: {optimizer: {lr: -1}}", "train.optimizer.lr must be above 0, not -1.0."),
        (
            "decouple: {optimizer: {betas: [1.5, 0.9]}}",
            "decouple.optimizer.betas must be at least 0 and below 1, not 1.5.",
        ),
        ("train: {schedule: {every: 0}}", "train.schedule.every must be at least 1, not 0."),
        ("train: {clip: -1}", "train.clip must be above 0, not -1.0."),
        ("trainer: {threads: -2}", "trainer.threads must be at least 1, not -2."),
        ("train: {optimizer: {nesterov: true, momentum: 0}}", "raise train.optimizer.momentum."),
        (
            "train: {epochs: 5, reweight_from: 5}",
            "train.reweight_from is 5, but the stage has only 5 epochs",
        ),
        ("train: {reweight_beta: 1}", "train.reweight_beta must be at least 0 and below 1, not 1.0."),
        ("decouple: {from: runs/some}", "decouple.from names a first stage, but decouple.method is 'none'"),
        ("decouple: {method: lws, lr_factor: 0.5}", "decouple.lr_factor 0.5 has no effect"),
        (
            "decouple: {method: crt, tau: 0.7}",
            "with decouple.method 'crt', only with 'tau_norm'. Leave it at 1.0",
        ),
        (
            "decouple: {method: tau_norm, shift_bn: true}",
            "with decouple.method 'tau_norm', only with 'crt', 'lws', 'mislas'. Leave it at False",
        ),
        ("inherit: digits\ntrain:", "train must hold keys and values, not None."),
        ("data: 3", "data must hold keys and values, not 3."),
        ("train: {optimizer: null}", "train.optimizer must hold keys and values, not None."),
        ("train: {epochs: null}", "train.epochs must hold a value, not null"),
        ("losses: null", "losses must hold a value, not null"),
        ("posthoc:", "posthoc must hold a value, not null"),
        ("seeds: []", "seeds must list at least one"),
        ("seeds: [99999999999999999999]", "seeds must be at least 0 and below 2**32"),
        ("seed: -1", "seed must be at least 0 and below 2**32"),
        ("data: {train: 0}", "data.train must be at least 1, not 0"),
        ("name: ..", "name must be"),
        ("train: {epochs: many}", "train.epochs must be int, not 'many'."),
        ("trainer: {precision: fp8}", "trainer.precision must be"),
        ("inherit: cifar10/cee", "There is no recipe 'cifar10/cee'; did you mean 'cifar10/ce'?"),
        ("- 1", "must hold keys and values"),
        ("a: [", "is no YAML"),
        ("inherit: mistake", "inherits from itself"),
    ],
)
def test_a_mistake_is_one_sentence_with_the_remedy(tmp_path, text, said):
    path = write(tmp_path / "mistake.yaml", text)
    with pytest.raises(InputError) as caught:
        load_recipe(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_recipe_in_another_encoding_is_said(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"# caf\xe9\nseed: 0\n")
    with pytest.raises(InputError, match=r"latin\.yaml is no YAML: 'utf-8' codec can't decode byte 0xe9"):
        load_recipe(str(tmp_path / "latin.yaml"))


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises(InputError, match="did you mean 'digits'"):
        load_recipe("digit")
    with pytest.raises(InputError, match=r"no recipe file 'x\.yaml'"):
        load_recipe("x.yaml")


def test_only_what_changes_the_experiment_is_a_difference():
    recipe = build_recipe({"train": {"epochs": 3}})
    moved = build_recipe({"train": {"epochs": 3}, "data": {"root": "/elsewhere"}, "trainer": {"threads": 4}})
    other = build_recipe({"train": {"epochs": 4, "loss": {"name": "mbls", "args": {"margin": 2}}}})
    assert difference(to_yaml(recipe), moved) == []
    assert difference(to_yaml(recipe), recipe) == []
    rounded = build_recipe({"train": {"epochs": 3}, "trainer": {"precision": "bf16-mixed"}})
    assert difference(to_yaml(recipe), rounded) == ["trainer.precision '32-true', not 'bf16-mixed'"]
    with pytest.raises(InputError, match=r"some/recipe\.yaml is no YAML"):
        difference("a: [", recipe, "some/recipe.yaml")
    assert "train.epochs 3, not 4" in difference(to_yaml(recipe), other)
    assert "train.loss.args.margin None, not 2" in difference(to_yaml(recipe), other)


def test_every_field_is_documented():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    parser.add_class_arguments(Recipe)
    for action in parser._actions:
        if action.dest.count(".") or action.dest in ("seed", "posthoc"):
            assert action.help, action.dest


def test_the_imbalance_has_a_key_of_its_own_and_a_place_among_the_options_of_the_data():
    # As runs of either kind have written it down.
    given = [{"imbalance": 50}, {"args": {"imbalance": 50}}]
    recipes = [build_recipe({"data": {"name": "cifar10_lt", **part}}) for part in given]
    assert [(r.data.imbalance, r.data.args) for r in recipes] == [(50, {}), (None, {"imbalance": 50})]
    assert difference("data: {name: cifar10_lt}", build_recipe({"data": {"name": "cifar10_lt"}})) == []
    assert difference("data: {name: cifar10_lt}", recipes[0]) == ["data.imbalance None, not 50.0"]


@pytest.mark.parametrize("name", ["..", "/x/ce", "../ce", "a//b", "a/"])
def test_a_name_that_would_lead_elsewhere_is_refused(name):
    with pytest.raises(InputError, match="name must be that of a folder, such as 'mine' or 'mine/ce', not"):
        load_recipe("digits", {"name": name})
    assert load_recipe("digits", {"name": "mine/ce"}).name == "mine/ce"
