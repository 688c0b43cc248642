"""The paired test: exact under the null hypothesis, and its statistic is the metric."""

import time

import pytest
import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics import functional, paired
from calibrant.metrics.label_scores import LabelScores
from calibrant.metrics.paired import METRICS, paired_test, paired_test_of_sums


def drawn(n: int = 400, classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, classes, generator=generator, dtype=torch.float64)
    return logits, torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)


def noisy(logits: Tensor, seed: int, strength: float = 0.7) -> Tensor:
    generator = torch.Generator().manual_seed(1000 + seed)
    return logits + strength * torch.randn(logits.shape, generator=generator, dtype=logits.dtype)


@pytest.mark.parametrize("metric", METRICS)
def test_the_difference_is_that_of_the_metric(metric: str) -> None:
    logits, target = drawn()
    runs_a, runs_b = [noisy(2 * logits, 1), noisy(2 * logits, 2)], [noisy(logits, 3), noisy(logits, 4)]
    compute = getattr(functional, metric)
    expected = sum(
        float(compute(a, target, inputs="logits") - compute(b, target, inputs="logits")) / 2
        for a, b in zip(runs_a, runs_b, strict=True)
    )
    result = paired_test(runs_a, runs_b, target, inputs="logits", metric=metric, draws=100)
    assert result.difference == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("metric", ["nll", "brier", "ece", "aece", "classwise_ece"])
def test_a_clear_difference_is_found_with_its_sign(metric: str) -> None:
    logits, target = drawn(1000)
    result = paired_test(3 * logits, logits, target, inputs="logits", metric=metric, draws=499)
    assert result.p_value == 1 / 500
    assert 0 < result.low < result.difference < result.high
    other = paired_test(logits, 3 * logits, target, inputs="logits", metric=metric, draws=499)
    assert other.difference == pytest.approx(-result.difference)
    assert other.p_value == result.p_value


@pytest.mark.parametrize("metric", METRICS)
def test_equal_methods_have_p_value_one(metric: str) -> None:
    logits, target = drawn()
    result = paired_test(logits, logits, target, inputs="logits", metric=metric, draws=50)
    assert result == pytest.approx((0.0, 0.0, 0.0, 1.0), abs=1e-12)


@pytest.mark.parametrize("metric", ["ece", "accuracy"])
def test_the_test_keeps_its_level(metric: str) -> None:
    """Two equally noisy networks: at most 5 % of the p-values fall to 0.05, but for chance."""
    rejected = 0
    for seed in range(200):
        logits, target = drawn(150, 3, seed)
        a, b = noisy(logits, 2 * seed), noisy(logits, 2 * seed + 1)
        rejected += paired_test(a, b, target, inputs="logits", metric=metric, draws=99).p_value <= 0.05
    assert rejected <= 18
    if metric == "ece":
        assert rejected >= 3


def test_the_interval_covers_the_true_difference() -> None:
    generator = torch.Generator().manual_seed(0)
    many = 2 * torch.randn(300_000, 4, generator=generator, dtype=torch.float64)

    def gap(scale: float) -> float:
        confidence, label = (scale * many).softmax(1).max(1)
        right = many.softmax(1).gather(1, label.unsqueeze(1)).squeeze(1)
        return float((confidence - right).mean())

    # Over-confident everywhere, so that the error is the gap.
    true, covered = gap(3.0) - gap(1.5), 0
    for seed in range(100):
        logits, target = drawn(600, 4, seed)
        _, low, high, _ = paired_test(
            3 * logits, 1.5 * logits, target, inputs="logits", metric="ece", draws=200
        )
        covered += low <= true <= high
    assert covered >= 88


def slow_p_value(a: Tensor, b: Tensor, target: Tensor, signs: Tensor) -> float:
    def difference(x: Tensor, y: Tensor) -> float:
        first, second = (functional.ece(v, target, inputs="logits") for v in (x, y))
        return float(first - second)

    observed = abs(difference(a, b))
    extreme = 0
    for row in signs:
        swap = (row < 0).unsqueeze(1)
        extreme += abs(difference(torch.where(swap, b, a), torch.where(swap, a, b))) >= observed - 1e-12
    return (1 + extreme) / (1 + len(signs))


def test_the_p_value_is_that_of_a_slow_loop() -> None:
    logits, target = drawn(60)
    a, b = noisy(1.5 * logits, 1), noisy(logits, 2)
    signs = torch.cat(list(paired._signs(99, 60, seed=5)))
    fast = paired_test(a, b, target, inputs="logits", metric="ece", draws=99, seed=5).p_value
    assert fast == pytest.approx(slow_p_value(a, b, target, signs))


