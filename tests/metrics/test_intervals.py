"""Intervals in closed form, and the coverage of the others by simulation."""

import time
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics import evaluate
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.intervals import Interval, binned_interval, mean_interval, resampled_interval, wilson
from calibrant.metrics.ranking import aurc, auroc, ks_error
from calibrant.metrics.smooth import smooth_ece

BINS = 15
CLASSES = 4


def ece(gaps: Tensor, weights: Tensor) -> Tensor:
    return gaps.abs().sum(-1)


def binned(confidence: Tensor, correct: Tensor, inner: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return count, sum and sum of squares of the residuals by bin."""
    inner = torch.arange(1, BINS, dtype=torch.float64) / BINS if inner is None else inner
    residual = confidence - correct
    rows = torch.stack([torch.ones_like(residual), residual, residual**2])
    index = torch.bucketize(confidence.contiguous(), inner)
    return tuple(torch.zeros(3, BINS, dtype=torch.float64).index_add_(1, index, rows))  # type: ignore[return-value]


def drawn(scale: float, samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return predictions softmax(scale z), labels from softmax(z), and softmax(z)."""
    z = 2 * torch.randn(samples, CLASSES, generator=generator, dtype=torch.float64)
    actual = z.softmax(1)
    return (scale * z).softmax(1), torch.multinomial(actual, 1, generator=generator).squeeze(1), actual


def truths(scale: float) -> dict[str, float]:
    """Return the metrics in the limit of many samples, from the exact probability of being correct."""
    predicted, _, actual = drawn(scale, 60_000, torch.Generator().manual_seed(99))
    confidence, label = predicted.max(1)
    right = actual.gather(1, label.unsqueeze(1)).squeeze(1)
    of_class = [binned(q, p)[1].abs().sum() for q, p in zip(predicted.T, actual.T, strict=True)]
    values = {
        "ece": binned(confidence, right)[1].abs().sum() / len(right),
        "classwise": sum(of_class) / len(right) / CLASSES,
        "ks": ks_error(confidence, right),
        "smooth": smooth_ece(confidence, right),
        "auroc": auroc(confidence, right),
        "aurc": aurc(confidence, right),
    }
    errors = ("ece", "classwise", "ks", "smooth")
    return {name: 0.0 if scale == 1 and name in errors else float(value) for name, value in values.items()}


def estimates(scale: float, samples: int, replications: int) -> Iterator[dict[str, Interval]]:
    generator = torch.Generator().manual_seed(7)
    for seed in range(replications):
        predicted, target, _ = drawn(scale, samples, generator)
        confidence, label = predicted.max(1)
        correct = (label == target).double()
        hits = torch.nn.functional.one_hot(target, CLASSES).double()
        state = [torch.stack(x) for x in zip(*map(binned, predicted.T, hits.T), strict=True)]
        cells = (torch.ones_like(confidence), confidence, correct)
        yield {
            "ece": binned_interval(ece, *binned(confidence, correct), samples, draws=300, seed=seed),
            "classwise": binned_interval(
                lambda gaps, weights: gaps.abs().sum(-1).mean(-1), *state, samples, draws=200, seed=seed
            ),
            "ks": resampled_interval(ks_error, *cells, seed=seed, from_zero=True),
            "smooth": resampled_interval(smooth_ece, *cells, seed=seed, from_zero=True),
            "auroc": resampled_interval(auroc, *cells, seed=seed),
            "aurc": resampled_interval(aurc, *cells, seed=seed),
        }


@pytest.mark.parametrize("scale", [1.0, 1.4], ids=["calibrated", "over-confident"])
def test_intervals_cover_the_truth(scale: float) -> None:
    """At 300 samples and a nominal 95 %; 86 % is three standard deviations of 60 replications below."""
    true, replications = truths(scale), 60
    covered = dict.fromkeys(true, 0)
    for found in estimates(scale, 300, replications):
        for name, (low, high) in found.items():
            assert low <= high
            covered[name] += bool(low <= true[name] <= high)
    shares = {name: count / replications for name, count in covered.items()}
    assert all(share >= 0.86 for share in shares.values()), shares


@pytest.mark.parametrize("classes", [2, 4])
def test_errors_that_were_not_seen_are_reckoned_with(classes: int) -> None:
    samples, sure = 300, 1 - 1e-6
    probs = torch.full((samples, classes), (1 - sure) / (classes - 1), dtype=torch.float64)
    probs[:, 0] = sure
    result = evaluate(probs, torch.zeros(samples, dtype=torch.int64), inputs="probs")
    # One in a thousand may be wrong: three of four samples of this size show none.
    for name in ("ece", "aece", "rmsce", "ks", "smooth_ece"):
        assert result[name].low <= 1e-6 < 0.001 < result[name].high < 0.02, name
    assert result["classwise_ece"].low < 1e-6 < 0.002 / classes < result["classwise_ece"].high < 0.04 / classes


def test_no_interval_leaves_the_range_of_its_metric() -> None:
    probs = torch.tensor([[0.9, 0.1], [0.01, 0.99]], dtype=torch.float64)
    for target in ([1, 0], [0, 1], [0, 0]):
        for name, estimate in evaluate(probs, torch.tensor(target), inputs="probs").items():
            least, most = DEFINITIONS[name].range
            # Nothing is ranked where all are right, or none.
            if name == "auroc" and target != [0, 0]:
                continue
            assert least <= estimate.low <= estimate.high <= most, (name, estimate)


def test_the_interval_narrows_as_samples_grow_and_excludes_zero_when_it_should() -> None:
    generator = torch.Generator().manual_seed(0)
    widths = []
    for samples in (300, 3_000, 30_000):
        predicted, target, _ = drawn(2.5, samples, generator)
        confidence, label = predicted.max(1)
        low, high = binned_interval(ece, *binned(confidence, (label == target).double()), samples)
        assert low > 0.05
        widths.append(float(high - low))
    assert widths[0] / widths[2] == pytest.approx(10, rel=0.3)


def test_intervals_are_the_same_under_the_same_seed() -> None:
    predicted, target, _ = drawn(1.5, 500, torch.Generator().manual_seed(0))
    confidence, label = predicted.max(1)
    correct = (label == target).double()
    state = binned(confidence, correct)
    cells = (torch.ones_like(confidence), confidence, correct)
    assert binned_interval(ece, *state, 500) == binned_interval(ece, *state, 500)
    assert resampled_interval(auroc, *cells) == resampled_interval(auroc, *cells)
    assert resampled_interval(auroc, *cells, seed=1) != resampled_interval(auroc, *cells, seed=2)


def test_a_higher_level_gives_a_wider_interval() -> None:
    predicted, target, _ = drawn(1.5, 500, torch.Generator().manual_seed(0))
    confidence, label = predicted.max(1)
    state = binned(confidence, (label == target).double())
    narrow = binned_interval(ece, *state, 500, level=0.8)
    wide = binned_interval(ece, *state, 500, level=0.99)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_the_order_and_the_joining_of_cells_play_no_part() -> None:
    generator = torch.Generator().manual_seed(0)
    confidence = (torch.rand(800, generator=generator, dtype=torch.float64) * 50).round() / 50
    correct = (torch.rand(800, generator=generator) < confidence).double()
    values, index = confidence.unique(return_inverse=True)
    count, hits = torch.bincount(index).double(), torch.bincount(index, correct)
    once = resampled_interval(ks_error, count, values * count, hits, from_zero=True)
    backwards = resampled_interval(
        ks_error, count.flip(0), (values * count).flip(0), hits.flip(0), from_zero=True
    )
    assert once == backwards


def test_many_cells_are_joined_without_visible_change() -> None:
    predicted, target, _ = drawn(1.5, 20_000, torch.Generator().manual_seed(0))
    confidence, label = predicted.max(1)
    correct = (label == target).double()
    low, high = resampled_interval(auroc, torch.ones_like(confidence), confidence, correct)
    value = auroc(confidence, correct)
    assert low < value < high
    assert high - low < 0.02


def test_binned_interval_takes_milliseconds() -> None:
    predicted, target, _ = drawn(1.5, 5_000, torch.Generator().manual_seed(0))
    confidence, label = predicted.max(1)
    state = binned(confidence, (label == target).double())
    times = []
    for _ in range(10):
        start = time.process_time()
        binned_interval(ece, *state, 5_000)
        times.append(time.process_time() - start)
    # About 10 ms on one idle core.
    assert min(times) < 0.1


def test_wilson_known_values() -> None:
    low, high = wilson(torch.tensor([0.0, 5.0, 10.0]), torch.tensor([10.0, 10.0, 10.0]))
    assert low.tolist() == pytest.approx([0.0, 0.236593, 0.722467], abs=1e-6)
    assert high.tolist() == pytest.approx([0.277533, 0.763407, 1.0], abs=1e-6)
    assert all(end.isnan() for end in wilson(0, 0))


def test_mean_interval_known_values() -> None:
    values = torch.arange(1.0, 21.0, dtype=torch.float64)
    low, high = mean_interval(values.sum(), (values**2).sum(), 20)
    half = 1.959964 * float(values.std()) / 20**0.5
    assert (float(low), float(high)) == pytest.approx((10.5 - half, 10.5 + half), abs=1e-5)
    assert all(end.isnan() for end in mean_interval(3.0, 9.0, 1))


def test_nothing_gives_nan() -> None:
    none = torch.zeros(BINS, dtype=torch.float64)
    assert all(end.isnan() for end in binned_interval(ece, none, none, none, 0))
    assert all(end.isnan() for end in resampled_interval(auroc, none, none, none))


def test_an_undefined_statistic_gives_nan() -> None:
    cells = (torch.ones(3), torch.tensor([0.5, 0.7, 0.9]), torch.ones(3))
    assert all(end.isnan() for end in resampled_interval(auroc, *cells))


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_zero_and_one_is_refused(level: float) -> None:
    none = torch.zeros(BINS)
    with pytest.raises(InputError, match="level must lie between 0 and 1"):
        wilson(1, 2, level)
    with pytest.raises(InputError, match="level"):
        binned_interval(ece, none, none, none, 1, level=level)
    with pytest.raises(InputError, match="level"):
        resampled_interval(auroc, none, none, none, level=level)
