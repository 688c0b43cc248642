"""Dense binary maps: trained, judged in the sizes of their files, with levels that are learned and kept."""

import csv

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.compare.table import tabulate
from calibrant.data import PairSet
from calibrant.errors import InputError
from calibrant.training.gap_maps import read_means, read_worst
from calibrant.training.image_sums import read_image_sums
from calibrant.training.levels import read_ends
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import read_data, run
from calibrant.training.stages import build, build_second
from tests.training.test_runner import Killed, kill_at, run_with_interruptions
from tests.training.tiny import tiny_recipe

DENSE = {
    "data__name": "tiny_maps",
    "model__name": "tiny_dense_net",
    "train__loss__name": "bce",
    "train__batch_size": 4,
    "train__optimizer__name": "adam",
    "train__optimizer__lr": 0.02,
    "trainer__eval_batch_size": 3,
}
ASLP = {**DENSE, "train__loss__name": "aslp_mc", "train__loss__args": {"warmup": 1}}


def test_a_run_measures_maps_and_keeps_them(tmp_path):
    target = run(tiny_recipe(**DENSE), tmp_path)
    result = target.result()
    assert set(result["metrics"]) == {"val", "test", "nothing"}
    for split in ("test", "nothing"):
        found = result["metrics"][split]
        assert set(found) == {"none", "temperature"}
        assert found["none"]["ece"]["low"] <= found["none"]["ece"]["value"] <= found["none"]["ece"]["high"]
        assert {"accuracy", "ece", "oe", "ue", "mae", "max_f", "adaptive_f", "mean_e", "s"} <= set(
            found["none"]
        )
    assert result["metrics"]["val"]["none"]["ece"]["low"] is None
    assert result["metrics"]["nothing"]["none"]["max_f"]["value"] is None
    assert result["posthoc"]["temperature"]["temperature"] > 0
    assert result["data"]["classes"] == 2
    images = read_data(tiny_recipe(**DENSE)).task.test
    hits = pixels = 0
    for at, name in enumerate(images.names):
        shown = np.asarray(Image.open(tmp_path / "predictions" / "test" / f"{name}.png"))
        truth = images.label(at).numpy()
        assert shown.shape == truth.shape
        hits, pixels = hits + int(((shown >= 128) == (truth >= 128)).sum()), pixels + truth.size
    # A probability within half a level of one half may be rounded to the other side.
    assert result["metrics"]["test"]["none"]["accuracy"]["value"] == pytest.approx(hits / pixels, abs=0.01)
    assert {"val_accuracy", "val_ece", "val_nll", "train_bce"} <= set(target.history())
    for split in ("test", "nothing"):
        for stage, metrics in result["metrics"][split].items():
            bins, facts = result["reliability"][split][stage], result["classes"][split][stage]
            known = [
                (n, c, a)
                for n, c, a in zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True)
                if n
            ]
            ece = sum(n * abs(c - a) for n, c, a in known) / sum(n for n, _, _ in known)
            assert ece == pytest.approx(metrics["ece"]["value"])
            assert np.mean(facts["error"]) == pytest.approx(metrics["classwise_ece"]["value"])
    assert sum(result["reliability"]["test"]["none"]["count"]) == pixels
    gap = result["reliability"]["test"]["none"]["gap"]
    assert read_means(target)["none"].mean() == pytest.approx(gap["value"], abs=0.02)
    assert gap["low"] <= gap["value"] <= gap["high"]
    assert gap["value"] == pytest.approx(_gap(result["reliability"]["test"]["none"]))
    assert {image.name for image in read_worst(target)} <= set(images.names)


def _gap(bins):
    known = [
        (n, c - a) for n, c, a in zip(bins["count"], bins["confidence"], bins["accuracy"], strict=True) if n
    ]
    return sum(n * gap for n, gap in known) / sum(n for n, _ in known)


def test_the_table_of_maps_shows_how_well_they_fit(tmp_path):
    text = tabulate([run(tiny_recipe(**DENSE), tmp_path)]).to_text()
    tables = [line for line in text.splitlines() if line.startswith("method")]
    assert len(tables) == 2
    for headings in tables:
        assert [word for word in ("OE %", "MAE", "max F", "S") if word in headings] == [
            "OE %",
            "MAE",
            "max F",
            "S",
        ]
    assert text.index(tables[0]) < text.index("On nothing") < text.rindex(tables[1])


def test_methods_on_maps_are_tested_image_by_image(tmp_path):
    longer = {**DENSE, "train__loss__name": "binary_ls", "train__loss__args": {"alpha": 0.3}}
    runs = [run(tiny_recipe(**changes), tmp_path / str(at)) for at, changes in enumerate((DENSE, longer))]
    table = tabulate(runs)
    for stage in ("none", "temperature"):
        (against,) = (each for row in table.rows if (each := row.cells["nll"][stage].against) is not None)
        means = sorted(row.cells["nll"][stage].mean for row in table.rows)
        assert against.difference == pytest.approx(means[1] - means[0], rel=1e-9)
        assert 0 < against.p_value < 1
    assert all(row.cells["mae"]["none"].against is None for row in table.rows)
    assert "OE, MAE, F and S are untested." in table.to_text()
    runs[0].image_sums_path.unlink()
    assert "untested: the runs keep no predictions" in tabulate(runs).to_text()


