"""The choice by cross-validation, and calibrators in files."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn.functional import cross_entropy

from calibrant.errors import InputError
from calibrant.posthoc import (
    AutoCalibration,
    Calibrator,
    TemperatureScaling,
    VectorScaling,
    create,
    cross_validated,
    list_calibrators,
    load_calibrator,
    save_calibrator,
)

FAST = ["temperature", "vector", "platt"]


def drawn(factors: Tensor, n: int = 1000) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(n, len(factors), generator=generator)
    return logits, torch.multinomial((logits * factors).softmax(1), 1, generator=generator).squeeze(1)


@pytest.mark.parametrize(
    ("factors", "chosen"),
    [([1.0, 1.0, 1.0], "none"), ([0.3, 0.3, 0.3], "temperature"), ([0.2, 1, 2], "vector")],
)
def test_what_made_the_data_is_chosen(factors: list[float], chosen: str) -> None:
    logits, target = drawn(torch.tensor(factors))
    auto = AutoCalibration(FAST).fit(logits, target)
    assert auto.chosen_ == chosen
    assert sum(auto.scores_[chosen]) <= sum(auto.scores_["none"])
    assert f"{chosen}" in auto.table().splitlines()[1]
    assert auto.table().splitlines()[1].endswith("chosen")


def test_a_score_is_that_of_the_other_folds() -> None:
    # Folds of different sizes, so that the value of all rows is not the mean of the folds.
    logits, target = drawn(torch.tensor([0.3, 1.0, 2.0]), n=10)
    auto = AutoCalibration(["vector"], folds=4).fit(logits, target)
    mended = cross_validated(VectorScaling, logits, target, folds=4)
    pooled = float(cross_entropy(mended.double(), target))
    assert auto.nll_["vector"] == pytest.approx(pooled)
    assert len(auto.scores_["vector"]) == 4
    assert sum(auto.scores_["vector"]) / 4 != pytest.approx(pooled, abs=1e-3)
    line = next(line for line in auto.table().splitlines() if line.startswith("vector"))
    assert line.split()[1] == f"{pooled:.4f}"


def test_a_row_is_mended_by_what_did_not_see_it() -> None:
    logits, target = drawn(torch.tensor([0.3, 1.0, 2.0]), n=50)
    before = cross_validated(VectorScaling, logits, target, folds=5)
    for row in range(3):
        changed = target.clone()
        changed[row] = (target[row] + 1) % 3
        after = cross_validated(VectorScaling, logits, changed, folds=5)
        assert torch.equal(before[row], after[row])
        assert not torch.equal(before, after)


def test_what_does_not_apply_is_said() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(6, 101, generator=generator)
    auto = AutoCalibration(folds=2).fit(logits, torch.randint(101, (6,), generator=generator))
    assert "a number for each pair of 101 classes" in auto.excluded_["dirichlet"]
    assert "dirichlet" in auto.table()


def test_whole_maps_are_held_out() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(6, 3, 4, 4, generator=generator)
    target = torch.randint(3, (6, 4, 4), generator=generator)
    target[0] = 255
    auto = AutoCalibration(["temperature"], folds=6).fit(logits, target, ignore_index=255)
    assert len(auto.scores_["none"]) == 5
    assert auto.chosen_ == "temperature"


def test_a_single_row_is_refused() -> None:
    auto = AutoCalibration(FAST)
    with pytest.raises(InputError, match="needs 2 rows or more"):
        auto.fit(torch.randn(1, 3), torch.tensor([0]))


@pytest.mark.parametrize(
    ("options", "said"), [({"folds": 1}, "folds must be 2"), ({"candidates": ["vektor"]}, "mean 'vector'")]
)
def test_wrong_options_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        AutoCalibration(**options)


def test_no_calibration_is_a_choice_that_can_be_written(tmp_path: Path) -> None:
    logits, target = drawn(torch.ones(3))
    auto = AutoCalibration(["temperature"]).fit(logits, target)
    assert auto.chosen_ == "none"
    assert "NoCalibration()" in repr(auto)
    restored = load_calibrator(save_calibrator(auto, tmp_path / "auto.safetensors")).calibrator
    assert torch.equal(restored(logits), logits)


@pytest.mark.parametrize("name", [n for n in list_calibrators() if n != "auto"])
def test_a_file_restores_every_calibrator(name: str, tmp_path: Path) -> None:
    logits, target = drawn(torch.tensor([0.3, 1.0, 2.0]), n=200)
    options = {"steps": 2} if name == "local_temperature" else {}
    fitted = create(name, num_classes=3, **options).fit(logits, target)
    saved = save_calibrator(fitted, tmp_path / "deep" / "c.safetensors", ["a", "b", "c"])
    restored = load_calibrator(saved)
    assert torch.equal(restored.calibrator(logits), fitted(logits))
    assert (restored.method, restored.class_names) == (name, ["a", "b", "c"])
    assert restored.calibrator.converged_ == fitted.converged_
    assert [path.name for path in saved.parent.iterdir()] == ["c.safetensors"]


def test_a_file_restores_arguments_and_choice(tmp_path: Path) -> None:
    logits, target = drawn(torch.tensor([0.3, 1.0, 2.0]), n=200)
    scaling = TemperatureScaling("ece", grid=[0.5, 1.0, 2.0], n_bins=10).fit(logits, target)
    restored = load_calibrator(save_calibrator(scaling, tmp_path / "t.safetensors")).calibrator
    assert restored.arguments() == scaling.arguments()
    auto = AutoCalibration(FAST).fit(logits, target)
    chosen = load_calibrator(save_calibrator(auto, tmp_path / "a.safetensors")).calibrator
    assert isinstance(chosen, AutoCalibration)
    assert (chosen.chosen_, chosen.scores_, chosen.nll_) == (auto.chosen_, auto.scores_, auto.nll_)
    assert torch.equal(chosen(logits), auto(logits))


def test_files_that_hold_no_calibrator_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no calibrator"):
        load_calibrator(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"12345678901234567890")
    with pytest.raises(InputError, match="is no calibrator, or damaged"):
        load_calibrator(broken)
    other = tmp_path / "other.safetensors"
    save_file({"logits": torch.zeros(2, 2)}, other)
    with pytest.raises(InputError, match="holds no calibrator"):
        load_calibrator(other)
    for header, said in (
        ({"schema": 2, "method": "platt", "arguments": {}}, "in a form that"),
        ({"schema": 1, "method": "plat", "arguments": {}}, "did you mean 'platt'"),
        ({"schema": 1, "method": "temperature", "arguments": {}}, "lacks parts of a temperature calibrator"),
    ):
        save_file({"x": torch.zeros(1)}, other, {"calibrator": json.dumps(header)})
        with pytest.raises(InputError, match=said):
            load_calibrator(other)


def test_a_calibrator_without_a_name_is_not_written(tmp_path: Path) -> None:
    class Mine(TemperatureScaling):
        pass

    with pytest.raises(InputError, match="Mine is not registered"):
        save_calibrator(Mine(), tmp_path / "mine.safetensors")
    assert isinstance(Mine(), Calibrator)
    assert not list(tmp_path.iterdir())


def test_counts_of_the_training_classes_reach_the_candidates():
    generator = torch.Generator().manual_seed(3)
    logits = 3 * torch.randn(300, 3, generator=generator)
    target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
    auto = create("auto", num_classes=3, class_counts=[100, 10, 1], candidates=["class_temperature"])
    auto.fit(2 * logits, target)
    assert auto.chosen_ == "class_temperature"
    assert list(auto.calibrator.class_counts) == [100, 10, 1]
