"""The order in which samples are visited: a function of the seed and the epoch alone."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.utils.data import Sampler

from calibrant.errors import InputError

_STREAMS = {"order": 0, "augmentation": 1, "step": 2, "mix": 3, "decouple": 4, "partner": 5}


def epoch_seed(seed: int, epoch: int, stream: str) -> int:
    """Return the seed of one of the random streams of an epoch, so that a resumed epoch repeats itself.

    Example:
        >>> epoch_seed(0, 3, "order") == epoch_seed(0, 3, "order")
        True
        >>> len({epoch_seed(s, e, k) for s in range(9) for e in range(9) for k in ("order", "step")})
        162
    """
    mixed = 0x9E3779B97F4A7C15
    for part in (seed, epoch, _STREAMS[stream]):
        mixed = ((mixed ^ part) * 0xBF58476D1CE4E5B9 + 0x94D049BB133111EB) % 2**64
        mixed ^= mixed >> 31
    return mixed % 2**63


class BatchOrder(Sampler[Tensor], ABC):
    """Batches of positions; each epoch's are a function of its number, so that a resumed run needs no memory.

    A subclass defines `positions`.

    Args:
        count: number of positions an epoch.
        batch_size: positions a batch.
        drop_last: leave out an incomplete last batch.
    """

    def __init__(self, count: int, batch_size: int, *, drop_last: bool = False) -> None:
        self.count, self.batch_size, self.drop_last = count, batch_size, drop_last
        self.epoch = 0

    @abstractmethod
    def positions(self) -> Tensor:
        """Return the (count,) positions of the epoch that is set, in their order."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: the order is drawn with the first batch, after the trainer has named the epoch.
        order = self.positions()
        for i in range(len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size]


class EpochOrder(BatchOrder):
    """Every position once; a fresh permutation each epoch when shuffling, the plain order otherwise.

    Args:
        count: number of samples.
        batch_size: samples a batch.
        seed: seed of the permutations; None keeps the plain order.
        drop_last: leave out an incomplete last batch.
    """

    def __init__(
        self, count: int, batch_size: int, *, seed: int | None = None, drop_last: bool = False
    ) -> None:
        super().__init__(count, batch_size, drop_last=drop_last)
        self.seed = seed

    def positions(self) -> Tensor:
        """Return the permutation of the epoch, or the plain order."""
        if self.seed is None:
            return torch.arange(self.count)
        generator = Generator().manual_seed(epoch_seed(self.seed, self.epoch, "order"))
        return torch.randperm(self.count, generator=generator)


class Share(Sampler[Tensor]):
    """What one of several processes takes of each batch: together they see the batches of one process.

    A batch is cut into consecutive parts, one a process; where the sizes do not divide, the last processes get
    one sample less. Nothing is seen twice. A last batch with fewer samples than processes would leave one with
    nothing: it is joined to the batch before it.

    Args:
        order: the batches of all processes together.
        rank: number of this process, from 0.
        world: number of processes.

    Raises:
        InputError: the batches are smaller than the number of processes, or the rank is none of theirs.

    Example:
        >>> shares = [Share(EpochOrder(7, 3), rank, world=2) for rank in range(2)]
        >>> [[batch.tolist() for batch in share] for share in shares]
        [[[0, 1], [3, 4]], [[2], [5, 6]]]
    """

    def __init__(self, order: BatchOrder, rank: int, world: int) -> None:
        if not 0 <= rank < world:
            raise InputError(f"rank must lie in [0, {world}), as there are {world} processes, not {rank}.")
        smallest = min(order.batch_size, order.count)
        if smallest < world:
            raise InputError(
                f"A batch of {smallest} cannot be shared by {world} processes; make batches of {world} or more."
            )
        self.order, self.rank, self.world = order, rank, world

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.order.set_epoch(epoch)

    @property
    def _joins(self) -> bool:
        return not self.order.drop_last and 0 < self.order.count % self.order.batch_size < self.world

    def __len__(self) -> int:
        return len(self.order) - self._joins

    def __iter__(self) -> Iterator[Tensor]:
        batches = iter(self.order)
        for i, batch in enumerate(batches, start=1):
            last = i == len(self) and self._joins
            whole = torch.cat([batch, *batches]) if last else batch
            yield whole.tensor_split(self.world)[self.rank]
