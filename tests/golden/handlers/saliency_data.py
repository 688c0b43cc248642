"""Augmentation of images with maps, and maps out of logits."""

import torch
from PIL import Image
from torch import Tensor

from calibrant.data.map_transforms import (
    Draws,
    augment,
    centred_crop,
    resize_prediction,
    rotate,
    saliency_map_from_logits,
    to_input,
)
from tests.golden.framework import Case, handles


def _pictures(case: Case) -> list[Image.Image]:
    return [Image.fromarray(case.inputs[name].numpy()) for name in ("image", "label")]


def _arrays(image: Image.Image, label: Image.Image) -> dict[str, Tensor]:
    import numpy as np

    return {name: torch.from_numpy(np.array(part)) for name, part in (("image", image), ("label", label))}


@handles("transform", "random_flip")
def random_flip(case: Case) -> dict[str, Tensor]:
    image, label = _pictures(case)
    return _arrays(*augment(image, label, Draws(case.params["draw"] == 1, *image.size, angle=None)))


@handles("transform", "random_crop")
def random_crop(case: Case) -> dict[str, Tensor]:
    image, label = _pictures(case)
    low, high = case.params["width_range_half_open"]
    assert (image.width - 30, image.width) == (low, high)
    size = case.params["width"], case.params["height"]
    return _arrays(centred_crop(image, *size), centred_crop(label, *size))


@handles("transform", "random_rotation")
def random_rotation(case: Case) -> dict[str, Tensor]:
    image, label = _pictures(case)
    angle = case.params["angle"]
    turned = case.params["draw"] > 1 - case.params["prob"]
    return _arrays(rotate(image, angle), rotate(label, angle)) if turned else _arrays(image, label)


@handles("transform", "to_input")
def network_input(case: Case) -> dict[str, Tensor]:
    image, label = to_input(*_pictures(case), case.params["size"])
    return {"image": image, "label": label}


@handles("transform", "resize_prediction")
def resized(case: Case) -> dict[str, Tensor]:
    return {"pred": resize_prediction(case.inputs["pred"], tuple(case.inputs["gt"].shape))}


@handles("transform", "saliency_map_from_logits")
def maps(case: Case) -> dict[str, Tensor]:
    logits, size = case.inputs["logits"], case.params["out_size"]
    shape = case.outputs["raw_map"].shape
    return {
        "raw_map": 255 * saliency_map_from_logits(logits, size).view(shape),
        "test_map": 255 * saliency_map_from_logits(logits, size, stretch=True).view(shape),
    }
