r"""Long tails: how many images each class keeps, which ones, and CIFAR-LT made of them.

With K classes, M images in all and imbalance factor $\mu$, class k keeps

$$n_k = \lfloor (M / K) \, \mu^{-k / (K - 1)} \rfloor$$

so that the first class keeps all of its M / K images and the last one M / (K mu).
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypedDict, Unpack

import numpy as np
import torch
from torch import Tensor

from calibrant.data.cifar import LAYOUT10, LAYOUT100, Layout, checked, read
from calibrant.data.image_set import Held, ImageTask, legacy_generator
from calibrant.data.registry import register
from calibrant.errors import InputError
from calibrant.metrics.definitions import Groups

Profile = Literal["exp", "step"]


def long_tailed_counts(num_classes: int, images: int, imbalance: float, profile: Profile = "exp") -> list[int]:
    """Return how many images each class keeps.

    Args:
        num_classes: K.
        images: M, images in all, the same number in each class.
        imbalance: mu, how many times more images the first class keeps than the last, at least 1.
        profile: "exp" falls exponentially from class to class; "step" leaves the first half of the classes
            whole and gives M / (K mu) to each of the others.

    Raises:
        InputError: an imbalance below 1, an unknown profile, or a class that would keep no image.

    Example:
        >>> long_tailed_counts(10, 50_000, 100)
        [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]

    Cui, Jia, Lin, Song, Belongie: "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """
    if imbalance < 1:
        raise InputError(
            f"imbalance, the largest class over the smallest, must be at least 1, not {imbalance}."
        )
    whole, least = images / num_classes, 1 / imbalance
    if profile == "exp":
        counts = [int(whole * least ** (k / max(num_classes - 1, 1))) for k in range(num_classes)]
    elif profile == "step":
        head = num_classes // 2
        counts = [int(whole)] * head + [int(whole * least)] * (num_classes - head)
    else:
        raise InputError(f"profile must be 'exp' or 'step', not {profile!r}.")
    if counts[-1] < 1:
        raise InputError(
            f"An imbalance of {imbalance:g} leaves no image to the last class, which has {whole:g}; lower it."
        )
    return counts


def long_tailed_selection(targets: Tensor, counts: list[int], seed: int | np.random.RandomState = 0) -> Tensor:
    """Return the positions of the images that are kept, class after class.

    One generator, seeded once, shuffles the positions of each class in turn; the first `counts[k]` stay. With
    seed 0 these are the images of the published CIFAR-LT sets.

    Args:
        targets: (N,) labels.
        counts: images that each class keeps.
        seed: seed of NumPy's legacy generator, an own one; or the generator. The published code draws the
            shares of mixup from the same one afterwards: `generator.beta(alpha, alpha)`.

    Raises:
        InputError: a class has fewer images than it should keep.

    Example:
        >>> long_tailed_selection(torch.tensor([0, 1, 0, 1, 0]), [2, 1])
        tensor([4, 2, 1])

    Cao, Wei, Gaidon, Arechiga, Ma: "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019.
    """
    random = legacy_generator(seed) if isinstance(seed, int) else seed
    kept = []
    for label, count in enumerate(counts):
        positions = (targets == label).nonzero().flatten().numpy()
        if len(positions) < count:
            raise InputError(f"Class {label} has {len(positions)} images, of which {count} cannot be kept.")
        random.shuffle(positions)
        kept.append(torch.from_numpy(positions[:count]))
    return torch.cat(kept)


def class_map_by_count(targets: Tensor, num_classes: int | None = None) -> Tensor:
    """Return the new label of each class when classes are renumbered by falling number of images.

    Equals keep the order of their old labels, so that the map is the same on every machine; the published code
    sorts unstably, and its labels within ties are not portable.

    Args:
        targets: (N,) labels of the training images.
        num_classes: C; one more than the largest label when None.

    Returns:
        (C,) int64: `class_map_by_count(targets)[targets]` are the new labels.

    Example:
        >>> class_map_by_count(torch.tensor([0, 1, 1, 2, 2]))
        tensor([2, 0, 1])
    """
    counts = targets.bincount(minlength=num_classes or 0)
    return counts.argsort(descending=True, stable=True).argsort()


