import numpy as np
import torch

from calibrant.metrics import reliability
from calibrant.metrics.intervals import wilson
from calibrant.report.bins import pool


def _logits(confidence: float) -> list[float]:
    return [float(np.log(confidence / (1 - confidence))), 0.0]


def test_seeds_are_pooled_by_their_counts() -> None:
    first = reliability(torch.tensor([_logits(0.9)] * 3), torch.tensor([0, 0, 1]), inputs="logits", n_bins=2)
    second = reliability(torch.tensor([_logits(0.6)]), torch.tensor([1]), inputs="logits", n_bins=2)

    bins = pool([first, second])

    np.testing.assert_allclose(bins.share, [0.0, 1.0])
    np.testing.assert_allclose(bins.accuracy[1], 2 / 4)
    np.testing.assert_allclose(bins.confidence[1], (3 * 0.9 + 0.6) / 4, rtol=1e-6)
    assert bins.filled.tolist() == [False, True]
    assert np.isnan(bins.accuracy[0])


def test_interval_of_pooled_seeds_is_as_wide_as_that_of_one() -> None:
    logits, target = torch.tensor([_logits(0.7)] * 10), torch.tensor([0] * 8 + [1] * 2)
    seed = reliability(logits, target, inputs="logits", n_bins=5)

    one, three = pool([seed]), pool([seed] * 3)

    low, high = wilson(8, 10)
    np.testing.assert_allclose([one.low[3], one.high[3]], [float(low), float(high)], rtol=1e-12)
    np.testing.assert_allclose([three.low[3], three.high[3]], [one.low[3], one.high[3]], rtol=1e-12)
    assert (three.samples, three.seeds) == (10, 3)


def test_means_are_those_of_the_samples() -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(200, 3), torch.randint(0, 3, (200,))
    bins = pool([reliability(logits, target, inputs="logits")])
    top = logits.double().softmax(1).max(1)
    np.testing.assert_allclose(bins.mean_confidence, float(top.values.mean()), rtol=1e-6)
    np.testing.assert_allclose(bins.mean_accuracy, float((top.indices == target).double().mean()), rtol=1e-6)