@pytest.mark.parametrize("metric", ["ece", "classwise_ece", "mce"])
def test_the_result_does_not_depend_on_the_memory_budget(metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    logits, target = drawn()
    runs_a, runs_b = [noisy(logits, 1), noisy(logits, 2)], [noisy(logits, 3), noisy(logits, 4)]
    whole = paired_test(runs_a, runs_b, target, inputs="logits", metric=metric, draws=100)
    monkeypatch.setattr(paired, "_BUDGET", 20_000)
    pieces = paired_test(runs_a, runs_b, target, inputs="logits", metric=metric, draws=100)
    assert pieces == pytest.approx(whole, abs=1e-12)


def test_pixels_of_an_image_are_swapped_together() -> None:
    logits, target = drawn(12 * 50)
    maps = (3 * logits).reshape(12, 50, 4).movedim(-1, 1)
    dense = paired_test(
        maps, maps / 3, target.reshape(12, 50), inputs="logits", metric="nll", draws=5000, ignore_index=None
    )
    flat = paired_test(3 * logits, logits, target, inputs="logits", metric="nll", draws=5000)
    assert dense.difference == pytest.approx(flat.difference)
    # 12 images admit no p-value below 2 in 2^12; 600 independent rows do.
    assert dense.p_value >= 1 / 2**12
    assert flat.p_value == 1 / 5001


@pytest.mark.parametrize("metric", [metric for metric in METRICS if metric != "aece"])
def test_sums_of_images_tell_what_their_pixels_tell(metric: str) -> None:
    _, target = drawn(2 * 9 * 40)
    target = target.reshape(2, 9, 5, 8)
    target[0, 1, :2] = 255
    runs = []
    for scale in (1.0, 1.5):
        maps = [scale * noisy(drawn(9 * 40, seed=seed)[0], seed).reshape(9, 5, 8, 4) for seed in (0, 1)]
        runs.append([each.movedim(-1, 1) for each in maps])
    sums: list[list[dict[str, Tensor]]] = []
    for seeds in runs:
        sums.append([])
        for maps in seeds:
            scores = LabelScores(4)
            for logits, label in zip(maps, target[0], strict=True):
                scores.add(logits, label)
            sums[-1].append(scores.sums())
    from_sums = paired_test_of_sums(*sums, metric)
    direct = paired_test(*runs, target[0], inputs="logits", metric=metric, ignore_index=255)
    assert from_sums == pytest.approx(direct, rel=1e-9)
    assert abs(from_sums.difference) > 0.001 or metric == "accuracy"


def test_ignored_labels_count_nowhere() -> None:
    logits, target = drawn()
    ignoring = target.clone()
    ignoring[::3] = 255
    kept = torch.arange(len(target)) % 3 != 0
    for metric in METRICS:
        one = paired_test(
            2 * logits, logits, ignoring, inputs="logits", metric=metric, draws=20, ignore_index=255
        )
        other = paired_test(
            2 * logits[kept], logits[kept], target[kept], inputs="logits", metric=metric, draws=20
        )
        assert one.difference == pytest.approx(other.difference, abs=1e-12)


def test_probabilities_give_what_their_logits_give() -> None:
    logits, target = drawn()
    one = paired_test(2 * logits, logits, target, inputs="logits", metric="ece", draws=50)
    other = paired_test(
        (2 * logits).softmax(1), logits.softmax(1), target, inputs="probs", metric="ece", draws=50
    )
    assert one == pytest.approx(other, abs=1e-9)


def test_ten_thousand_samples_and_five_seeds_take_seconds() -> None:
    logits, target = drawn(10_000, 10)
    runs_a, runs_b = [noisy(1.2 * logits, k) for k in range(5)], [noisy(logits, 9 + k) for k in range(5)]
    times = []
    for _ in range(2):
        start = time.process_time()
        paired_test(runs_a, runs_b, target, inputs="logits", metric="ece")
        times.append(time.process_time() - start)
    # About 0.6 s on two idle cores.
    assert min(times) < 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metric": "auroc"}, "There is no paired test of 'auroc'"),
        ({"values_b": [torch.zeros(4, 2)] * 2}, "A has 1 seeds and B has 2"),
        ({"values_a": []}, "nothing to compare"),
        ({"values_b": torch.zeros(3, 2)}, "fits no values of shape"),
        ({"level": 95}, "level must lie between 0 and 1"),
        ({"ignore_index": [0, 1]}, "every label is ignored"),
        ({"inputs": "probs", "values_a": torch.eye(2).repeat(2, 1), "metric": "nll"}, "is infinite"),
    ],
)
def test_mistakes_are_refused(change: dict[str, object], message: str) -> None:
    arguments: dict[str, object] = {
        "values_a": torch.full((4, 2), 0.5),
        "values_b": torch.full((4, 2), 0.5),
        "target": torch.tensor([0, 1, 1, 0]),
        "inputs": "probs",
        "metric": "ece",
    }
    with pytest.raises(InputError, match=message):
        paired_test(**(arguments | change))  # type: ignore[arg-type]
