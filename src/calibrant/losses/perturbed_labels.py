r"""Perturbed labels of dense binary maps, and the statistics from which their levels are learned.

An image is drawn with probability $\alpha$, its *level*; the map y of a drawn image becomes

$$(1 - s) \, y + s / 2$$

with *strength* s: 2 inverts the labels, 1 makes them 1/2 everywhere, less smooths them. The published code
writes $\beta$ for s / 2, the published figure for s; here the strength is always the figure's.
"""

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

Granularity = Literal["image", "pixel"]

#: Half-width of the interval to which the noise of dynamic moderation is truncated.
NOISE_BOUND = 0.25


class Perturbed(NamedTuple):
    """Perturbed labels, and which were drawn.

    Attributes:
        target: of the shape of the map.
        drawn: bool, (N, 1, …, 1) when decided for each image, of the shape of the map when for each pixel.
    """

    target: Tensor
    drawn: Tensor


class ImageStats(NamedTuple):
    r"""Means over the pixels of each image, each (N,).

    Attributes:
        bce: binary cross-entropy.
        cal: $-\log(p(1-p))$, which the published code calls an entropy.
        margin: $(2y-1) z$, the signed logit: `cal - 2 bce`.
    """

    bce: Tensor
    cal: Tensor
    margin: Tensor


def smooth_binary_labels(target: Tensor, strength: float | Tensor) -> Tensor:
    r"""Return $(1 - s) \, y + s/2$: label smoothing with factor s of a binary map.

    Args:
        target: (N, 1, *) real in [0, 1].
        strength: s, one number or a tensor that broadcasts, (N, 1, 1, 1) for one of each image.

    Example:
        >>> smooth_binary_labels(torch.tensor([0.0, 1.0]), 0.1)
        tensor([0.0500, 0.9500])
    """
    return (1 - strength) * target + strength / 2


def truncated_normal(
    shape: tuple[int, ...], bound: float, *, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Draw from the standard normal truncated to [-bound, bound], float32.

    Example:
        >>> noise = truncated_normal((1000,), 0.25, device=torch.device("cpu"))
        >>> bool((noise.abs() <= 0.25).all())
        True
    """
    reach = math.erf(bound / math.sqrt(2))
    u = uniform(shape, device=device, generator=generator)
    return math.sqrt(2) * torch.erfinv((2 * u - 1) * reach)


def uniform(
    shape: tuple[int, ...], *, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Draw from [0, 1) on the generator's device, and bring the numbers to `device`."""
    if generator is None:
        return torch.rand(shape, device=device)
    return torch.rand(shape, device=generator.device, generator=generator).to(device)


def perturb_labels(
    target: Tensor,
    alpha: float | Tensor,
    strength: float = 2.0,
    *,
    noise: bool | Tensor = False,
    granularity: Granularity = "image",
    u: Tensor | None = None,
    generator: torch.Generator | None = None,
) -> Perturbed:
    r"""Perturb binary maps at random: stochastic label perturbation (SLP).

    Args:
        target: (N, 1, *) real in [0, 1].
        alpha: level, the probability of being drawn: one number, or (N,) for one of each image. 0 never draws.
        strength: s above; 2 inverts.
        noise: whether the labels of what is drawn get noise, independent for each pixel, standard normal
            truncated to [-0.25, 0.25]; or the noise itself, of the shape of the map.
        granularity: one draw for the whole "image", or one for each "pixel".
        u: the uniform draws in [0, 1), (N,) or of the shape of the map; drawn here when None.
        generator: the source of randomness; PyTorch's own when None.

    Example:
        >>> maps = torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]]])
        >>> target, drawn = perturb_labels(maps, 0.3, strength=1.5, u=torch.tensor([0.2, 0.3]))
        >>> target.flatten(1)
        tensor([[0.7500, 0.2500],
                [0.0000, 1.0000]])
        >>> drawn.flatten()
        tensor([ True, False])
    """
    per_image = (-1, *[1] * (target.dim() - 1))
    if isinstance(alpha, Tensor) and alpha.dim():
        alpha = alpha.view(per_image)
    if u is None:
        shape = tuple(target.shape) if granularity == "pixel" else (len(target),)
        u = uniform(shape, device=target.device, generator=generator)
    drawn = (u.view(per_image) if u.dim() == 1 else u) < alpha
    changed = smooth_binary_labels(target, strength)
    if isinstance(noise, Tensor):
        changed = changed + noise
    elif noise:
        draws = truncated_normal(tuple(target.shape), NOISE_BOUND, device=target.device, generator=generator)
        changed = changed + draws.to(target.dtype)
    return Perturbed(torch.where(drawn, changed, target), drawn)


def image_stats(
    logits: Tensor, target: Tensor, *, valid: Tensor | None = None, clamp: float | None = None
) -> ImageStats:
    r"""Return what the levels are learned from: for each image the means of BCE, $-\log(p(1-p))$ and margin.

    Args:
        logits: (N, 1, *) z.
        target: (N, 1, *) y in [0, 1], the clean map.
        valid: (N, *) or (N, 1, *) bool, the pixels that count; all when None. An image without any has 0.
        clamp: clamp the probabilities to [clamp, 1 - clamp] as the published code does with 1e-7, which bounds
            the margin of a pixel at about 16; None measures the logits as they are.

    Returns:
        detached, in the type of the logits, or float32 if that is narrower.

    Example:
        >>> stats = image_stats(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1.0, 1.0]]]))
        >>> stats.bce, stats.margin
        (tensor([1.1269]), tensor([0.]))
    """
    z = logits.detach().to(torch.promote_types(logits.dtype, torch.float32))
    y = target.detach().to(z.dtype)
    if clamp is None:
        bce = binary_cross_entropy_with_logits(z, y, reduction="none")
        cal, margin = softplus(z) + softplus(-z), (2 * y - 1) * z
    else:
        p = z.sigmoid().clamp(clamp, 1 - clamp)
        bce = -(y * p.log() + (1 - y) * (1 - p).log())
        cal = -(p * (1 - p)).log()
        margin = cal - 2 * bce
    counted = None if valid is None else valid.reshape(len(z), -1)

    def mean(values: Tensor) -> Tensor:
        rows = values.flatten(1)
        if counted is None:
            return rows.mean(1)
        return torch.where(counted, rows, 0.0).sum(1) / counted.sum(1).clamp(min=1)

    return ImageStats(mean(bce), mean(cal), mean(margin))
