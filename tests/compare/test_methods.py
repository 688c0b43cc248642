from pathlib import Path

import pytest

from calibrant.compare.methods import parse_loss, plan
from calibrant.errors import InputError


def test_options_of_a_loss_are_typed():
    assert parse_loss("ls:alpha=1e-1, weight=null,flag=true") == {
        "name": "ls",
        "args": {"alpha": 0.1, "weight": None, "flag": True},
    }
    with pytest.raises(InputError, match="no value for 'margin'"):
        parse_loss("mbls:margin")
    with pytest.raises(InputError, match=r"has a value that cannot be read, '\[1'"):
        parse_loss("mbls:margin=[1")
    assert parse_loss("cals:rho=1.5e3")["args"] == {"rho": 1500.0}
    assert parse_loss("ce:ignore_index=[0,1]")["args"] == {"ignore_index": [0, 1]}


def test_a_plan_is_one_seed_of_all_methods_after_the_other():
    runs = plan(["digits"], {"train": {"epochs": 2}}, losses=["ce", "mbls", "mbls:margin=2"], seeds=[4, 7])
    folders = [f"runs/digits/{m}/seed{s}" for s in (4, 7) for m in ("ce", "mbls", "mbls-margin=2")]
    assert [folder for _, folder in runs] == [Path(folder) for folder in folders]
    recipes = [recipe for recipe, _ in runs]
    assert {recipe.train.epochs for recipe in recipes} == {2}
    assert [recipe.train.loss.args for recipe in recipes[:3]] == [{}, {"margin": 6.0}, {"margin": 2}]
    assert recipes[3].seed == 7


def test_what_is_not_said_comes_from_the_recipe():
    runs = plan(["digits"], {})
    assert len(runs) == 40
    assert [recipe.method for recipe, _ in runs[:8]] == [
        "ce",
        "ls",
        "focal",
        "mbls",
        "acls",
        "mdca",
        "mmce",
        "cals",
    ]
    published = [recipe.method for recipe, _ in plan(["cifar10/mbls"], {}, seeds=[0])]
    assert published == ["ce", "mmce", "ecp", "ls", "focal", "flsd", "mdca", "cpc", "mbls", "crl", "acls"]


def test_a_method_that_is_named_twice_runs_once():
    assert len(plan(["digits"], {}, losses=["mbls", "mbls:margin=6.0"], seeds=[0, 0])) == 1
