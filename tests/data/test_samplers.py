from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.data.order import BatchOrder, EpochOrder, Share
from calibrant.data.samplers import (
    ClassBalancedOrder,
    PairedOrder,
    WeightedOrder,
    balanced_length,
    effective_number,
    inverse_frequency,
    reversed_frequency,
)
from calibrant.errors import InputError


def epoch(order: BatchOrder | Share, number: int) -> list[int]:
    order.set_epoch(number)
    return torch.cat(list(order)).tolist()


def long_tail() -> torch.Tensor:
    return torch.tensor([0] * 40 + [2] * 12 + [5] * 3)[torch.randperm(55, generator=torch.Generator())]


@settings(max_examples=40)
@given(
    counts=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    per_class=st.integers(1, 5),
    num_samples=st.integers(1, 80),
    seed=st.integers(0, 99),
)
def test_classes_come_equally_often_up_to_one_group(counts, per_class, num_samples, seed):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    order = ClassBalancedOrder(targets, num_samples, 7, seed, per_class=per_class)
    visited = epoch(order, 0)
    assert len(visited) == num_samples
    often = torch.bincount(targets[visited], minlength=len(counts))
    assert int(often.max() - often.min()) <= per_class


@settings(max_examples=40)
@given(counts=st.lists(st.integers(1, 9), min_size=1, max_size=4), seed=st.integers(0, 99))
def test_every_sample_of_a_class_comes_before_one_repeats_across_epochs(counts, seed):
    targets = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    # Whole groups, so that none is cut off between the epochs.
    order = ClassBalancedOrder(targets, 3 * 8, 5, seed, per_class=3)
    visited = [position for e in range(4) for position in epoch(order, e)]
    for label, count in enumerate(counts):
        own = [position for position in visited if targets[position] == label]
        for start in range(0, len(own), count):
            cycle = Counter(own[start : start + count])
            assert max(cycle.values()) == 1


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: EpochOrder(55, 8, seed=seed),
        lambda seed: ClassBalancedOrder(long_tail().sort().values, 50, 8, seed),
        lambda seed: WeightedOrder(inverse_frequency(long_tail().sort().values), 50, 8, seed),
        lambda seed: PairedOrder(long_tail().sort().values, 8, seed),
    ],
    ids=["epoch", "class-balanced", "weighted", "paired"],
)
def test_an_epoch_is_a_function_of_seed_and_number(make):
    order = make(3)
    forwards = [epoch(order, e) for e in range(5)]
    assert [epoch(order, e) for e in (4, 2, 2, 0)] == [forwards[e] for e in (4, 2, 2, 0)]
    assert epoch(make(3), 4) == forwards[4]
    assert epoch(make(4), 4) != forwards[4]
    assert len({tuple(visited) for visited in forwards}) == 5
    assert len(order) == len(list(order)) == 7


def test_weights_make_the_classes_come_as_they_say():
    targets = long_tail()
    counts = targets.bincount()

    def shares(weights):
        visited = epoch(WeightedOrder(weights, 30_000, 1000, seed=0), 0)
        return torch.bincount(targets[visited], minlength=6) / 30_000

    present = counts > 0
    expected = present / 3
    torch.testing.assert_close(shares(inverse_frequency(targets)), expected, atol=0.01, rtol=0)
    torch.testing.assert_close(shares(effective_number(targets, 0.0)), counts / 55, atol=0.01, rtol=0)
    torch.testing.assert_close(shares(effective_number(targets, 1 - 1e-9)), expected, atol=0.01, rtol=0)
    backwards = torch.where(present, 1 / counts.clamp(min=1), 0.0)
    torch.testing.assert_close(
        shares(reversed_frequency(targets)), backwards / backwards.sum(), atol=0.01, rtol=0
    )


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [16] * 6 + [14]), (True, [16] * 6)])
def test_a_paired_batch_is_half_a_shuffle_and_half_reversed_draws(drop_last, sizes):
    targets = long_tail()
    order = PairedOrder(targets, 8, seed=3, drop_last=drop_last)
    plain = EpochOrder(55, 8, seed=3, drop_last=drop_last)
    for number in (1, 0):
        order.set_epoch(number)
        plain.set_epoch(number)
        batches = list(order)
        assert [len(batch) for batch in batches] == sizes
        assert len(order) == len(plain) == len(sizes)
        for batch, uniform in zip(batches, plain, strict=True):
            assert torch.equal(batch.chunk(2)[0], uniform)


