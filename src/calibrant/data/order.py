"""The order in which samples are visited: a function of the seed and the epoch alone."""

from collections.abc import Iterator

import torch
from torch import Generator, Tensor
from torch.utils.data import Sampler

_STREAMS = {"order": 0, "augmentation": 1, "step": 2, "mix": 3}


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


class EpochOrder(Sampler[Tensor]):
    """Batches of positions; a fresh permutation each epoch when shuffling, the plain order otherwise.

    Args:
        count: number of samples.
        batch_size: samples a batch.
        seed: seed of the permutations; None keeps the plain order.
        drop_last: leave out an incomplete last batch.
    """

    def __init__(
        self, count: int, batch_size: int, *, seed: int | None = None, drop_last: bool = False
    ) -> None:
        self.count, self.batch_size, self.seed, self.drop_last = count, batch_size, seed, drop_last
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.count, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[Tensor]:
        # A generator: the order is drawn with the first batch, after the trainer has named the epoch.
        if self.seed is None:
            order = torch.arange(self.count)
        else:
            generator = Generator().manual_seed(epoch_seed(self.seed, self.epoch, "order"))
            order = torch.randperm(self.count, generator=generator)
        for i in range(len(self)):
            yield order[i * self.batch_size : (i + 1) * self.batch_size]
