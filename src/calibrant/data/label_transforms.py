"""Images with label maps: scaled, cropped, mirrored, coloured to train; fitted into a window to be judged."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Generator, Tensor

from calibrant.data.map_transforms import flip, normalised
from calibrant.errors import InputError

#: The label of pixels that count nowhere.
IGNORED = 255
#: Largest shift of the hue, in degrees, and of the saturation, of 255.
HUE, SATURATION = 20, 30

Picture = Image.Image
_BILINEAR, _NEAREST = Image.Resampling.BILINEAR, Image.Resampling.NEAREST


@dataclass(frozen=True)
class LabelDraws:
    """What happens to one image in training.

    Attributes:
        scale: factor of its longest side.
        left: where the crop begins, as a share of the room that it has.
        top: likewise.
        flip: whether it is mirrored left to right.
        contrast: factor of the pixels; None leaves the light as it is.
        brightness: what is added to them, of 1.
        hue: by which the colours turn, in degrees; None leaves them as they are.
        saturation: what is added to it, of 255.
    """

    scale: float
    left: float
    top: float
    flip: bool
    contrast: float | None
    brightness: float
    hue: float | None
    saturation: float

    @classmethod
    def draw(cls, low: float, high: float, jitter: float, generator: Generator) -> "LabelDraws":
        """Draw a scale between `low` and `high`, a place, a flip, and each jitter with probability 1/2."""
        u = torch.rand(10, generator=generator, dtype=torch.float64).tolist()
        shift = [2 * value - 1 for value in u[6:]]
        light, colour = jitter > 0 and u[4] < 0.5, jitter > 0 and u[5] < 0.5
        return cls(
            scale=low + (high - low) * u[0],
            left=u[1],
            top=u[2],
            flip=u[3] < 0.5,
            contrast=1 + jitter * shift[0] if light else None,
            brightness=jitter * shift[1],
            hue=HUE * shift[2] if colour else None,
            saturation=SATURATION * shift[3],
        )


@dataclass(frozen=True)
class LabelTransforms:
    """How an image with a label map becomes the input of a network and its target.

    In training the longest side is brought to `longest` pixels times a drawn scale, what is smaller than the
    crop is padded (the image black, the labels ignored), a square of `crop` pixels is cut out, and mirrored in
    half of the cases; light and colours change with probability 1/2 each. To be judged, an image is fitted into
    a window without a change of its shape, and padded to it. Images are resized bilinearly, labels to the
    nearest.

    Attributes:
        longest: longest side in training, in pixels.
        crop: side of the crop.
        scale: least and largest factor of the longest side.
        jitter: largest change of contrast and brightness; 0 leaves light and colours as they are.
        window: height and width in which images are judged.

    Raises:
        InputError: a size below 1, or scales that are not in order.
    """

    longest: int = 640
    crop: int = 512
    scale: tuple[float, float] = (1.0, 1.0)
    jitter: float = 0.3
    window: tuple[int, int] = (480, 480)

    def __post_init__(self) -> None:
        if min(self.longest, self.crop, *self.window) < 1:
            raise InputError("data.args: longest, crop and window are sizes in pixels, and must be at least 1.")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(
                f"data.args.scale must be a least and a largest factor above 0, such as [0.5, 2.0], not "
                f"{list(self.scale)}."
            )
        if not 0 <= self.jitter < 1:
            raise InputError(f"data.args.jitter must be at least 0 and below 1, not {self.jitter}.")

    def train(self, image: Picture, label: Picture, generator: Generator) -> tuple[Tensor, Tensor]:
        """Return an augmented image (3, crop, crop), normalised, and its labels (crop, crop) int64."""
        draws = LabelDraws.draw(*self.scale, self.jitter, generator)
        factor = draws.scale * self.longest / max(image.size)
        width, height = (max(round(side * factor), 1) for side in image.size)
        image, label = image.resize((width, height), _BILINEAR), label.resize((width, height), _NEAREST)
        left, top = (
            round(share * (side - self.crop)) if side > self.crop else (side - self.crop) // 2
            for share, side in ((draws.left, width), (draws.top, height))
        )
        box = (left, top, left + self.crop, top + self.crop)
        image, label = placed(image, label, box)
        if draws.flip:
            image, label = flip(image), flip(label)
        return normalised(recoloured(image, draws)), labels_of(label)

    def judge(self, image: Picture, label: Picture) -> tuple[Tensor, Tensor]:
        """Return an image that fills the window, normalised, and its labels."""
        top, left, height, width = fitted((image.height, image.width), self.window)
        image, label = image.resize((width, height), _BILINEAR), label.resize((width, height), _NEAREST)
        box = (-left, -top, self.window[1] - left, self.window[0] - top)
        image, label = placed(image, label, box)
        return normalised(image), labels_of(label)

    def restored(self, logits: Tensor, size: tuple[int, int]) -> Tensor:
        """Return the logits (C, height, width) of an image in its own size, of those of the window.

        The padding is cut off, the logits of the image are resized bilinearly.
        """
        top, left, height, width = fitted(size, self.window)
        inner = logits[None, :, top : top + height, left : left + width]
        return F.interpolate(inner, size=size, mode="bilinear", align_corners=False)[0]


def fitted(size: tuple[int, int], window: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return where an image lies in a window that it is fitted into: top, left, height, width.

    Args:
        size: height and width of the image.
        window: of the window.

    Example:
        >>> fitted((300, 400), (480, 480))
        (60, 0, 360, 480)
    """
    factor = min(window[0] / size[0], window[1] / size[1])
    height, width = (min(max(round(side * factor), 1), room) for side, room in zip(size, window, strict=True))
    return (window[0] - height) // 2, (window[1] - width) // 2, height, width


def placed(image: Picture, label: Picture, box: tuple[int, int, int, int]) -> tuple[Picture, Picture]:
    """Cut a box out of both; outside of them the image is black and the labels are ignored."""
    size = (box[2] - box[0], box[3] - box[1])
    out, labels = Image.new("RGB", size), Image.new("L", size, IGNORED)
    for canvas, picture in ((out, image), (labels, label)):
        canvas.paste(picture, (-box[0], -box[1]))
    return out, labels


def recoloured(image: Picture, draws: LabelDraws) -> Picture:
    """Change light and colours as drawn."""
    if draws.contrast is not None:
        levels = np.asarray(image).astype(np.float32) * draws.contrast + 255 * draws.brightness
        image = Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))
    if draws.hue is not None:
        # Pillow's hue runs from 0 to 255, and begins again.
        colours = np.array(image.convert("HSV")).astype(np.int16)
        colours[..., 0] = (colours[..., 0] + round(draws.hue * 256 / 360)) % 256
        colours[..., 1] = (colours[..., 1] + round(draws.saturation)).clip(0, 255)
        bands = [Image.fromarray(band) for band in colours.astype(np.uint8).transpose(2, 0, 1)]
        image = Image.merge("HSV", bands).convert("RGB")
    return image


def labels_of(label: Picture) -> Tensor:
    """Return (H, W) int64."""
    return torch.from_numpy(np.array(label)).long()
