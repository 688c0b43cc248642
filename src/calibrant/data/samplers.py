"""Orders that visit the classes more evenly than the data hold them."""

import random
from collections.abc import Iterator

import torch
from torch import Generator, Tensor

from calibrant.data.order import BatchOrder, EpochOrder, epoch_seed
from calibrant.errors import InputError


def balanced_length(count: int, batch_size: int, *, reference: bool = False) -> int:
    """Return how many samples an epoch of class-balanced training has: ceil(N / B) whole batches.

    Args:
        count: N, number of training samples.
        batch_size: B.
        reference: one batch more, as the loop of the published MiSLAS code comes to do.

    Example:
        >>> balanced_length(12_406, 128), balanced_length(12_406, 128, reference=True)
        (12416, 12544)
    """
    return (-(-count // batch_size) + reference) * batch_size


def class_balanced(targets: Tensor, per_class: int, source: random.Random) -> Iterator[list[int]]:
    """Yield groups of positions without end, class after class, `per_class` of one class in each.

    The classes stand in a cyclic list, and so do the positions of each class: a list is shuffled before its
    first element and again whenever it has been used up, in the middle of a group too. So every class comes
    once before any comes twice, and every sample of a class before any of them repeats.

    Args:
        targets: (N,) labels; a class without a sample is left out.
        per_class: positions in a group.
        source: generator of the shuffles.

    Example:
        >>> groups = class_balanced(torch.tensor([0, 0, 0, 1]), 2, random.Random(0))
        >>> [next(groups) for _ in range(4)]
        [[2, 0], [3, 3], [1, 2], [3, 3]]
    """
    present = targets.bincount().nonzero().flatten().tolist()
    members = [(targets == label).nonzero().flatten().tolist() for label in present]
    classes = _cycle(list(range(len(members))), source)
    samples = [_cycle(positions, source) for positions in members]
    for label in classes:
        yield [next(samples[label]) for _ in range(per_class)]


def _cycle(items: list[int], source: random.Random) -> Iterator[int]:
    while True:
        source.shuffle(items)
        yield from items


class ClassBalancedOrder(BatchOrder):
    """Every class equally often: groups of samples of one class, the classes in turn.

    The lists of `class_balanced` go on from epoch to epoch, so that the many samples of a large class come in
    different epochs; a group that the end of an epoch cuts off is dropped. Epoch e is found by drawing those
    before it, unless they have just been drawn.

    Args:
        targets: (N,) labels of the samples.
        num_samples: samples an epoch; `balanced_length` gives the usual number.
        batch_size: samples a batch.
        seed: seed of Python's generator; with the same seed the order is that of the published code.
        per_class: samples in a group.
        drop_last: leave out an incomplete last batch.

    Raises:
        InputError: no targets, or a number that is not positive.

    Example:
        >>> targets = torch.tensor([0] * 6 + [1] * 2)
        >>> order = ClassBalancedOrder(targets, num_samples=8, batch_size=4, seed=0, per_class=2)
        >>> [targets[batch].tolist() for batch in order]
        [[0, 0, 1, 1], [0, 0, 1, 1]]

    Kang, Xie, Rohrbach, Yan, Gordo, Feng, Kalantidis: "Decoupling Representation and Classifier for Long-Tailed
    Recognition", ICLR 2020.
    """

    def __init__(
        self,
        targets: Tensor,
        num_samples: int,
        batch_size: int,
        seed: int,
        *,
        per_class: int = 4,
        drop_last: bool = False,
    ) -> None:
        _check(len(targets), num_samples, per_class)
        super().__init__(num_samples, batch_size, drop_last=drop_last)
        self.targets, self.seed, self.per_class = targets, seed, per_class
        self._restart()

    def _restart(self) -> None:
        self._groups = class_balanced(self.targets, self.per_class, random.Random(self.seed))
        self._drawn = 0

    def _draw(self) -> list[int]:
        groups = -(-self.count // self.per_class)
        self._drawn += 1
        return [position for _ in range(groups) for position in next(self._groups)][: self.count]

    def positions(self) -> Tensor:
        """Return the positions of the epoch."""
        if self.epoch < self._drawn:
            self._restart()
        while self._drawn < self.epoch:
            self._draw()
        return torch.tensor(self._draw())


def inverse_frequency(targets: Tensor) -> Tensor:
    """Return the (N,) weight 1 / n_y of each sample, n_y the size of its class: all classes equally likely.

    Example:
        >>> inverse_frequency(torch.tensor([0, 0, 1]))
        tensor([0.5000, 0.5000, 1.0000], dtype=torch.float64)
    """
    return 1 / targets.bincount().double()[targets]


def effective_number(targets: Tensor, beta: float = 0.9999) -> Tensor:
    r"""Return the (N,) weight $(1 - \beta) / (1 - \beta^{n_y})$ of each sample, n_y the size of its class.

    Args:
        targets: (N,) labels.
        beta: 0 weighs all samples alike; towards 1 it becomes the inverse frequency.

    Raises:
        InputError: beta outside [0, 1).

    Example:
        >>> effective_number(torch.tensor([0, 0, 1]), beta=0.5)
        tensor([0.6667, 0.6667, 1.0000], dtype=torch.float64)

    Cui, Jia, Lin, Song, Belongie: "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """
    if not 0 <= beta < 1:
        raise InputError(f"beta must lie in [0, 1), not {beta}.")
    return (1 - beta) / (1 - beta ** targets.bincount().double()[targets])


def reversed_class_weights(class_counts: Tensor) -> Tensor:
    """Return the (C,) weight n_max / n_k with which the reversed sampler draws each class; 0 for an empty one.

    Example:
        >>> reversed_class_weights(torch.tensor([30, 12, 2]))
        tensor([ 1.0000,  2.5000, 15.0000], dtype=torch.float64)
    """
    weights = class_counts.max() / class_counts.double()
    return torch.where(class_counts > 0, weights, torch.zeros_like(weights))


def reversed_frequency(targets: Tensor) -> Tensor:
    """Return the (N,) weight of each sample under BBN's reversed sampler: rarer classes come more often.

    A class is drawn with weight n_max / n_k, then one of its n_k samples with equal chances.

    Example:
        >>> reversed_frequency(torch.tensor([0, 0, 1]))
        tensor([0.5000, 0.5000, 2.0000], dtype=torch.float64)

    Zhou, Cui, Wei, Chen: "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual
    Recognition", CVPR 2020.
    """
    counts = targets.bincount()
    return (reversed_class_weights(counts) / counts)[targets]


def inverse_cdf(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return for each number in [0, 1) the first place where the running share of the weights reaches it.

    Args:
        weights: (N,) at least 0, not all 0.
        uniform: (M,) numbers.

    Returns:
        (M,) int64 in [0, N).

    Example:
        >>> inverse_cdf(torch.tensor([1.0, 1.0, 2.0]), torch.tensor([0.2, 0.3, 0.9]))
        tensor([0, 1, 2])
    """
    cumulative = weights.double().cumsum(0)
    return torch.searchsorted(cumulative, uniform.double() * cumulative[-1]).clamp(max=len(weights) - 1)


class WeightedOrder(BatchOrder):
    """Samples drawn with replacement, each with a chance in proportion to its weight.

    Args:
        weights: (N,) weights, as `inverse_frequency`, `effective_number` or `reversed_frequency` give them.
        num_samples: draws an epoch; published: N.
        batch_size: samples a batch.
        seed: seed of the draws.
        drop_last: leave out an incomplete last batch.

    Raises:
        InputError: no weights, one that is negative or not finite, or all of them 0.

    Example:
        >>> order = WeightedOrder(torch.tensor([0.0, 1.0]), num_samples=3, batch_size=2, seed=0)
        >>> [batch.tolist() for batch in order]
        [[1, 1], [1]]
    """

    def __init__(
        self, weights: Tensor, num_samples: int, batch_size: int, seed: int, *, drop_last: bool = False
    ) -> None:
        _check(len(weights), num_samples)
        if not (weights.isfinite().all() and (weights >= 0).all() and weights.sum() > 0):
            raise InputError("weights must be finite, at least 0 and not all 0.")
        super().__init__(num_samples, batch_size, drop_last=drop_last)
        self.weights, self.seed = weights, seed

    def positions(self) -> Tensor:
        """Return the draws of the epoch."""
        generator = Generator().manual_seed(epoch_seed(self.seed, self.epoch, "order"))
        # From (0, 1], so that a first sample of weight 0 is not reached by the number 0.
        uniform = 1 - torch.rand(self.count, generator=generator, dtype=torch.float64)
        return inverse_cdf(self.weights, uniform)


class PairedOrder(BatchOrder):
    """Two batches in one, for a network with two branches: samples as they come, then as many drawn reversed.

    The first half of a batch belongs to a shuffle that visits every sample once an epoch; the second half is
    drawn with replacement, the rarer classes more often (`reversed_frequency`). A length counts the batches of
    one branch: ceil(N / B), or floor(N / B) with `drop_last`.

    Args:
        targets: (N,) labels of the samples.
        batch_size: B, samples of each branch.
        seed: seed of the shuffle; the draws have a seed of their own that follows from it.
        drop_last: leave out an incomplete last batch.

    Raises:
        InputError: no targets.

    Example:
        >>> order = PairedOrder(torch.tensor([0, 0, 0, 1]), batch_size=2, seed=0)
        >>> first, second = order
        >>> len(first), torch.cat([first[:2], second[:2]]).sort().values.tolist()
        (4, [0, 1, 2, 3])

    Zhou, Cui, Wei, Chen: "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual
    Recognition", CVPR 2020.
    """

    def __init__(self, targets: Tensor, batch_size: int, seed: int, *, drop_last: bool = False) -> None:
        _check(len(targets), len(targets))
        super().__init__(2 * len(targets), 2 * batch_size, drop_last=drop_last)
        self.uniform = EpochOrder(len(targets), batch_size, seed=seed)
        self.reversed = WeightedOrder(
            reversed_frequency(targets), len(targets), batch_size, epoch_seed(seed, 0, "partner")
        )

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        super().set_epoch(epoch)
        self.uniform.set_epoch(epoch)
        self.reversed.set_epoch(epoch)

    def positions(self) -> Tensor:
        """Return the positions of the epoch, batch after batch of the two branches in turn."""
        pairs = zip(self.uniform, self.reversed, strict=True)
        return torch.cat([half for pair in pairs for half in pair])


def _check(samples: int, num_samples: int, per_class: int = 1) -> None:
    if samples == 0:
        raise InputError("There is no sample to draw from: the targets or weights are empty.")
    for name, value in (("num_samples", num_samples), ("per_class", per_class)):
        if value < 1:
            raise InputError(f"{name} must be at least 1, not {value}.")
