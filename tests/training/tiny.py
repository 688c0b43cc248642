"""A data set and a network small enough to train in a blink, with everything random that training can have."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from calibrant.data import DenseTask, ImageTask, MapSet
from calibrant.data.image_set import divide
from calibrant.data.pair_set import Pair
from calibrant.data.registry import DATASETS
from calibrant.models import Network
from calibrant.models.dense import DENSE_MODELS
from calibrant.models.registry import MODELS
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import build_recipe, merge


def tiny_images(train: int = 40, val: int = 30, split_seed: int = 1) -> ImageTask:
    """Bright and dark squares in noise."""
    generator = torch.Generator().manual_seed(0)
    targets = torch.arange(120) % 3
    pixels = torch.randint(0, 120, (120, 1, 8, 8), generator=generator) + 40 * targets[:, None, None, None]
    sets = divide(pixels.to(torch.uint8), targets, [train, val, 120 - train - val], split_seed)
    return ImageTask(*sets, class_names=["a", "b", "c"], mean=[100.0], std=[50.0], padding=1, note="for tests")


class TinyNet(Network):
    """One convolution, batch norm and dropout, or neither of the two."""

    def __init__(self, num_classes: int, in_channels: int = 1, dropout: float = 0.3, norm: bool = True) -> None:
        super().__init__()
        normed = nn.BatchNorm2d(4) if norm else nn.Identity()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, 2, 1), normed, nn.ReLU(), nn.Flatten(), nn.Dropout(dropout)
        )
        self.classifier = nn.Linear(64, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return (N, 64)."""
        features: Tensor = self.body(images)
        return features


def tiny_maps(train: int = 10, val: int = 4, split_seed: int = 1) -> DenseTask:
    """Bright squares on dark noise, as files of several sizes."""
    folder = Path(tempfile.mkdtemp())
    random = np.random.default_rng(0)
    pairs = []
    for i in range(train + val + 3):
        height, width = 40 + i, 48 - i
        label = np.zeros((height, width), np.uint8)
        top, left = random.integers(0, 20, 2)
        label[top : top + 20, left : left + 18] = 255
        image = (label[..., None] // 2 + random.integers(0, 120, (height, width, 3))).astype(np.uint8)
        pair = Pair(f"square{i}", folder / f"{i}.png", folder / f"{i}-map.png")
        Image.fromarray(image).save(pair.image)
        Image.fromarray(label).save(pair.label)
        pairs.append(pair)
    parts = pairs[:train], pairs[train : train + val], pairs[train + val :]
    nothing = [replace(pair, label=None) for pair in parts[2]]
    sets = [MapSet(part, 16) for part in parts]
    return DenseTask(*sets, ood={"nothing": MapSet(nothing, 16)}, note="for tests")


def tiny_dense_net(num_classes: int = 1, in_channels: int = 3) -> nn.Module:
    """Two convolutions."""
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3, 1, 1), nn.ReLU(), nn.Conv2d(4, num_classes, 3, 1, 1))


DATASETS.register("tiny_maps")(tiny_maps)
DENSE_MODELS.register("tiny_dense_net")(tiny_dense_net)
DATASETS.register("tiny_images")(tiny_images)
MODELS.register("tiny_net")(TinyNet)


def tiny_recipe(**changes: object) -> Recipe:
    """Return a recipe of four epochs; `train__epochs=2` sets `train.epochs`."""
    tree: dict[str, object] = {
        "name": "tiny",
        "data": {"name": "tiny_images"},
        "model": {"name": "tiny_net"},
        "train": {
            "epochs": 4,
            "batch_size": 16,
            "optimizer": {"lr": 0.1},
            "schedule": {"name": "cosine"},
            "loss": {"name": "ce"},
        },
        "trainer": {"accelerator": "cpu"},
    }
    for key, value in changes.items():
        *parents, last = key.split("__")
        branch: dict[str, object] = {last: value}
        for parent in reversed(parents):
            branch = {parent: branch}
        tree = merge(tree, branch)
    return build_recipe(tree)
