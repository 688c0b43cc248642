import torch

from calibrant.data.order import EpochOrder


def epoch(order: EpochOrder, number: int) -> list[int]:
    order.set_epoch(number)
    return torch.cat(list(order)).tolist()


def test_each_epoch_visits_every_sample_once_in_an_order_of_its_own():
    order = EpochOrder(10, 3, seed=0)
    epochs = [epoch(order, e) for e in range(4)]
    assert all(sorted(visited) == list(range(10)) for visited in epochs)
    assert len({tuple(visited) for visited in epochs}) == 4
    assert len(order) == len(list(order)) == 4


def test_the_order_is_a_function_of_seed_and_epoch():
    assert epoch(EpochOrder(50, 7, seed=1), 3) == epoch(EpochOrder(50, 7, seed=1), 3)
    assert epoch(EpochOrder(50, 7, seed=1), 3) != epoch(EpochOrder(50, 7, seed=2), 3)


def test_an_incomplete_batch_is_dropped_only_when_asked():
    assert [len(b) for b in EpochOrder(10, 4)] == [4, 4, 2]
    assert [len(b) for b in EpochOrder(10, 4, drop_last=True)] == [4, 4]
    assert len(EpochOrder(8, 4, drop_last=True)) == 2


def test_without_a_seed_the_order_is_plain():
    assert epoch(EpochOrder(5, 2), 9) == [0, 1, 2, 3, 4]