def test_the_reversed_half_draws_rare_classes_more_often_and_for_itself():
    targets = long_tail().repeat(300)
    order = PairedOrder(targets, 500, seed=0)
    halves = [batch.chunk(2)[1] for batch in order]
    drawn = torch.cat(halves)
    shares = targets[drawn].bincount(minlength=6) / len(drawn)
    counts = targets.bincount().double()
    expected = torch.where(counts > 0, 1 / counts, 0.0)
    torch.testing.assert_close(shares.double(), expected / expected.sum(), atol=0.02, rtol=0)
    with_the_seed_of_the_shuffle = WeightedOrder(reversed_frequency(targets), len(targets), 500, seed=0)
    assert not torch.equal(drawn, with_the_seed_of_the_shuffle.positions())


def test_without_samples_there_are_no_pairs():
    with pytest.raises(InputError, match="no sample"):
        PairedOrder(torch.empty(0, dtype=torch.long), 4, seed=0)


def test_length_of_a_balanced_epoch_is_that_of_the_spec():
    published = {12_406: 12_544, 13_996: 14_208, 20_431: 20_608, 10_847: 11_008, 12_608: 12_800, 19_573: 19_712}
    assert {n: balanced_length(n, 128, reference=True) for n in published} == published
    assert balanced_length(256, 128) == 256


@settings(max_examples=60)
@given(
    count=st.integers(1, 60),
    batch_size=st.integers(1, 12),
    world=st.integers(1, 5),
    drop_last=st.booleans(),
    seed=st.integers(0, 9),
)
def test_shares_of_all_processes_are_the_batches_of_one(count, batch_size, world, drop_last, seed):
    def make():
        return EpochOrder(count, batch_size, seed=seed, drop_last=drop_last)

    if min(batch_size, count) < world:
        with pytest.raises(InputError, match="cannot be shared"):
            Share(make(), 0, world)
        return
    orders = [Share(make(), rank, world) for rank in range(world)]
    whole = make()
    for order in [*orders, whole]:
        order.set_epoch(2)
    alone = list(whole)
    if alone and len(alone[-1]) < world:
        alone = [*alone[:-2], torch.cat(alone[-2:])]
    shares = [list(order) for order in orders]
    assert {len(order) for order in orders} == {len(share) for share in shares} == {len(alone)}
    for parts, batch in zip(zip(*shares, strict=True), alone, strict=True):
        assert torch.cat(parts).tolist() == batch.tolist()
        sizes = [len(part) for part in parts]
        assert min(sizes) >= 1
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[0] - sizes[-1] <= 1


def test_balanced_batches_are_shared_too():
    def order():
        return ClassBalancedOrder(long_tail().sort().values, 41, 8, seed=1)

    shares = [Share(order(), rank, 3) for rank in range(3)]
    visited = [p for rank in range(3) for p in epoch(shares[rank], 1)]
    assert sorted(visited) == sorted(epoch(order(), 1))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ClassBalancedOrder(torch.tensor([], dtype=torch.int64), 4, 2, 0), "no sample"),
        (lambda: ClassBalancedOrder(torch.tensor([0]), 4, 2, 0, per_class=0), "per_class must be at least 1"),
        (lambda: WeightedOrder(torch.ones(3), 0, 2, 0), "num_samples must be at least 1, not 0"),
        (lambda: WeightedOrder(torch.tensor([1.0, -1.0]), 4, 2, 0), "at least 0"),
        (lambda: WeightedOrder(torch.zeros(3), 4, 2, 0), "not all 0"),
        (lambda: effective_number(torch.tensor([0]), 1.0), r"\[0, 1\)"),
        (lambda: Share(EpochOrder(9, 3), 2, 2), "not 2"),
    ],
)
def test_mistakes_are_refused(make, what):
    with pytest.raises(InputError, match=what):
        make()
