"""Venn-Abers probabilities are those of the definition; conformal sets hold the label as often as asked."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mapie.classification import SplitConformalClassifier
from sklearn.isotonic import IsotonicRegression
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc import ConformalSets, VennAbersCalibration, load_calibrator, save_calibrator
from calibrant.posthoc.sklearn import GivenProbabilities


def drawn(n: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return 2 * logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def by_definition(score: np.ndarray, target: np.ndarray, at: float, label: int) -> float:
    fitted = IsotonicRegression(y_min=0, y_max=1).fit(np.append(score, at), np.append(target, label))
    return float(fitted.predict([at])[0])


def test_both_probabilities_are_those_of_the_definition() -> None:
    logits, target = drawn(60, 2)
    fitted = VennAbersCalibration().fit(logits[:40], target[:40])
    low, high = fitted.bounds(logits)
    p = logits.softmax(1)[:, 1].numpy()
    for row in range(30, 60):
        expected = [by_definition(p[:40], target[:40].numpy(), p[row], label) for label in (0, 1)]
        assert [float(low[row, 1]), float(high[row, 1])] == pytest.approx(expected, abs=1e-9)
    merged = high[:, 1] / (1 - low[:, 1] + high[:, 1])
    assert torch.allclose(fitted(logits).exp()[:, 1], merged)
    assert torch.allclose(low[:, 0], 1 - high[:, 1])


def test_bounds_of_many_classes() -> None:
    logits, target = drawn(200, 3)
    low, high = VennAbersCalibration().fit(logits, target).bounds(logits)
    assert low.shape == high.shape == (200, 3)
    assert (low < high).all()
    p = logits.softmax(1)[:, 2].numpy()
    expected = by_definition(p, (target == 2).numpy(), p[7], 1)
    assert float(high[7, 2]) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_sets_hold_the_label_as_often_as_asked(score: str) -> None:
    logits, target = drawn(3000, 6)
    fitted = ConformalSets(0.8, score).fit(logits[:1000], target[:1000])  # type: ignore[arg-type]
    sets = fitted(logits[1000:])
    held = float(sets.gather(1, target[1000:].unsqueeze(1)).float().mean())
    assert 0.77 < held < (0.83 if score == "lac" else 0.95)
    if score == "lac":
        p = logits.softmax(1)
        lowest = p[:1000].gather(1, target[:1000].unsqueeze(1)).squeeze(1).sort(descending=True).values
        threshold = lowest[int(np.ceil(1001 * 0.8)) - 1]
        assert torch.equal(sets, p[1000:] >= threshold)


@pytest.mark.parametrize("score", ["lac", "aps"])
def test_sets_are_those_of_mapie_and_outlive_it_in_a_file(score: str, tmp_path: Path) -> None:
    logits, target = drawn(1500, 5)
    # Rows whose classes are all tied.
    logits[1000:1010] = 0
    fitted = ConformalSets(0.7, score).fit(logits[:1000], target[:1000])  # type: ignore[arg-type]
    p = logits.softmax(1).numpy()
    reference = SplitConformalClassifier(GivenProbabilities(5), 0.7, score, prefit=True, random_state=0)
    reference.conformalize(p[:1000], target[:1000].numpy())
    expected = reference.predict_set(p[1000:])[1][..., 0]
    saved = load_calibrator(save_calibrator(fitted, tmp_path / "sets.safetensors"))
    assert saved.method == "conformal"
    assert np.array_equal(saved.calibrator(logits[1000:]).numpy(), expected)


def test_sets_stay_small_where_a_model_is_very_sure_and_often_wrong() -> None:
    logits, target = drawn(2000, 5)
    logits = 20 * logits
    fitted = ConformalSets(0.9).fit(logits[:1000], target[:1000])
    # 1 - p is 1 there, for a tenth of the labels.
    assert float(fitted.quantile_) > 40
    sets = fitted(logits[1000:])
    held = float(sets.gather(1, target[1000:].unsqueeze(1)).float().mean())
    assert 0.87 < held < 0.93
    assert float(sets.sum(1).float().mean()) < 4.9


def test_maps_and_labels_that_do_not_count() -> None:
    logits, target = drawn(600, 3)
    maps = logits.reshape(6, 10, 10, 3).movedim(-1, 1)
    labels = target.reshape(6, 10, 10)
    labels[0] = 255
    fitted = ConformalSets(0.9).fit(maps, labels, ignore_index=255)
    flat = ConformalSets(0.9).fit(logits[100:], target[100:])
    assert torch.equal(fitted(maps).movedim(1, -1).reshape(-1, 3), flat(logits))


@pytest.mark.parametrize("score", ["lac", "aps"])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_as_few_rows_as_are_said_to_be_enough(confidence: float, score: str) -> None:
    enough = round(1 / (1 - confidence))
    logits, target = torch.randn(enough, 3), torch.arange(enough) % 3
    assert ConformalSets(confidence, score).fit(logits, target).converged_  # type: ignore[arg-type]
    with pytest.raises(InputError, match=f"give at least {enough}\\."):
        ConformalSets(confidence, score).fit(logits[1:], target[1:])  # type: ignore[arg-type]


def test_mistakes_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = drawn(30, 3)
    with pytest.raises(InputError, match=r"30 rows support no sets of confidence 0.99: give at least 100"):
        ConformalSets(0.99).fit(logits, target)
    with pytest.raises(InputError, match=r"30 rows support no sets of confidence 0.02: give at least 50"):
        ConformalSets(0.02, "aps").fit(logits, target)
    with pytest.raises(InputError, match="confidence must be between 0 and 1"):
        ConformalSets(90)
    with pytest.raises(InputError, match="score must be 'lac' or 'aps'"):
        ConformalSets(0.9, "hinge")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="need labels of three classes or more; take score 'lac'"):
        ConformalSets(0.9, "aps").fit(logits, target.clamp(max=1))
    with pytest.raises(InputError, match="is not fitted"):
        ConformalSets(0.9)(logits)
    with pytest.raises(InputError, match="was fitted to 3 classes; it takes"):
        ConformalSets(0.9).fit(logits, target)(logits[:, :2])
    with pytest.raises(InputError, match="The logits of row 1 hold NaN or infinity"):
        ConformalSets(0.9).fit(logits, target)(torch.tensor([[0.0, 1, 2], [0, torch.nan, 1]]))
    with pytest.raises(InputError, match="VennAbersCalibration is not fitted"):
        VennAbersCalibration().bounds(logits)
    for module in ("mapie.calibration", "mapie.classification"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match="needs MAPIE; pip install 'calibrant"):
        VennAbersCalibration().fit(logits, target)
    with pytest.raises(InputError, match="need MAPIE"):
        ConformalSets(0.9, "aps").fit(logits, target)