def test_a_damaged_file_of_image_sums_is_named(tmp_path):
    target = RunFolder(tmp_path)
    assert read_image_sums(target, "none") is None
    target.image_sums_path.write_bytes(b"12345678901234567890")
    with pytest.raises(InputError, match=r"images\.safetensors is damaged"):
        read_image_sums(target, "none")


@pytest.mark.parametrize("changes", [{**ASLP, "train__select": select} for select in ("last", "best")])
def test_learned_levels_survive_an_interruption(tmp_path, monkeypatch, changes):
    recipe = tiny_recipe(**changes)
    whole = run(recipe, tmp_path / "whole")
    torch.rand(13)
    broken = run_with_interruptions(recipe, tmp_path / "broken", [2, 7, 10], monkeypatch)
    for name in ("metrics", "posthoc"):
        assert broken.result()[name] == whole.result()[name]
    assert broken.levels_path.read_text() == whole.levels_path.read_text()
    assert broken.history_path.read_text() == whole.history_path.read_text()


def test_levels_are_not_handed_to_other_images(tmp_path, monkeypatch):
    monkeypatch.setattr("calibrant.training.callbacks.PAUSE", 0.0)
    recipe = tiny_recipe(**ASLP)
    with pytest.raises(Killed):
        run(recipe, tmp_path, listener=kill_at(7))
    names = PairSet.names
    with monkeypatch.context() as patched:
        patched.setattr(PairSet, "names", property(lambda images: names.fget(images)[::-1]))
        with pytest.raises(
            InputError, match=r"is not for these samples, or not for their order: point data\.root"
        ):
            run(recipe, tmp_path)
    assert run(recipe, tmp_path).finished


def test_the_levels_are_kept_by_name_the_most_perturbed_first(tmp_path):
    target = run(tiny_recipe(**ASLP, train__select="last"), tmp_path)
    with target.levels_path.open() as file:
        rows = list(csv.DictReader(file))
    levels = [float(row["level"]) for row in rows]
    assert levels == sorted(levels, reverse=True)
    assert levels[0] > 0
    assert sorted(row["name"] for row in rows) == sorted(f"square{i}" for i in range(10))
    state = torch.load(target.checkpoint_path, weights_only=True)["state_dict"]["loss.alpha"]
    by_name = {row["name"]: float(row["level"]) for row in rows}
    assert [by_name[f"square{i}"] for i in range(10)] == pytest.approx(state.tolist())
    ends = read_ends(target)
    assert [image.name for image in ends["most"]] == [row["name"] for row in rows[:6]]
    assert [image.name for image in ends["least"]] == [row["name"] for row in rows[:-7:-1]]
    first = ends["most"][0]
    images = read_data(tiny_recipe(**ASLP)).task.train
    label = images.label(images.names.index(first.name)).numpy()
    assert first.level == levels[0]
    assert (np.asarray(first.label) == label).all()
    assert first.photograph.size == first.label.size


@pytest.mark.parametrize(
    "changes",
    [
        {"train__mix__name": "mixup"},
        {"train__loss__name": "aslp_mei", "train__loss__args": {"warmup": 1}},
        {"train__loss__name": "binary_mmce", "train__loss__args": {"pixels": 50}},
        {"train__loss__name": "disturb_label", "train__loss__args": {"rate": 0.1}},
        {"train__schedule__name": "compounding", "train__schedule__gamma": 0.95, "train__schedule__every": 1},
    ],
    ids=lambda changes: str(next(iter(changes.values()))),
)
def test_the_baselines_train_and_repeat_themselves(tmp_path, changes):
    recipe = tiny_recipe(**{**DENSE, "train__epochs": 2, **changes})
    first, again = (run(recipe, tmp_path / place).result()["metrics"] for place in ("a", "b"))
    assert first == again


def test_a_second_stage_needs_a_classifier():
    recipe = tiny_recipe(**DENSE, decouple__method="crt")
    images = read_data(recipe)

    with pytest.raises(
        InputError, match="needs a classifier of images, not the dense network 'tiny_dense_net'"
    ):
        build_second(recipe, images, build(recipe, images).network)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__loss__name": "ce"}, "'ce' is one for classes, and 'tiny_maps' holds binary maps; .*bce"),
        ({"model__head": "cosine"}, "set model.head to 'linear'"),
        ({"train__mix__name": "remix"}, "set it to 'mixup'"),
    ],
)
def test_what_is_meant_for_classes_is_refused(changes, said):
    recipe = tiny_recipe(**{**DENSE, **changes})
    with pytest.raises(InputError, match=said):
        build(recipe, read_data(recipe))
