"""Texts from the layouts on disk to a result: the shipped recipes on miniatures of their folders."""

from pathlib import Path

import pytest
import torch

from calibrant.compare.table import tabulate
from calibrant.data import newsgroups
from calibrant.errors import InputError
from calibrant.metrics.functional import ece
from calibrant.report.evidence import gather
from calibrant.report.summary import summarise
from calibrant.training.recipe_files import load_recipe, merge
from calibrant.training.runner import run
from tests.data.texts import GROUPS, write_texts
from tests.training.test_runner import facts, run_with_interruptions


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder: Path = tmp_path_factory.mktemp("texts")
    write_texts(folder)
    return folder


def recipe_on(root, name="newsgroups/ce", **changes):
    """Return a recipe for the miniature: two epochs, a narrow network."""
    tree = {
        "data": {"root": str(root), "val": 12, "args": {"length": 40}},
        "model": {"args": {"width": 8}},
        "train": {"epochs": 2, "batch_size": 8},
        "trainer": {"accelerator": "cpu"},
    }
    return load_recipe(name, merge(tree, changes))


def test_a_recipe_trains_on_texts(root, tmp_path):
    train = {"epochs": 10, "schedule": {"name": "constant"}, "optimizer": {"lr": 0.003}}
    recipe = recipe_on(root, model={"args": {"width": 32}}, train=train)
    target = run(recipe, tmp_path / "run")
    result = target.result()
    data = result["data"]
    assert (data["name"], data["train"], data["val"], data["test"]) == ("newsgroups", 46, 12, 14)
    assert sum(data["class_counts"]) == 46
    assert "72 texts, random split" in data["note"]
    test = target.predictions("test")
    assert test.class_names == list(GROUPS)
    assert test.logits.shape == (14, 3)
    assert torch.equal(test.ids, newsgroups(root, val=12).test.ids)
    # The files are in the order of their groups, 24 each.
    assert torch.equal(test.targets, test.ids // 24)
    # Every other word of a text gives its class away.
    assert result["metrics"]["test"]["none"]["accuracy"]["value"] > 0.7
    assert set(result["metrics"]["test"]) == {"none", "temperature"}
    assert target.history()["epoch"] == list(range(10))


def test_a_table_with_a_long_tail_is_judged_by_the_frequency_of_the_classes(root, tmp_path):
    target = run(recipe_on(root, "r52"), tmp_path / "run")
    result = target.result()
    assert [result["data"][part] for part in ("train", "val", "test")] == [134, 12, 18]
    assert target.predictions("test").class_names == ["crude", "earn", "tin"]
    found = result["metrics"]["test"]["none"]
    test = target.predictions("test")
    right = test.logits.argmax(1) == test.targets
    for group, label in (("many", 1), ("medium", 0), ("few", 2)):
        of_group = test.targets == label
        assert found[group]["value"] == pytest.approx(right[of_group].double().mean().item())
        part = result["metrics"][f"{group}-shot classes"]
        assert set(part) == {"none", "temperature"}
        own = ece(test.logits[of_group], test.targets[of_group], inputs="logits")
        assert part["none"]["ece"]["value"] == pytest.approx(float(own))
        assert part["none"]["ece"]["low"] <= part["none"]["ece"]["value"] <= part["none"]["ece"]["high"]
    assert "On few-shot classes" in tabulate([target]).to_text()
    points = {point.head: str(point.text) for point in summarise(gather([target]))}
    assert "On few-shot classes the ECE is" in points["By the frequency of the classes, as trained"]


def test_groups_that_cannot_be_are_refused_before_anything_is_trained(root, tmp_path):
    with pytest.raises(InputError, match=r"groups='mislas' is fixed for .* classes, not 3"):
        run(recipe_on(root, "r52", data={"args": {"groups": "mislas"}}), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"train": {"loss": {"name": "cals"}}},
        {"train": {"loss": {"name": "crl"}}},
        {
            "train": {"sampler": {"name": "class_balanced", "per_class": 2}},
            "model": {"args": {"freeze": False}},
        },
    ],
    ids=["learns-by-class", "learns-by-sample", "balanced-and-trained-vectors"],
)
def test_an_interrupted_run_ends_with_the_same_numbers(root, tmp_path, monkeypatch, changes):
    recipe = recipe_on(root, **changes)
    whole = run(recipe, tmp_path / "whole")
    torch.rand(17)
    broken = run_with_interruptions(recipe, tmp_path / "broken", [2, 7], monkeypatch)
    assert facts(broken) == facts(whole)
    for split in ("val", "test"):
        assert torch.equal(broken.predictions(split).logits, whole.predictions(split).logits)


@pytest.mark.parametrize("name", ["cals", "crl"])
def test_what_a_loss_learns_is_learned_from_texts(root, tmp_path, name):
    target = run(recipe_on(root, train={"loss": {"name": name}, "select": "last"}), tmp_path / "run")
    state = torch.load(target.checkpoint_path, weights_only=False)["state_dict"]
    learned = {key: value for key, value in state.items() if key.startswith("loss.") and value.dim()}
    sizes = {"cals": 3, "crl": 46}
    assert [value for value in learned.values() if len(value) == sizes[name] and value.any()]


def test_vectors_stay_unless_they_are_to_be_trained(root, tmp_path):
    vectors = newsgroups(root, val=12, counted="all").vectors
    for freeze in (True, False):
        target = run(recipe_on(root, model={"args": {"freeze": freeze}}), tmp_path / str(freeze))
        weights = target.read_weights("train")["embedding.weight"]
        assert torch.equal(weights, vectors) == freeze
        assert not weights[0].any()


def test_a_classifier_is_trained_anew_on_texts(root, tmp_path):
    second = {"method": "crt", "epochs": 1, "batch_size": 8}
    target = run(recipe_on(root, decouple=second), tmp_path / "run")
    before, after = (target.read_weights(stage) for stage in ("train", "decouple"))
    assert torch.equal(before["net.body.0.weight"], after["net.body.0.weight"])
    assert not torch.equal(before["classifier.weight"], after["classifier.weight"])


def test_the_layout_of_images_leaves_texts_alone(root, tmp_path):
    logits = [
        run(recipe_on(root, trainer={"channels_last": last}), tmp_path / str(last)).predictions("test").logits
        for last in (False, True)
    ]
    assert torch.equal(*logits)
    half = run(recipe_on(root, trainer={"precision": "bf16-mixed"}), tmp_path / "half")
    assert half.predictions("test").logits.isfinite().all()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": {"mix": {"name": "mixup"}}}, "'mixup' mixes images, and words cannot be mixed"),
        ({"decouple": {"method": "crt", "mix": {"name": "remix"}}}, "'remix' mixes images"),
        ({"model": {"name": "resnet20"}}, "'resnet20' does not take texts, such as those of 'newsgroups'"),
        ({"data": {"name": "digits", "val": 30}}, "'text_cnn' takes texts"),
        ({"train": {"batch_size": 100}}, "46 training texts make no whole batch of 100"),
        ({"data": {"val": 0}}, "'best' chooses on validation texts, of which there are none"),
        ({"data": {"args": {"vectors": "none.txt"}}}, r"none.txt; put glove.6B.100d.txt"),
        ({"data": {"args": {"lenght": 3}}}, "did you mean 'length'"),
    ],
)
def test_what_texts_cannot_do_is_one_sentence(root, tmp_path, changes, said):
    with pytest.raises(InputError) as caught:
        run(recipe_on(root, **changes), tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
