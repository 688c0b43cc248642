"""The common corruptions, made on the fly with their published strengths.

Hendrycks, Dietterich: "Benchmarking Neural Network Robustness to Common Corruptions and Perturbations", ICLR
2019. What is published are images; these are made by the operators of SciPy, scikit-image and Pillow, where the
authors used OpenCV and ImageMagick too: alike in kind and strength, not pixel by pixel.
"""

import zlib

import numpy as np
import torch
from torch import Tensor

from calibrant.data.corruptions import blur, digital, noise, weather
from calibrant.data.corruptions.frost import Frost
from calibrant.data.corruptions.kind import Corruption
from calibrant.data.corruptions.strengths import SEVERITIES, strength
from calibrant.errors import InputError, nearest

#: The 15 of the published benchmark, in its order.
STANDARD = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur",
    "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
)  # fmt: skip
#: The four that the publication keeps for validation.
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
#: What can be made without photographs of frost.
CORRUPTIONS: dict[str, Corruption] = {
    name: getattr(module, name)
    for name in (*STANDARD, *EXTRA)
    for module in (noise, blur, weather, digital)
    if hasattr(module, name)
}
#: Values that are corrupted at a time.
_AT_A_TIME = 2**24


def corrupt(
    images: Tensor, name: str, severity: int, *, ids: Tensor, seed: int = 0, frost: Frost | None = None
) -> Tensor:
    """Corrupt images; what is drawn for one depends on the seed, its id, the corruption and the severity alone.

    Args:
        images: (N, 3, H, W) uint8.
        name: one of `CORRUPTIONS`, or "frost".
        severity: 1 to 5; the strengths are those published for the size nearest to 32, 64 or 224 pixels.
        ids: (N,) int64 ids of the images.
        seed: of all draws.
        frost: the photographs for "frost".

    Returns:
        (N, 3, H, W) uint8; fractions of a level are cut off, as published.

    Raises:
        InputError: no such corruption or severity, or images of other than three channels.

    Example:
        >>> grey = torch.full((2, 3, 32, 32), 128, dtype=torch.uint8)
        >>> noisy = corrupt(grey, "gaussian_noise", 5, ids=torch.tensor([4, 7]))
        >>> alone = corrupt(grey[1:], "gaussian_noise", 5, ids=torch.tensor([7]))
        >>> torch.equal(noisy[1:], alone), round(float(noisy.float().std() / 255), 2)
        (True, 0.1)
    """
    make = refuse_unknown(name, frost)
    refuse_grey(images)
    values = strength(name, severity, min(images.shape[2:]))
    kind = zlib.crc32(name.encode())
    chunk = max(_AT_A_TIME // images[0].numel(), 1) if len(images) else 1
    parts = []
    for some, numbers in zip(torch.split(images, chunk), torch.split(ids, chunk), strict=True):
        draws = [np.random.default_rng([seed, kind, severity, number]) for number in numbers.tolist()]
        changed = make(some.numpy().astype(np.float32) / 255, values, draws)
        # A little more: what is a whole level but for rounding stays one.
        parts.append(torch.from_numpy((255 * changed.clip(0, 1) + 1e-3).astype(np.uint8)))
    return torch.cat(parts) if parts else images


def refuse_grey(images: Tensor) -> None:
    """Raise `InputError` for (N, C, H, W) images that are not in colour."""
    if images.shape[1] != 3:
        raise InputError(
            f"The corruptions are published for colour images of 3 channels, not {images.shape[1]}: judge a "
            "run on photographs."
        )


def refuse_unknown(name: str, frost: Frost | None = None) -> Corruption:
    """Return a corruption by its name; raises `InputError` where it cannot be made."""
    if name == "frost" and frost is None:
        raise InputError(
            "frost lays photographs of frost over an image, which are not shipped: name a folder of them with "
            "--frost, read it from a published set, such as CIFAR-10-C, or leave it out."
        )
    if name == "frost" and frost is not None:
        return frost
    if name not in CORRUPTIONS:
        raise InputError(f"There is no corruption {name!r}; {nearest(name, CORRUPTIONS)}")
    return CORRUPTIONS[name]


__all__ = [
    "CORRUPTIONS",
    "EXTRA",
    "SEVERITIES",
    "STANDARD",
    "Frost",
    "corrupt",
    "refuse_grey",
    "refuse_unknown",
]
