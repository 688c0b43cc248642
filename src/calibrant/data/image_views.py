"""Photographs as inputs of a network: the transforms of training and evaluation, on torchvision's operators."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode, v2

from calibrant.errors import InputError

Crop = Literal["resized", "plain"]
Interpolation = Literal["bilinear", "bicubic"]
#: Mean and deviation of the channels of ImageNet, of images in [0, 1].
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Look(TypedDict, total=False):
    """What a user may change of `Views`; what is not given stays the data set's own."""

    crop: Crop
    size: int
    resize: int
    min_scale: float
    flip: bool
    jitter: float
    erase: float
    interpolation: Interpolation
    mean: Sequence[float]
    std: Sequence[float]


@dataclass(frozen=True)
class Views:
    """How a photograph becomes the input of a network.

    Attributes:
        crop: of training: "resized", a window of random area and shape, resized to the input; "plain", a random
            window of the resized photograph.
        size: side of the input, in pixels.
        resize: length, in pixels, to which the shorter side is resized before the centre of an evaluation is
            cut out; with "plain", that of both sides, in training too, whatever the shape.
        min_scale: smallest area of the window of "resized", of that of the photograph.
        flip: mirror half of the training images.
        jitter: brightness, contrast and saturation of a training image are each multiplied by a number from
            1 - jitter to 1 + jitter.
        erase: probability with which a rectangle of a training image is replaced by noise.
        interpolation: of every resizing.
        mean: mean of each channel, of images in [0, 1].
        std: deviation of each channel, likewise.

    Raises:
        InputError: a value out of its range.

    Example:
        >>> Views(size=32, resize=40).evaluation()(torch.zeros(3, 60, 50, dtype=torch.uint8)).shape
        torch.Size([3, 32, 32])
    """

    crop: Crop = "resized"
    size: int = 224
    resize: int = 256
    min_scale: float = 0.08
    flip: bool = True
    jitter: float = 0.0
    erase: float = 0.0
    interpolation: Interpolation = "bilinear"
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name, known in (("crop", ("resized", "plain")), ("interpolation", ("bilinear", "bicubic"))):
            if getattr(self, name) not in known:
                raise InputError(f"{name} must be '{known[0]}' or '{known[1]}', not {getattr(self, name)!r}.")
        if not 1 <= self.size <= self.resize:
            raise InputError(f"size must lie in [1, resize], [1, {self.resize}], not {self.size}.")
        for name, low in (("min_scale", "above 0"), ("jitter", "at least 0"), ("erase", "at least 0")):
            value = getattr(self, name)
            if not 0 <= value <= 1 or (name == "min_scale" and value == 0):
                raise InputError(f"{name} must be {low} and at most 1, not {value}.")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InputError(
                f"mean and std are three numbers each, those of std above 0, not {list(self.mean)} and "
                f"{list(self.std)}."
            )

    def training(self) -> nn.Module:
        """Return the transform of a training image, from a picture to (3, size, size) uint8.

        What it draws comes from PyTorch's CPU generator; see `drawing`.
        """
        how, steps = InterpolationMode(self.interpolation), []
        if self.crop == "resized":
            steps += [v2.RandomResizedCrop(self.size, scale=(self.min_scale, 1.0), interpolation=how)]
        else:
            steps += [v2.Resize((self.resize, self.resize), how), v2.RandomCrop(self.size)]
        if self.flip:
            steps += [v2.RandomHorizontalFlip()]
        if self.jitter:
            steps += [v2.ColorJitter(self.jitter, self.jitter, self.jitter)]
        steps += [v2.PILToTensor()]
        if self.erase:
            steps += [Erase(self.erase, self.mean, self.std)]
        return _chained(steps)

    def evaluation(self) -> nn.Module:
        """Return the transform of evaluation, from a picture to (3, size, size) uint8; it draws nothing."""
        side = self.resize if self.crop == "resized" else (self.resize, self.resize)
        how = InterpolationMode(self.interpolation)
        return _chained([v2.Resize(side, how), v2.CenterCrop(self.size), v2.PILToTensor()])


def _chained(steps: list[Any]) -> nn.Module:
    chain: nn.Module = v2.Compose(steps)
    return chain


class Erase(nn.Module):
    """Replace a random rectangle of an image by noise, each pixel and channel its own.

    The noise has the mean and the deviation of the data's channels, is rounded and clipped to the range of a
    picture; the published code draws it after normalisation and does not clip.

    Args:
        probability: of an image that anything is erased.
        mean: of each channel, of images in [0, 1].
        std: of each channel, likewise.

    Zhong, Zheng, Kang, Li, Yang: "Random Erasing Data Augmentation", AAAI 2020.
    """

    #: Smallest and largest area of the rectangle, of the image's; smallest ratio of its sides; tries.
    AREA, RATIO, TRIES = (0.02, 1 / 3), 0.3, 10

    def __init__(self, probability: float, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.probability = probability
        self.mean, self.std = (255 * torch.tensor(list(v)).view(3, 1, 1) for v in (mean, std))

    def forward(self, image: Tensor) -> Tensor:
        """Erase a rectangle of (3, H, W) uint8, or nothing."""
        if float(torch.rand(())) >= self.probability:
            return image
        _, height, width = image.shape
        spread = -torch.tensor(self.RATIO).log()
        for _ in range(self.TRIES):
            area = height * width * torch.empty(()).uniform_(*self.AREA)
            ratio = (spread * torch.empty(()).uniform_(-1, 1)).exp()
            h, w = (int(side.round()) for side in ((area * ratio).sqrt(), (area / ratio).sqrt()))
            if 0 < h < height and 0 < w < width:
                top, left = (int(torch.randint(0, room + 1, ())) for room in (height - h, width - w))
                noise = self.mean + self.std * torch.randn(3, h, w)
                image = image.clone()
                image[:, top : top + h, left : left + w] = noise.round().clamp(0, 255).to(torch.uint8)
                break
        return image


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Seed PyTorch's CPU generator for what is inside, and leave it as it was."""
    # Not torch.manual_seed, which would seed the generators of the GPUs too.
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)
