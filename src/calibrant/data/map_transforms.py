"""Images with their maps: the augmentation of ASLP, network inputs, and maps out of logits."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from calibrant.errors import InputError

#: Mean and deviation of the channels of ImageNet, of images in [0, 1].
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: A side loses between 1 and this many pixels in the crop.
CROP = 30
ROTATED = 0.2
ANGLE = 15

Picture = Image.Image
_BILINEAR, _BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


@dataclass(frozen=True)
class Draws:
    """What happens to one image.

    Attributes:
        flip: whether it is mirrored left to right.
        width: of the centred crop.
        height: likewise.
        angle: by which it is turned counter-clockwise, in degrees; None where it is not.
    """

    flip: bool
    width: int
    height: int
    angle: int | None

    @classmethod
    def draw(cls, width: int, height: int, generator: Generator) -> "Draws":
        """Draw for an image of a size.

        A flip with probability 1/2; sides 1 to 30 pixels shorter; with probability 0.2 an angle from -15 to 14.

        Raises:
            InputError: a side of 30 pixels or less.
        """
        if min(width, height) <= CROP:
            raise InputError(
                f"An image of {width}x{height} pixels is too small for this augmentation, which cuts off up to "
                f"{CROP}; set data.augment to false, or leave it out."
            )
        flip, turn = (float(u) for u in torch.rand(2, generator=generator))
        less = torch.randint(1, CROP + 1, (2,), generator=generator)
        angle = int(torch.randint(-ANGLE, ANGLE, (), generator=generator))
        return cls(flip < 0.5, width - int(less[0]), height - int(less[1]), angle if turn < ROTATED else None)


def augment(image: Picture, label: Picture, draws: Draws) -> tuple[Picture, Picture]:
    """Mirror, crop and turn an image and its label, in this order."""
    if draws.flip:
        image, label = flip(image), flip(label)
    image, label = (centred_crop(part, draws.width, draws.height) for part in (image, label))
    if draws.angle is not None:
        image, label = rotate(image, draws.angle), rotate(label, draws.angle)
    return image, label


def flip(picture: Picture) -> Picture:
    """Mirror left to right."""
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def centred_crop(picture: Picture, width: int, height: int) -> Picture:
    """Cut out the middle; where a margin is odd, the smaller part is cut off left and above."""
    whole, tall = picture.size
    return picture.crop(
        ((whole - width) >> 1, (tall - height) >> 1, (whole + width) >> 1, (tall + height) >> 1)
    )


def rotate(picture: Picture, angle: float) -> Picture:
    """Turn about the middle on the same canvas, bicubically, labels too; what comes in is black."""
    return picture.rotate(angle, _BICUBIC)


def to_input(image: Picture, label: Picture, size: int, *, binarise: bool = False) -> tuple[Tensor, Tensor]:
    """Return an image (3, size, size), normalised, and its label (1, size, size) in [0, 1].

    Both are resized bilinearly without keeping the aspect ratio, so that a label is grey along its edges.

    Args:
        image: RGB.
        label: of one channel.
        size: both sides, in pixels.
        binarise: make the label 0 or 1 again.
    """
    target = _unit(label.resize((size, size), _BILINEAR))
    if binarise:
        target = (target >= 0.5).float()
    return normalised(image.resize((size, size), _BILINEAR)), target


def normalised(image: Picture) -> Tensor:
    """Return an RGB image as (3, H, W), normalised by the statistics of ImageNet."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    return (_unit(image) - mean) / std


def _unit(picture: Picture) -> Tensor:
    array = np.asarray(picture)
    array = array[:, :, None] if array.ndim == 2 else array
    return torch.from_numpy(array.transpose(2, 0, 1).copy()).float() / 255


def resize_prediction(levels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize an 8-bit map (H, W) to the height and width of a label, bilinearly.

    Example:
        >>> resize_prediction(torch.tensor([[0, 200]], dtype=torch.uint8), (1, 4)).tolist()
        [[0, 50, 150, 200]]
    """
    picture = Image.fromarray(levels.cpu().numpy()).resize((size[1], size[0]), _BILINEAR)
    return torch.from_numpy(np.array(picture))


def saliency_map_from_logits(logits: Tensor, size: tuple[int, int], *, stretch: bool = False) -> Tensor:
    """Return maps of probabilities of another size.

    The logits are resized, bilinearly, before the sigmoid.

    Args:
        logits: (N, 1, h, w).
        size: height and width of the maps.
        stretch: bring each map to its full range from 0 to 1, as the published test code does before it saves
            a map. That changes confidences: never measure calibration on stretched maps.

    Returns:
        (N, 1, H, W) in [0, 1].

    Example:
        >>> saliency_map_from_logits(torch.zeros(1, 1, 2, 2), (1, 3))
        tensor([[[[0.5000, 0.5000, 0.5000]]]])
    """
    maps = F.interpolate(logits, size=size, mode="bilinear", align_corners=False).sigmoid()
    if not stretch:
        return maps
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return (maps - low) / (high - low + 1e-8)
