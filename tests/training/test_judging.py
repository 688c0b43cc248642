"""A result holds every metric before and after each calibrator of the recipe, and keeps the calibrators."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.posthoc import load_calibrator
from calibrant.training.dense import mended
from calibrant.training.judging import fit_calibrator, judge
from calibrant.training.recipe_files import load_recipe
from calibrant.training.run_folder import Predictions


def said(seed: int, n: int = 300) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    true = torch.randn(n, 3, generator=generator)
    target = torch.multinomial(true.softmax(1), 1, generator=generator).squeeze(1)
    return Predictions(3 * true, target, torch.arange(n), ["a", "b", "c"])


def test_each_calibrator_is_judged_and_kept(tmp_path):
    splits = {"val": said(0), "test": said(1)}
    result = judge(splits, ["temperature", "vector"], folder=tmp_path)
    assert list(result["metrics"]["test"]) == ["none", "temperature", "vector"]
    assert list(result["posthoc"]["temperature"]) == ["temperature", "converged"]
    assert result["posthoc"]["vector"] == {"converged": True}
    for name in ("temperature", "vector"):
        after = result["metrics"]["test"][name]
        assert after["nll"]["value"] < result["metrics"]["test"]["none"]["nll"]["value"]
        kept = load_calibrator(tmp_path / f"{name}.safetensors")
        assert (kept.method, kept.class_names) == (name, ["a", "b", "c"])
        nll = torch.nn.functional.cross_entropy(kept.calibrator(splits["test"].logits), splits["test"].targets)
        assert after["nll"]["value"] == pytest.approx(float(nll), rel=1e-5)


def test_one_class_for_everything_is_named():
    usual = said(0)
    fallen = Predictions(torch.tensor([[0.0, 2.0, 1.0]]).repeat(300, 1), *list(vars(usual).values())[1:])
    assert judge({"test": usual}, [])["only_class"] is None
    assert judge({"test": fallen}, [])["only_class"] == "b"
    frequent = Predictions(fallen.logits, (usual.ids > 100).long(), usual.ids, usual.class_names)
    assert judge({"test": frequent}, [])["only_class"] is None


def test_what_cannot_be_fitted_does_not_lose_the_run():
    splits = {"val": said(0, n=1), "test": said(1)}
    result = judge(splits, ["auto", "temperature"])
    assert "needs 2 rows or more" in result["posthoc"]["auto"]["refused"]
    assert list(result["metrics"]["test"]) == ["none", "temperature"]


def test_the_choice_is_explained():
    val = said(0)
    _, facts = fit_calibrator("auto", val.logits, val.targets)
    assert facts["chosen"] in facts["nll"]
    assert facts["nll"]["none"] != facts["nll"]["temperature"]


def test_binary_maps_are_mended_by_calibrators_of_two_classes():
    logits = torch.linspace(-4, 4, 48).reshape(2, 1, 4, 6)
    pairs = torch.stack([torch.zeros(48), logits.flatten()], 1)
    target = (logits.flatten() > 1).long()
    target[::5] = 0
    calibrator, _ = fit_calibrator("platt", pairs, target)
    again = calibrator(pairs).softmax(1)[:, 1]
    assert torch.allclose(mended(logits, calibrator).sigmoid().flatten(), again, atol=1e-6)
    assert mended(logits, None) is logits


def test_a_recipe_names_calibrators_that_there_are(tmp_path):
    assert load_recipe("digits", {"posthoc": ["temperature", "vector"]}).posthoc == ["temperature", "vector"]
    with pytest.raises(InputError, match="did you mean 'vector'"):
        load_recipe("digits", {"posthoc": ["vektor"]})
    with pytest.raises(InputError, match="needs whole maps of logits"):
        load_recipe("digits", {"posthoc": ["local_temperature"]})
