"""The handwritten digits that scikit-learn carries: real images that need no download."""

import torch
from sklearn.datasets import load_digits

from calibrant.data.image_set import ImageTask, divide
from calibrant.data.registry import register

TEST = 1197


@register("digits")
def digits(train: int = 200, val: int = 400, split_seed: int = 1) -> ImageTask:
    """1,797 handwritten digits of 8x8 pixels, few of them for training; comes with scikit-learn.

    Args:
        train: number of training images, at most 600 - val. Few, so that a network can fit them without
            error and methods differ.
        val: number of validation images.
        split_seed: seed of the shuffle; its last 1,197 images are the test set, whatever the other sizes.

    The images have 17 grey levels, kept as they are (0 to 16).

    Alpaydin and Kaynak: "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8).unsqueeze(1)
    targets = torch.from_numpy(bunch.target).long()
    spare = max(len(images) - TEST - val - train, 0)
    parts = [train, val, TEST] if spare == 0 else [train, val, spare, TEST]
    sets = divide(images, targets, parts, split_seed)
    return ImageTask(
        sets[0],
        sets[1],
        sets[-1],
        class_names=[str(digit) for digit in range(10)],
        mean=[4.9],
        std=[6.0],
        padding=0,
        flip=False,
        note=f"only {train} of the {len(images):,} images train, so that the methods differ visibly",
    )
