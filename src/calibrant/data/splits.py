"""Published divisions into training, validation and test samples, as positions.

Both use NumPy's legacy generator, each call its own, so that a seed gives the published samples.
"""

import numpy as np
import torch
from torch import Tensor

from calibrant.data.image_set import shuffled
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
    if train < 1 or val < 0 or test < 0:
        raise InputError(
            f"{count} documents cannot give {val} to validation and {test} to test and keep some for training; "
            "lower data.val or the share of the test."
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
    random = np.random.RandomState(seed)
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
