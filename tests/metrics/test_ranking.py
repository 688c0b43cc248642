"""Ranking metrics against slow loops and scikit-learn, with ties, whatever the order of the data."""

from itertools import permutations

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from calibrant.metrics.ranking import aurc, auroc, excess_aurc, grouped, ks_error


def drawn(seed: int, ties: bool, n: int = 200) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    confidence = torch.rand(n, generator=generator, dtype=torch.float64)
    if ties:
        confidence = (confidence * 10).round() / 10
    return confidence, (torch.rand(n, generator=generator) < confidence).long()


def curve_area(correct: list[int]) -> float:
    """AURC of samples that are in order already."""
    errors, total = 0, 0.0
    for i, right in enumerate(correct, start=1):
        errors += 1 - right
        total += errors / i
    return total / len(correct)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("ties", [False, True])
def test_auroc_agrees_with_scikit_learn(seed: int, ties: bool) -> None:
    confidence, correct = drawn(seed, ties)
    assert float(auroc(confidence, correct)) == pytest.approx(roc_auc_score(correct, confidence), abs=1e-12)


@pytest.mark.parametrize("value", [0, 1])
def test_auroc_is_nan_when_there_is_no_pair(value: int) -> None:
    assert auroc(torch.tensor([0.2, 0.8]), torch.tensor([value, value])).isnan()


@pytest.mark.parametrize("seed", range(3))
def test_aurc_is_the_mean_of_the_risks(seed: int) -> None:
    confidence, correct = drawn(seed, ties=False)
    expected = curve_area(correct[confidence.argsort(descending=True)].tolist())
    assert float(aurc(confidence, correct)) == pytest.approx(expected, abs=1e-12)


def test_aurc_averages_over_the_orders_of_a_tie() -> None:
    confidence = torch.tensor([0.9, 0.5, 0.5, 0.5, 0.2])
    correct = torch.tensor([0, 1, 0, 1, 1])
    orders = [curve_area([0, *order, 1]) for order in permutations([1, 0, 1])]
    assert float(aurc(confidence, correct)) == pytest.approx(sum(orders) / len(orders), abs=1e-12)


def test_excess_aurc_is_zero_for_a_perfect_order_and_positive_else() -> None:
    confidence, correct = drawn(0, ties=False)
    perfect = correct + confidence / 2
    assert float(excess_aurc(perfect, correct)) == pytest.approx(0.0, abs=1e-12)
    best = curve_area(sorted(correct.tolist(), reverse=True))
    assert float(excess_aurc(confidence, correct)) == pytest.approx(float(aurc(confidence, correct)) - best)


@pytest.mark.parametrize("ties", [False, True])
def test_ks_is_the_largest_cumulative_gap(ties: bool) -> None:
    confidence, correct = drawn(1, ties)
    gaps = [
        abs(float((confidence - correct)[confidence <= threshold].sum())) / len(confidence)
        for threshold in confidence
    ]
    assert float(ks_error(confidence, correct)) == pytest.approx(max(gaps), abs=1e-12)


@pytest.mark.parametrize("metric", [auroc, aurc, excess_aurc, ks_error])
def test_the_order_of_tied_samples_plays_no_part(metric) -> None:
    confidence, correct = drawn(2, ties=True)
    expected = float(metric(confidence, correct))
    for order in (correct.argsort(), correct.argsort(descending=True)):
        assert float(metric(confidence[order], correct[order])) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [auroc, aurc, excess_aurc, ks_error])
def test_cells_equal_their_samples(metric) -> None:
    confidence, correct = drawn(3, ties=True)
    cells = grouped(confidence, correct)
    joined = metric(cells.confidence, cells.correct, cells.size)
    assert float(joined) == pytest.approx(float(metric(confidence, correct)), abs=1e-12)


@pytest.mark.parametrize("metric", [auroc, aurc, excess_aurc, ks_error])
def test_leading_dimensions_are_replicates(metric) -> None:
    confidence, correct = drawn(4, ties=True)
    other = 1 - correct
    values = metric(confidence, torch.stack([correct, other]))
    assert values[0] == metric(confidence, correct)
    assert values[1] == metric(confidence, other)


@pytest.mark.parametrize("metric", [auroc, aurc, ks_error])
def test_nothing_gives_nan(metric) -> None:
    assert metric(torch.zeros(0), torch.zeros(0)).isnan()
