"""What is judged is what the metrics say of the same arrays, and what scikit-learn says."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, brier_score_loss, log_loss

from calibrant.errors import InputError
from calibrant.metrics import Estimate, State, evaluate, paired_test
from calibrant.metrics.functional import brier_decomposition, signed_ce
from calibrant.metrics.rows import checked
from calibrant.predictions import open_predictions
from calibrant.predictions.groups import PAIRED, GroupSums
from calibrant.predictions.judgement import Judgement, compare, judge
from calibrant.predictions.words import statements, verdict, worst_bin, worst_classes
from tests.predictions.conftest import Said


def written(path: Path, values: NDArray, target: NDArray, name: str = "probs") -> Path:
    np.savez(path, **{name: values, "y": target})
    return path


def judged(path: Path, **options) -> Judgement:
    return judge(open_predictions(path, **options))


def test_many_classes_agree_with_metrics_and_scikit_learn(digits: Said, tmp_path: Path, monkeypatch) -> None:
    # Small batches: nothing depends on them.
    monkeypatch.setattr("calibrant.predictions.arrays.BATCH", 1300)
    found = judged(written(tmp_path / "a.npz", digits.probs, digits.target))
    probs, target = torch.tensor(digits.probs), torch.tensor(digits.target)
    expected = evaluate(probs, target, inputs="probs")
    assert set(found.estimates) == set(expected)
    for name, estimate in found.estimates.items():
        if name == "mce":  # its interval is cut where the metric ends
            assert estimate.value == pytest.approx(expected[name].value)
            assert estimate.high <= 1
        else:
            assert estimate == pytest.approx(expected[name], abs=1e-12), name
    assert found.estimates["nll"].value == pytest.approx(log_loss(digits.target, digits.probs))
    assert found.estimates["brier"].value == pytest.approx(brier_score_loss(digits.target, digits.probs))
    assert found.estimates["accuracy"].value == accuracy_score(digits.target, digits.probs.argmax(1))
    parts = brier_decomposition(probs, target, inputs="probs")
    assert found.brier_parts["reliability"] == pytest.approx(float(parts.reliability))
    assert found.gap.value == pytest.approx(float(signed_ce(probs, target, inputs="probs")))
    assert found.gap.low < found.gap.value < found.gap.high
    assert (found.rows, found.maps, found.notices) == (len(digits.target), None, [])
    assert [facts.count for facts in found.classes] == np.bincount(digits.target).tolist()
    assert [facts.said for facts in found.classes] == pytest.approx(digits.probs.mean(0).tolist())
    assert sum(f.error for f in found.classes) / 10 == pytest.approx(expected["classwise_ece"].value)


def test_two_classes_in_one_column_agree_with_two_columns(cancer: Said, tmp_path: Path) -> None:
    one = judged(written(tmp_path / "one.npz", cancer.logits, cancer.target, "logits"))
    two = judged(written(tmp_path / "two.npz", cancer.probs, cancer.target))
    for name, estimate in one.estimates.items():
        assert estimate == pytest.approx(two.estimates[name], abs=1e-9), name
    # scikit-learn's score of two classes is half of the sum over both.
    brier = brier_score_loss(cancer.target, cancer.probs[:, 1])
    assert one.estimates["brier"].value == pytest.approx(2 * brier)
    assert one.estimates["nll"].value == pytest.approx(log_loss(cancer.target, cancer.probs))
    assert one.tests["classwise_ece"].p_value < 0.05 < one.tests["ece"].p_value
    assert "its probabilities of the single classes are not" in statements(one)[1].text
    assert one.shown_class == 1


def test_an_over_confident_model_is_said_to_be_one(bayes: Said, tmp_path: Path) -> None:
    found = judged(written(tmp_path / "a.npz", bayes.logits, bayes.target, "logits"))
    assert verdict(found) == "over-confident"
    lean, chance, where, classes = (statement.text.replace("\xa0", " ") for statement in statements(found))
    says, right = bayes.probs.max(1).mean(), (bayes.probs.argmax(1) == bayes.target).mean()
    assert lean.startswith(f"Over-confident by {100 * (says - right):.1f} percentage points (95 % interval ")
    assert f"it says {100 * says:.1f} % and is right {100 * right:.1f} % of the time" in lean
    assert "(p = 0.0025). It is not calibrated." in chance
    assert worst_bin(found) == 14
    assert "between 93 % and 100 % sure" in where
    assert f"class {worst_classes(found)[0].name} (error" in classes


@pytest.fixture
def honest() -> tuple[NDArray, NDArray]:
    """Labels that are drawn from the probabilities."""
    rng = np.random.default_rng(3)
    probs = rng.dirichlet(np.full(5, 0.6), size=800)
    target = (rng.random((800, 1)) > probs.cumsum(1)).sum(1).clip(max=4)
    return probs, target


def test_nothing_is_said_against_a_calibrated_model(honest: tuple[NDArray, NDArray], tmp_path: Path) -> None:
    found = judged(written(tmp_path / "a.npz", *honest))
    assert verdict(found) == ""
    assert [test.p_value > 0.05 for test in found.tests.values()] == [True, True]
    said = " ".join(statement.text for statement in statements(found))
    assert "Nothing here speaks against its being calibrated." in said
    assert "In no range of confidence" in said
    assert "The probability of no class" in said
    assert found.tests["ece"].expected == pytest.approx(found.estimates["ece"].value, rel=0.5)


def test_beyond_the_limit_signs_of_groups_test_as_drawn_labels_do(
    honest: tuple[NDArray, NDArray], bayes: Said, tmp_path: Path, monkeypatch
) -> None:
    calibrated, sure = (
        judged(written(tmp_path / "a.npz", *honest)),
        judged(written(tmp_path / "b.npz", bayes.logits, bayes.target, "logits")),
    )
    monkeypatch.setattr("calibrant.predictions.judgement.EXACT_LIMIT", 100)
    monkeypatch.setattr("calibrant.predictions.groups.GROUPS", 200)
    for exact, name in ((calibrated, "a.npz"), (sure, "b.npz")):
        found = judged(tmp_path / name)
        assert (exact.drawn_labels, found.drawn_labels) == (True, False)
        for metric, test in found.tests.items():
            assert (test.p_value <= 0.05) == (exact.tests[metric].p_value <= 0.05)
            assert test.value == exact.tests[metric].value
    found = judged(tmp_path / "a.npz")
    assert found.tests["ece"].expected == pytest.approx(calibrated.tests["ece"].expected, rel=0.15)


@pytest.mark.parametrize("metric", PAIRED)
def test_paired_tests_are_those_of_the_metrics(metric: str, cancer: Said, tmp_path: Path) -> None:
    sharp = 1 / (1 + np.exp(-3 * cancer.logits))
    first = judged(written(tmp_path / "a.npz", cancer.logits, cancer.target, "logits"))
    other = judged(written(tmp_path / "b.npz", sharp, cancer.target))
    (name, tests), *more = compare(first, [other]).items()
    assert (name, more) == (str(tmp_path / "b.npz"), [])
    values = [torch.tensor(sharp), torch.tensor(1 / (1 + np.exp(-cancer.logits)))]
    expected = paired_test(
        values[0][:, None], values[1][:, None], torch.tensor(cancer.target), inputs="probs", metric=metric
    )
    assert tests[metric] == pytest.approx(expected, abs=1e-6)


def test_files_of_other_samples_are_not_compared(cancer: Said, tmp_path: Path) -> None:
    first = judged(written(tmp_path / "a.npz", cancer.probs, cancer.target))
    other = judged(written(tmp_path / "b.npz", cancer.probs[::-1], cancer.target[::-1]))
    assert compare(first, [other]) == {}


def test_rows_that_do_not_count_change_nothing(cancer: Said, tmp_path: Path) -> None:
    rows = len(cancer.target)
    probs = np.concatenate([cancer.probs, np.full((9, 2), np.nan)])
    target = np.concatenate([cancer.target, np.full(9, 255)])
    found = judged(written(tmp_path / "a.npz", probs, target), ignore_index=255)
    plain = judged(written(tmp_path / "b.npz", cancer.probs, cancer.target))
    assert found.rows == plain.rows == rows
    # Sums of other blocks of rows are rounded otherwise.
    for metric, estimate in plain.estimates.items():
        assert found.estimates[metric] == pytest.approx(estimate, abs=1e-12), metric
    for name, test in plain.tests.items():
        assert found.tests[name] == pytest.approx(test, abs=1e-12), name


def images(count: int, sharpness: float, path: Path) -> Path:
    """Write maps whose pixels agree within an image: (N, H, W) probabilities of class 1, and labels."""
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(count, 1, 1)) * 2 + rng.normal(size=(count, 6, 5)) * 0.1
    target = rng.random((count, 1, 1)) < 1 / (1 + np.exp(-logits))
    target = np.where(rng.random(target.shape) < 0.02, 255, target)
    return written(path, sharpness * logits, target.astype(np.uint8), "logits")


def test_pixels_are_not_taken_for_independent(tmp_path: Path) -> None:
    found = judged(images(120, 1.0, tmp_path / "a.npz"), ignore_index=255)
    assert found.maps == 120
    assert found.rows == (np.load(tmp_path / "a.npz")["y"] != 255).sum()
    assert found.tests["ece"].p_value > 0.05
    accuracy = found.estimates["accuracy"]
    # 30 pixels that agree are one: the interval is about sqrt(30) times as wide.
    naive = 2 * 1.96 * math.sqrt(accuracy.value * (1 - accuracy.value) / found.rows)
    assert 3 < (accuracy.high - accuracy.low) / naive < 7
    for name in ("ece", "aece", "classwise_ece", "mce", "nll", "brier", "smooth_ece"):
        estimate = found.estimates[name]
        assert 0 <= estimate.low < estimate.high
        assert estimate.low <= estimate.value + 0.05, name
    values = open_predictions(tmp_path / "a.npz", ignore_index=255).read()
    expected = evaluate(*values, inputs="logits", ignore_index=-1, intervals=False)
    assert {n: e.value for n, e in found.estimates.items()} == pytest.approx(
        {n: e.value for n, e in expected.items()}
    )
    assert verdict(judged(images(120, 5.0, tmp_path / "b.npz"), ignore_index=255)) == "over-confident"


def test_few_maps_are_noticed(tmp_path: Path) -> None:
    found = judged(images(3, 1.0, tmp_path / "a.npz"), ignore_index=255)
    assert "holds 3 maps" in found.notices[0]


def test_an_infinite_nll_and_logits_that_look_like_probabilities_are_noticed(tmp_path: Path) -> None:
    probs, target = np.array([[1.0, 0.0], [0.4, 0.6]] * 5), np.array([1, 0] * 5)
    (notice,) = judged(written(tmp_path / "a.npz", probs, target)).notices
    assert "probability exactly 0" in notice
    (notice,) = judged(written(tmp_path / "b.npz", probs, target, "logits")).notices
    assert "if these are probabilities, say --inputs probs" in notice


def test_one_class_and_no_label_are_refused(cancer: Said, tmp_path: Path) -> None:
    path = written(tmp_path / "a.npz", cancer.probs, np.zeros_like(cancer.target))
    with pytest.raises(
        InputError, match=r"The labels of .*a\.npz \(469\) are all of the one class 0; give predictions"
    ):
        judged(path)
    with pytest.raises(InputError, match=r"No label of .*a\.npz counts"):
        judged(path, ignore_index=0)


def test_residuals_by_group_are_those_of_each_class() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(30, 4, 7, generator=generator).mul(2).softmax(1)
    target = torch.randint(-1, 4, (30, 7), generator=generator)
    groups = GroupSums(4, 6, maps=True)
    for start in range(0, 30, 11):
        part = slice(start, start + 11)
        groups.add(checked(values[part], target[part], inputs="probs", ignore_index=-1))
    for image in range(30):
        state = State({"class", "top"}, 4, 6)
        state.update(values[image : image + 1], target[image : image + 1], inputs="probs", ignore_index=-1)
        bins, top = state.class_bins(), state.bins()
        assert torch.allclose(groups["class_residual"][image], bins.confidence - bins.correct, atol=1e-6)
        assert torch.allclose(groups["top_residual"][image], top.confidence - top.correct)
        assert int(groups["rows"][image]) == bins.total


def test_direction_and_size_of_the_error_do_not_contradict_each_other(
    honest: tuple[NDArray, NDArray], tmp_path: Path
) -> None:
    found = judged(written(tmp_path / "a.npz", *honest))
    leaning = replace(found, gap=Estimate(0.02, 0.001, 0.04))
    said = statements(leaning)
    assert said[0].text.startswith("Over-confident")
    assert said[1].text.endswith("The size of the error alone may be chance; its direction, above, is not.")
    unknown = replace(found, gap=Estimate(0.02, math.nan, math.nan))
    assert statements(unknown)[0].text.startswith("With a single map nothing tells its direction from chance")


def test_what_chance_does_is_not_widened_by_the_error_itself(tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(66_000, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    target = (np.random.default_rng(1).random((len(logits), 1)) > shares.cumsum(1)).sum(1).clip(max=2)
    whole = judged(written(tmp_path / "a.npz", 4 * logits, target, "logits"))
    fewer = judged(written(tmp_path / "b.npz", 4 * logits[:65_000], target[:65_000], "logits"))
    assert (whole.drawn_labels, fewer.drawn_labels) == (False, True)
    for name in ("ece", "classwise_ece"):
        assert whole.tests[name].limit < 2 * fewer.tests[name].limit
        assert whole.tests[name].p_value < 0.02


def test_equal_labels_of_maps_are_known_whatever_the_batches(tmp_path: Path) -> None:
    path = images(6, 1.0, tmp_path / "a.npz")
    arrays = np.load(path)
    for kind, values in (("logits", arrays["logits"]), ("labels", arrays["y"])):
        for at, each in enumerate(values):
            (tmp_path / "m" / kind).mkdir(parents=True, exist_ok=True)
            np.save(tmp_path / "m" / kind / f"{at}.npy", each)
    one, two = judged(path, ignore_index=255), judged(tmp_path / "m", ignore_index=255)
    assert one.digest == two.digest


def test_of_a_few_maps_nothing_is_said_of_chance(tmp_path: Path) -> None:
    found = judged(images(3, 4.0, tmp_path / "a.npz"), ignore_index=255)
    said = " ".join(statement.text for statement in statements(found))
    assert "That cannot be told from 3 maps" in said
