"""Augmentation of whole batches on the training device, each image with its own draw."""

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


def random_crop(images: Tensor, padding: int, generator: Generator | None = None) -> Tensor:
    """Pad every side with zeros and cut each image's own window of the original size.

    Equal in distribution to `torchvision.transforms.RandomCrop(size, padding)` on one image at a time.

    Args:
        images: (N, C, H, W).
        padding: zeros on every side.
        generator: source of the windows, on the device of the images.

    Returns:
        (N, C, H, W) of the type of the images.
    """
    count, _, height, width = images.shape
    places = 2 * padding + 1
    corner = torch.randint(places * places, (count,), generator=generator, device=images.device)
    windows = F.pad(images, [padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
    rows = torch.arange(count, device=images.device)
    return windows[rows, :, corner // places, corner % places]


def random_flip(images: Tensor, generator: Generator | None = None) -> Tensor:
    """Mirror each image left to right with probability one half; (N, C, H, W) to the same."""
    mirrored = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(3), images)


def normalise(images: Tensor, mean: list[float], std: list[float]) -> Tensor:
    """Return float32 images, (x - mean) / std in each channel."""
    centre, scale = (torch.tensor(v, device=images.device)[:, None, None] for v in (mean, std))
    return (images.float() - centre) / scale
