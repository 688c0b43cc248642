"""Divisions into training, validation and test samples, as positions.

All use NumPy's legacy generator, each call its own, so that a seed gives the published samples.
"""

import numpy as np
import torch
from torch import Tensor

from calibrant.data.image_set import legacy_generator, shuffled
from calibrant.errors import InputError


def newsgroup_split(
    count: int, *, val: int = 900, test_share: float = 0.2, seed: int = 1
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the positions that train, validate and test: a shuffle, its last part test, before it validation.

    Args:
        count: number of documents.
        val: number that validate; 900 published for 20 Newsgroups.
        test_share: share that tests, rounded down; a fifth published.
        seed: seed of the shuffle.

    Raises:
        InputError: nothing is left for training.

    Example:
        >>> [len(part) for part in newsgroup_split(19_997)]
        [15098, 900, 3999]

    Liu, Ben Ayed, Galdran, Dolz: "The Devil is in the Margin: Margin-based Label Smoothing for Network
    Calibration", CVPR 2022.
    """
    test = int(test_share * count)
    train = count - val - test
    if train < 1 or val < 0 or test < 1:
        raise InputError(
            f"{count} documents cannot give {val} to validation and {test} to test and keep some for training; "
            "change data.val or the share of the test."
        )
    order = shuffled(count, seed)
    return order[:train], order[train : train + val], order[train + val :]


def per_class_tail_split(labels: Tensor, per_class: int, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return the positions that train and those that validate: the last `per_class` of each class, shuffled.

    One generator shuffles the positions of each class in turn, in the order in which the classes first appear.
    With the files sorted by path, 50 of each class and seed 1 it is the published split of Tiny-ImageNet.

    Args:
        labels: (N,) labels, in the order of the files.
        per_class: samples of each class that validate.
        seed: seed of the shuffles.

    Raises:
        InputError: a class would keep no sample for training.

    Example:
        >>> train, val = per_class_tail_split(torch.tensor([0, 0, 0, 1, 1, 1]), 1)
        >>> train.tolist(), val.tolist()
        ([0, 2, 4, 5], [1, 3])

    Liu, Ben Ayed, Galdran, Dolz: "The Devil is in the Margin: Margin-based Label Smoothing for Network
    Calibration", CVPR 2022.
    """
    random = legacy_generator(seed)
    train, val = [], []
    for label in dict.fromkeys(labels.tolist()):
        positions = (labels == label).nonzero().flatten().numpy()
        if not 0 <= per_class < len(positions):
            raise InputError(
                f"Class {label} has {len(positions)} samples, so that {per_class} of them cannot validate and "
                "leave some for training."
            )
        random.shuffle(positions)
        cut = len(positions) - per_class
        train.append(positions[:cut])
        val.append(positions[cut:])
    return torch.from_numpy(np.concatenate(train)), torch.from_numpy(np.concatenate(val))


def stratified_split(labels: Tensor, count: int, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Return the positions of the rest and of `count` chosen samples, of each class its share.

    The shares are rounded so that they add up to `count`, the largest remainders up; every class keeps at least
    one sample in the rest. Both parts are in the order of the samples.

    Args:
        labels: (N,) labels.
        count: samples that are chosen.
        seed: seed of the shuffle within each class.

    Raises:
        InputError: more samples than the classes can give.

    Example:
        >>> rest, chosen = stratified_split(torch.tensor([0, 0, 0, 0, 1, 1, 2]), 3)
        >>> rest.tolist(), chosen.tolist()
        ([0, 1, 5, 6], [2, 3, 4])
    """
    sizes = labels.bincount().tolist()
    room = [max(size - 1, 0) for size in sizes]
    if not 0 <= count <= sum(room):
        raise InputError(
            f"{count:,} of {len(labels):,} samples cannot validate with one left of each class to train on: "
            f"set data.val to {sum(room):,} at most."
        )
    if count == 0:
        return torch.arange(len(labels)), torch.arange(0)
    shares, remainders = zip(*(divmod(size * count, len(labels)) for size in sizes), strict=True)
    quota = [min(share, most) for share, most in zip(shares, room, strict=True)]
    by_remainder = sorted(range(len(sizes)), key=lambda label: -remainders[label])
    while sum(quota) < count:
        for label in [label for label in by_remainder if quota[label] < room[label]][: count - sum(quota)]:
            quota[label] += 1
    random = legacy_generator(seed)
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    by_class = torch.split(labels.argsort(stable=True), sizes)
    for part, of_class in zip(quota, by_class, strict=True):
        positions = of_class.numpy()
        random.shuffle(positions)
        chosen[torch.from_numpy(positions[:part])] = True
    return (~chosen).nonzero().flatten(), chosen.nonzero().flatten()


def kept_share(labels: Tensor, train: int | None, *, seed: int = 1) -> Tensor:
    """Return the positions of `train` samples, of each class its share and at least one; all for None.

    Args:
        labels: (N,) labels.
        train: samples that are kept.
        seed: seed of the shuffle within each class.

    Raises:
        InputError: more samples than there are, or fewer than classes.

    Example:
        >>> kept_share(torch.tensor([0, 0, 0, 0, 1, 1]), 3).tolist()
        [0, 1, 5]
    """
    classes = int((labels.bincount() > 0).sum())
    if train is not None and not classes <= train <= len(labels):
        raise InputError(
            f"{train:,} samples cannot be kept of {len(labels):,} in {classes:,} classes, one of each or more: "
            "set data.train, or data.val, to a number that fits."
        )
    return stratified_split(labels, 0 if train is None else len(labels) - train, seed=seed)[0]
