"""Semantic segmentation: trained, judged in the sizes of the files; what is ignored counts nowhere."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.compare.table import tabulate
from calibrant.errors import InputError
from calibrant.metrics.functional import ece, segmentation
from calibrant.posthoc import load_calibrator
from calibrant.training.gap_maps import read_means
from calibrant.training.runner import read_data, run
from calibrant.training.stages import build
from tests.data.test_label_maps import SMALL, write_voc
from tests.training.test_runner import run_with_interruptions
from tests.training.tiny import tiny_recipe


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("voc")
    write_voc(folder, train=7, val=3)
    (folder / "classes.txt").write_text("ground\nred\ngreen\nblue\nyellow\n")
    return folder


def recipe_of(root, **changes):
    return tiny_recipe(
        **{
            "data__name": "voc",
            "data__root": str(root),
            "data__val": 2,
            "data__args": dict(SMALL),
            "model__name": "tiny_dense_net",
            "train__batch_size": 3,
            "train__epochs": 2,
            "train__optimizer__name": "adam",
            "train__optimizer__lr": 0.02,
            "trainer__eval_batch_size": 2,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
    return run(recipe_of(root), tmp_path_factory.mktemp("run"))


def predicted(finished, name):
    picture = Image.open(finished.path / "predictions" / "test" / f"{name}.png")
    assert picture.mode == "P"
    return torch.from_numpy(np.array(picture)).long()


def test_a_run_measures_label_maps_and_keeps_them(finished, root):
    result = finished.result()
    assert set(result["metrics"]) == {"val", "test"}
    found = result["metrics"]["test"]
    assert set(found) == {"none", "temperature"}
    wanted = {"accuracy", "ece", "aece", "classwise_ece", "nll", "brier", "miou", "ece_image", "ece_foreground"}
    assert wanted | {"miou_foreground"} <= set(found["none"])
    for name in ("miou", "ece", "ece_image"):
        assert found["none"][name]["low"] <= found["none"][name]["value"] <= found["none"][name]["high"]
    assert found["none"]["ece_image"]["value"] >= found["none"]["ece"]["value"]
    assert result["metrics"]["val"]["none"]["miou"]["low"] is None
    assert found["none"]["miou"]["value"] == found["temperature"]["miou"]["value"]
    assert {"val_accuracy", "val_ece", "val_nll", "val_miou", "train_ce"} <= set(finished.history())
    assert result["data"]["classes"] == 5
    task = read_data(recipe_of(root)).task
    assert result["data"]["class_counts"] == task.train.pixel_counts().tolist()


def test_bins_and_classes_are_kept_for_the_page(finished):
    result = finished.result()
    found, bins = result["metrics"]["test"]["none"], result["reliability"]["test"]["none"]
    known = [k for k, count in enumerate(bins["count"]) if count]
    gaps = sum(bins["count"][k] * abs(bins["confidence"][k] - bins["accuracy"][k]) for k in known)
    assert gaps / sum(bins["count"]) == pytest.approx(found["ece"]["value"])
    assert all(bins["low"][k] <= bins["accuracy"][k] <= bins["high"][k] for k in known)
    errors = result["classes"]["test"]["none"]["error"]
    assert np.mean(errors) == pytest.approx(found["classwise_ece"]["value"])
    assert set(read_means(finished)) == {"none", "temperature"}


def test_overlap_is_that_of_the_maps_that_are_kept(finished, root):
    images = read_data(recipe_of(root)).task.test
    right, union, hits, pixels = np.zeros(5), np.zeros(5), 0, 0
    for at, name in enumerate(images.names):
        shown, truth = predicted(finished, name), images.label(at).long()
        assert shown.shape == truth.shape
        shown, truth = shown[truth != 255], truth[truth != 255]
        hits, pixels = hits + int((shown == truth).sum()), pixels + len(truth)
        for k in range(5):
            right[k] += int(((shown == k) & (truth == k)).sum())
            union[k] += int(((shown == k) | (truth == k)).sum())
    found = finished.result()["metrics"]["test"]["none"]
    assert found["accuracy"]["value"] == pytest.approx(hits / pixels, rel=1e-12)
    assert found["miou"]["value"] == pytest.approx(np.nanmean(right / union), rel=1e-12)
    assert found["miou_foreground"]["value"] == pytest.approx(np.nanmean(right[1:] / union[1:]), rel=1e-12)


def test_the_temperature_is_fitted_to_validation_and_kept(finished):
    result = finished.result()
    fitted = result["posthoc"]["temperature"]
    assert fitted["temperature"] > 0
    kept = load_calibrator(finished.path / "calibrators" / "temperature.safetensors")
    assert float(kept.calibrator.temperature_) == pytest.approx(fitted["temperature"])
    val = result["metrics"]["val"]
    assert val["temperature"]["nll"]["value"] <= val["none"]["nll"]["value"] + 0.01


def test_the_table_shows_overlap_and_the_error_by_image(finished):
    text = tabulate([finished]).to_text()
    (headings,) = [line for line in text.splitlines() if line.startswith("method")]
    shown = ["mIoU %", "fg mIoU %", "ECE %", "image ECE %", "fg ECE %", "AECE %", "NLL"]
    assert [word for word in shown if word in headings] == shown
    assert "OE %" not in headings
    assert "image ECE is the mean of that of each image" in " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 120


def test_learned_multipliers_survive_an_interruption(root, tmp_path, monkeypatch):
    recipe = recipe_of(root, train__loss__name="cals", train__loss__args={"margin": 1.0}, train__select="best")
    whole = run(recipe, tmp_path / "whole")
    torch.rand(13)
    broken = run_with_interruptions(recipe, tmp_path / "broken", [1, 3], monkeypatch)
    for name in ("metrics", "posthoc"):
        assert broken.result()[name] == whole.result()[name]
    assert broken.history_path.read_text() == whole.history_path.read_text()


@pytest.mark.parametrize("loss", ["ce", "cals", "svls", "nacl"])
def test_what_is_ignored_counts_nowhere(root, loss):
    recipe = recipe_of(root, train__loss__name=loss)
    images = read_data(recipe)
    module = build(recipe, images)
    batch = images.task.test[[0, 1, 2]]
    logits, target = torch.randn(3, 5, 40, 40, generator=torch.Generator().manual_seed(0)), batch["target"]
    ignored = target == 255
    assert 0 < int(ignored.sum()) < target.numel()
    other = torch.where(ignored[:, None], torch.rand_like(logits), logits)
    for values in (logits, other):
        module.loss.observe(values, target)
    assert float(module.loss(logits, target)) == pytest.approx(float(module.loss(other, target)), rel=1e-6)
    for values in (logits, other):
        module.network = torch.nn.Identity()
        module.validation_step({**batch, "image": values}, 0)
        watched = module.watched_values()
        module.watch.reset()
        expected = ece(values, target, inputs="logits", ignore_index=255)
        assert float(watched["val_ece"]) == pytest.approx(float(expected), rel=1e-9)
        overlap = segmentation(values, target, inputs="logits", include_background=False, ignore_index=255)
        assert images.task.background
        assert float(watched["val_miou"]) == pytest.approx(float(overlap.miou), rel=1e-9)


def test_processes_share_a_mean_over_the_pixels_that_count(root, monkeypatch):
    recipe = recipe_of(root, train__loss__args={"weight": [1.0, 2.0, 0.5, 3.0, 1.0]})
    images = read_data(recipe)
    module = build(recipe, images)
    target = images.task.test[[0, 1, 2]]["target"]
    target[0, 5:] = 255
    logits = torch.randn(3, 5, 40, 40, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(type(module), "trainer", SimpleNamespace(world_size=2))
    parts = (slice(0, 1), slice(1, 3))
    masses: list[torch.Tensor] = []
    monkeypatch.setattr(
        "calibrant.training.module.sum_over_processes", lambda mine: masses.append(mine.clone())
    )
    for part in parts:
        module._shared(module.loss(logits[part], target[part]), target[part])
    monkeypatch.setattr("calibrant.training.module.sum_over_processes", lambda mine: mine.copy_(sum(masses)))
    shared = [module._shared(module.loss(logits[part], target[part]), target[part])[0] for part in parts]
    assert float(sum(shared) / 2) == pytest.approx(float(module.loss(logits, target)), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train__loss__name": "bce"}, "'bce' is one for binary maps, and 'voc' holds maps of classes"),
        ({"train__loss__name": "crl"}, "'crl' learns from each image's own class"),
        ({"train__loss__name": "ldam"}, "'ldam' scales the cosines"),
        ({"train__mix__name": "mixup"}, "'mixup' mixes labels of whole images"),
        ({"model__head": "cosine"}, "set model.head to 'linear'"),
        ({"data__args": {**SMALL, "windw": [1, 1]}}, "no option 'windw'; did you mean 'window'"),
    ],
)
def test_what_does_not_fit_label_maps_is_refused(root, changes, said):
    recipe = recipe_of(root, **changes)
    with pytest.raises(InputError, match=said):
        build(recipe, read_data(recipe))
