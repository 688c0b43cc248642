"""Correctness ranking: its history, its pairs, its limits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from calibrant.errors import InputError
from calibrant.losses import CorrectnessRanking
from calibrant.losses.correctness_ranking import ranking_confidence
from tests.together import in_two


def learned(counts, epochs, **options) -> CorrectnessRanking:
    loss = CorrectnessRanking(len(counts), **options)
    loss.correct.copy_(torch.tensor(counts))
    loss.epoch.fill_(epochs)
    return loss


def batch(rows=6, classes=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(rows, classes, dtype=torch.float64, generator=generator)
    return logits, torch.randint(0, classes, (rows,), generator=generator)


def slow(loss, logits, target, index, kept):
    """The definition, pair by pair, over the rows that are kept."""
    p = logits.softmax(1)
    least, rows = int(loss.correct.min()), []
    for at, i in enumerate(kept):
        j = kept[(at + 1) % len(kept)]
        c = [(int(loss.correct[index[r]]) - least) / (int(loss.epoch) - least) for r in (i, j)]
        s, m = (c[0] > c[1]) - (c[0] < c[1]), abs(c[0] - c[1])
        gap = float(p[i].max() - p[j].max())
        rows.append(max(0.0, -s * (gap - m / s)) if s else 0.0)
    return sum(rows) / len(rows) + float(cross_entropy(logits[kept], target[kept]))


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(0, 4), min_size=6, max_size=6),
    ignored=st.sets(st.integers(0, 5), max_size=5),
    seed=st.integers(0, 99),
)
def test_neighbours_that_count_are_compared_around_the_end(counts, ignored, seed):
    loss = learned(counts, 5)
    logits, target = batch(seed=seed)
    index = torch.randperm(6, generator=torch.Generator().manual_seed(seed))
    kept = [i for i in range(6) if i not in ignored]
    expected = slow(loss, logits, target, index, kept)
    target[list(ignored)] = -100
    assert float(loss(logits, target, index=index)) == pytest.approx(expected)
    # To ignore is to remove.
    alone = loss(logits[kept], target[kept], index=index[kept])
    assert float(alone) == pytest.approx(expected)


def test_the_first_epoch_is_cross_entropy():
    loss = CorrectnessRanking(6)
    logits, target = batch()
    loss.observe(logits, target, index=torch.arange(6))
    torch.testing.assert_close(loss(logits, target, index=torch.arange(6)), cross_entropy(logits, target))
    loss.step_epoch()
    assert loss(logits, target, index=torch.arange(6)) > cross_entropy(logits, target)


@pytest.mark.parametrize("counts", [[0, 0, 0], [3, 3, 3]])
def test_samples_alike_cost_nothing(counts):
    loss = learned(counts, 3)
    logits, target = batch(3)
    torch.testing.assert_close(loss(logits, target, index=torch.arange(3)), cross_entropy(logits, target))


def test_history_counts_the_right_predictions_of_each_sample():
    loss = CorrectnessRanking(4)
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    for target in ([0, 0, 0], [0, 1, -100]):
        loss.observe(logits[:2], torch.tensor(target[:2]), index=torch.tensor([3, 1]))
        loss.observe(logits[2:], torch.tensor(target[2:]), index=torch.tensor([0]))
        loss.step_epoch()
    assert loss.correct.tolist() == [1, 1, 0, 2]
    assert int(loss.epoch) == 2
    other = CorrectnessRanking(4)
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other.targets(torch.tensor([3]), torch.tensor([2]))[1], torch.tensor([1.0]).double())


def test_the_order_of_observation_does_not_matter():
    logits, target = batch(8)
    losses = [CorrectnessRanking(8) for _ in range(2)]
    for loss, order in zip(losses, (torch.arange(8), torch.randperm(8)), strict=True):
        for part in order.split(3):
            loss.observe(logits[part], target[part], index=part)
        loss.step_epoch()
    assert torch.equal(losses[0].correct, losses[1].correct)


def test_the_less_often_right_is_made_less_confident():
    loss = learned([4, 0], 4, rank_weight=3.0)
    logits, target = torch.zeros(2, 3, requires_grad=True), torch.tensor([0, 0])
    with torch.no_grad():
        logits[:, 0] = 1.0
    plain = cross_entropy(logits, target)
    (extra,) = torch.autograd.grad(loss(logits, target, index=torch.arange(2)) - plain, logits)
    assert extra[0, 0] < 0 < extra[1, 0]


@pytest.mark.parametrize("kind", ["softmax", "margin", "entropy"])
def test_confidence_runs_from_none_to_full(kind):
    logits = torch.tensor([[0.0, 0.0, 0.0], [200.0, 0.0, 0.0]])
    least = {"softmax": 1 / 3, "margin": 0.0, "entropy": 0.0}[kind]
    assert ranking_confidence(logits, kind).tolist() == pytest.approx([least, 1.0], abs=1e-6)


def test_mistakes_are_refused():
    logits, target = batch(2)
    loss = CorrectnessRanking(2)
    with pytest.raises(InputError, match=r"\[0, 2\).*not 2"):
        loss(logits, target, index=torch.tensor([0, 2]))
    with pytest.raises(InputError, match="index=ids"):
        loss(logits, target)
    with pytest.raises(InputError, match="index=ids"):
        loss.observe(logits, target)
    with pytest.raises(InputError, match=r"\(2, 4, 1\)"):
        loss(logits[..., None], target[..., None], index=torch.arange(2))
    with pytest.raises(InputError, match="not 'top'"):
        CorrectnessRanking(2, confidence="top")
    with pytest.raises(InputError, match="positive, not 0"):
        CorrectnessRanking(0)


def _share(rank):
    logits, target = batch(9)
    loss, mine = CorrectnessRanking(9), torch.arange(9)[rank::2]
    for _ in range(2):
        loss.observe(logits[mine], target[mine], index=mine)
        loss.step_epoch()
    return loss.state_dict()


def test_two_processes_learn_what_one_learns_from_all():
    logits, target = batch(9)
    loss = CorrectnessRanking(9)
    for _ in range(2):
        loss.observe(logits, target, index=torch.arange(9))
        loss.step_epoch()
    assert 0 < int(loss.correct.sum()) < 18
    for state in in_two(_share):
        assert torch.equal(state["correct"], loss.correct)
        assert int(state["epoch"]) == 2