class Tail(TypedDict, total=False):
    """How a balanced data set is cut to a long tail.

    Attributes:
        imbalance: images of the first class over those of the last; 100.
        profile: "exp" or "step"; "exp".
        subset_seed: seed of the choice of the images; 0 as published.
        groups: which classes are many, medium and few: "mislas", the fixed ranges with which the published
            figures were made; "counts", more than 100, 20 to 100 and fewer than 20 training images, which
            leaves no class of CIFAR-10-LT at imbalance 100 in the last group. "mislas".
    """

    imbalance: float
    profile: Profile
    subset_seed: int
    groups: Groups


@register("cifar10_lt")
def cifar10_lt(
    root: Path, download: bool = False, val: int = 0, split_seed: int = 1, **tail: Unpack[Tail]
) -> ImageTask:
    """CIFAR-10-LT: CIFAR-10 with a long tail, the classes by decreasing number of training images.

    Args:
        root: folder that holds cifar-10-batches-py or cifar-10-batches-bin.
        download: fetch the pickles through torchvision when neither is there.
        val: number of images held out for validation, as many of each class; they are set aside before the
            tail is cut, so that 0, the published protocol, leaves exactly the published training images.
        split_seed: seed of the validation images.
        **tail: how the tail is cut, as in `Tail`.

    The test set is CIFAR-10's own, balanced.
    """
    return _cut(LAYOUT10, root, download, val, split_seed, **tail)


@register("cifar100_lt")
def cifar100_lt(
    root: Path, download: bool = False, val: int = 0, split_seed: int = 1, **tail: Unpack[Tail]
) -> ImageTask:
    """CIFAR-100-LT: CIFAR-100 with a long tail, the classes by decreasing number of training images.

    Args:
        root: folder that holds cifar-100-python or cifar-100-binary.
        download: fetch the pickles through torchvision when neither is there.
        val: number of images held out for validation, as for `cifar10_lt`.
        split_seed: seed of the validation images.
        **tail: how the tail is cut, as in `Tail`.

    The test set is CIFAR-100's own, balanced.
    """
    return _cut(LAYOUT100, root, download, val, split_seed, **tail)


def _cut(layout: Layout, root: Path, download: bool, val: int, seed: int, **tail: Unpack[Tail]) -> ImageTask:
    task = read(layout, root, download, Held(None, 0, seed))
    return checked(long_tailed(task, val, seed, **tail), layout, root)


def long_tailed(
    task: ImageTask,
    val: int = 0,
    split_seed: int = 1,
    *,
    imbalance: float = 100.0,
    profile: Profile = "exp",
    subset_seed: int = 0,
    groups: Groups = "mislas",
) -> ImageTask:
    """Return a task whose balanced training images are cut to a long tail.

    Args:
        task: the balanced one.
        val: images held out for validation, as many of each class, before the tail is cut.
        split_seed: seed of the validation images.
        imbalance: as in `Tail`, and so the others.
        profile: "exp" or "step".
        subset_seed: seed of the choice of the images.
        groups: which classes are many, medium and few.

    Raises:
        InputError: `val` is no multiple of the number of classes.
    """
    classes = len(task.class_names)
    each, rest = divmod(val, classes)
    if rest:
        raise InputError(f"data.val must be a multiple of the {classes} classes, not {val}.")
    # In the order of the files, on which the published choice depends.
    images = task.train.subset(task.train.ids.argsort())
    held_out = long_tailed_selection(images.targets, [each] * classes, split_seed)
    remaining = torch.ones(len(images), dtype=torch.bool)
    remaining[held_out] = False
    rest_of = images.subset(remaining.nonzero().flatten())
    counts = long_tailed_counts(classes, len(rest_of), imbalance, profile)
    kept = rest_of.subset(long_tailed_selection(rest_of.targets, counts, subset_seed))
    note = f"long-tailed, {counts[0]:,} to {counts[-1]:,} images a class"
    said = f"{note}; {val:,} images, {each} of each class, validate" if val else f"{note}; no validation images"
    return replace(task, train=kept, val=images.subset(held_out), groups=groups, note=said)
