r"""Losses that look at the labels around a pixel: spatially varying smoothing, neighbour-aware calibration."""

import math
from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.registry import register

Border = Literal["replicate", "zeros"]
Operator = Literal["mean", "gaussian", "mode", "median", "max", "min"]


def gaussian_taps(size: int, sigma: float) -> list[float]:
    """Return the weights of a one-dimensional Gaussian window; they sum to 1.

    Example:
        >>> [round(w, 4) for w in gaussian_taps(3, 1.0)]
        [0.2741, 0.4519, 0.2741]
    """
    weights = [math.exp(-((i - size // 2) ** 2) / (2 * sigma**2)) for i in range(size)]
    return [w / sum(weights) for w in weights]


def window_mean(values: Tensor, taps: list[float], border: Border = "replicate") -> Tensor:
    """Return the weighted mean of (N, C, *) over a window, the same along each spatial axis.

    Args:
        values: (N, C, *) with any number of spatial axes.
        taps: the weights along an axis, odd in number.
        border: "replicate" continues the map with its border values, "zeros" with 0.

    Example:
        >>> window_mean(torch.tensor([[[0.0, 3.0, 6.0]]]), [1 / 3] * 3)
        tensor([[[1., 3., 5.]]])
    """
    if values.numel() == 0:
        return values
    for axis in range(2, values.dim()):
        size = values.shape[axis]
        first, last = values.narrow(axis, 0, 1), values.narrow(axis, size - 1, 1)
        if border == "zeros":
            first, last = torch.zeros_like(first), torch.zeros_like(last)
        reach = len(taps) // 2
        padded = torch.cat([first] * reach + [values] + [last] * reach, axis)
        values = taps[0] * padded.narrow(axis, 0, size)
        for i, tap in enumerate(taps[1:], 1):
            values = torch.add(values, padded.narrow(axis, i, size), alpha=tap)
    return values


def centred_mean(values: Tensor, taps: list[float], border: Border = "replicate") -> Tensor:
    r"""Return the mean of (N, C, *) under SVLS's window: half the weight at the centre, half around it.

    The window is a Gaussian of sum 1 whose centre g is replaced by 1 - g, normalised; the weights around the
    centre sum to 1 - g as well, so that sigma shapes the neighbours alone.
    """
    centre = taps[len(taps) // 2] ** (values.dim() - 2)
    blurred = window_mean(values, taps, border)
    return (blurred + (1 - 2 * centre) * values) / (2 - 2 * centre)


def neighbourhood(
    labels: Tensor,
    valid: Tensor | None = None,
    *,
    operator: Operator = "mean",
    kernel_size: int = 3,
    sigma: float = 1.0,
    border: Border = "replicate",
) -> Tensor:
    """Return what the labels around each pixel say, as (N, C, *) probabilities.

    Args:
        labels: (N, C, *) one-hot labels, or probabilities, over one or more spatial axes.
        valid: (N, *) bool, False where a label is ignored: it tells its neighbours nothing, and the weights of
            the others are renormalised. None when all count.
        operator: "mean" of the window; "gaussian", SVLS's window, half of whose weight is at the centre; or the
            one-hot "mode", "median", "max" or "min" of the labels in the window. The last three depend on how
            the classes are numbered; the median is the lower one, and a tied mode the lowest class.
        kernel_size: odd size of the window along each axis.
        sigma: standard deviation of the Gaussian, in pixels.
        border: "replicate" continues the map with its border labels; "zeros" continues it with class 0.

    Example:
        >>> line = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])
        >>> neighbourhood(line)[0, 0]
        tensor([1.0000, 0.6667, 0.3333])
        >>> neighbourhood(line, torch.tensor([[True, True, False]]))[0, 0]
        tensor([1., 1., 1.])
    """
    gaussian = operator == "gaussian"
    taps = gaussian_taps(kernel_size, sigma) if gaussian else [1 / kernel_size] * kernel_size
    mean = centred_mean if gaussian else window_mean
    shares = mean(labels if valid is None else labels * valid.unsqueeze(1), taps, border)
    if border == "zeros":
        outside = 1 - mean(torch.ones_like(labels[:, :1]), taps, border)
        shares = torch.cat([shares[:, :1] + outside, shares[:, 1:]], 1)
    if valid is not None:
        mass = shares.sum(1, keepdim=True)
        shares = shares / torch.where(mass > 0, mass, torch.ones_like(mass))
    return shares if operator in ("mean", "gaussian") else _pick(shares, operator)


def _pick(shares: Tensor, operator: Operator) -> Tensor:
    """Return the one-hot class that an operator picks from the shares of the classes in a window."""
    # A share is a multiple of 1 / (pixels of the window) up to rounding, which must not break a tie.
    rounding = 1e-4
    classes = shares.shape[1]
    index = torch.arange(classes, device=shares.device).view(1, -1, *[1] * (shares.dim() - 2))
    present = shares > rounding
    if operator == "mode":
        most = shares > shares.amax(1, keepdim=True) - rounding
        label = torch.where(most, index, classes).amin(1, keepdim=True)
    elif operator == "median":
        label = (shares.cumsum(1) < 0.5 - rounding).sum(1, keepdim=True)
    elif operator == "max":
        label = torch.where(present, index, 0).amax(1, keepdim=True)
    else:
        label = torch.where(present, index, classes).amin(1, keepdim=True)
    return torch.zeros_like(shares).scatter(1, label.clamp(max=classes - 1), 1.0)


class _Spatial(Loss):
    """What SVLS and NACL share: a window, and the refusal of logits without spatial axes."""

    spatial = True

    def __init__(self, kernel_size: int, sigma: float, border: Border, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise InputError(f"kernel_size must be odd and at least 3, not {kernel_size}.")
        # Below this the neighbours' weights, which SVLS rescales to one half, are lost to rounding.
        if not sigma >= 0.25:
            raise InputError(f"sigma must be at least 0.25 pixels, not {sigma}.")
        check_choice("border", border, ("replicate", "zeros"))
        self.kernel_size, self.sigma, self.border = kernel_size, sigma, border

    def _check_shapes(self, logits: Tensor, target: Tensor) -> None:
        super()._check_shapes(logits, target)
        if logits.dim() == 2:
            raise InputError(
                f"{type(self).__name__} looks at neighbouring pixels: it takes logits (N, C, H, W) or "
                f"(N, C, D, H, W), not {tuple(logits.shape)}; without neighbours use 'ce'."
            )

    def _labels_around(self, batch: Batch, operator: Operator) -> Tensor:
        return neighbourhood(
            batch.onehot(),
            batch.valid,
            operator=operator,
            kernel_size=self.kernel_size,
            sigma=self.sigma,
            border=self.border,
        )


@register("svls")
class SVLS(_Spatial):
    r"""Spatially varying label smoothing: cross-entropy with the labels blurred over the neighbouring pixels.

    $$L = -\sum_k \tilde t_k \log p_k, \quad
    \tilde t = \tfrac{1}{2} t + \tfrac{1}{2} \sum_{o \ne 0} \frac{g_o}{\sum_{o' \ne 0} g_{o'}} t(\cdot + o)$$

    with g a Gaussian window: a pixel keeps half of its mass, its neighbours' labels share the other half. Where
    all labels around agree the target stays one-hot; at the border between two objects, where annotators
    disagree, it is soft.

    Args:
        sigma: standard deviation of the Gaussian in pixels; it shapes the neighbours' half alone. Published: 1.
        kernel_size: odd size of the window along each axis. Published: 3.
        border: "replicate" as published; "zeros" continues the map with class 0.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`. Ignored pixels are left out of the
            window and the weights of the others renormalised.

    Shape:
        - logits: (N, C, H, W) or (N, C, D, H, W), any number of spatial axes above 0.

    Example:
        >>> import torch
        >>> line = torch.tensor([[[0.0, 0.0, 0.0], [2.0, 2.0, 2.0]]])
        >>> SVLS(reduction="none")(line, torch.tensor([[1, 1, 0]]))
        tensor([[0.1269, 0.6269, 1.6269]])

    Islam, Glocker: "Spatially Varying Label Smoothing: Capturing Uncertainty from Expert Annotations",
    IPMI 2021.
    """

    def __init__(
        self,
        sigma: float = 1.0,
        *,
        kernel_size: int = 3,
        border: Border = "replicate",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(kernel_size, sigma, border, **settings)

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each pixel with the blurred labels."""
        labels = self._labels_around(batch, "gaussian")
        return {"svls": -(labels * batch.logits.log_softmax(1)).sum(1)}


@register("nacl")
class NACL(_Spatial):
    r"""Neighbour-aware calibration: cross-entropy, and the logits pulled to the class shares around the pixel.

    $$L = -\log p_y + \alpha \, \frac{1}{C} \sum_k |\tau_k - z_k|$$

    $\tau$ are the shares of the classes among the labels in a window around the pixel. As published it is the
    raw logits that are pulled to shares in [0, 1], which bounds them.

    Args:
        alpha: weight of the penalty, at least 0. Published: 0.1.
        operator: how a window is summed up, see `neighbourhood`. Published: "mean".
        distance: "l1", the absolute difference, or "l2", its square.
        pull: what is pulled: the raw "logits", or the probabilities, "probs".
        kernel_size: odd size of the window along each axis. Published: 3.
        sigma: standard deviation of the "gaussian" operator in pixels.
        border: "replicate" continues the map with its border labels; "zeros" is the published code's behaviour
            for every operator but the Gaussian: it pads the label map with 0, so that pixels at the border see
            more of class 0.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`. Ignored pixels are left out of the
            window and the weights of the others renormalised.

    Shape:
        - logits: (N, C, H, W) or (N, C, D, H, W), any number of spatial axes above 0.

    Example:
        >>> import torch
        >>> loss = NACL()
        >>> loss(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long))
        tensor(0.7431)
        >>> loss.terms
        {'ce': tensor(0.6931), 'neighbours': tensor(0.5000)}

    Murugesan, Adiga Vasudeva, Liu, Lombaert, Ben Ayed, Dolz: "Trust your neighbours: Penalty-based constraints
    for model calibration", MICCAI 2023.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        operator: Operator = "mean",
        distance: Literal["l1", "l2"] = "l1",
        pull: Literal["logits", "probs"] = "logits",
        kernel_size: int = 3,
        sigma: float = 1.0,
        border: Border = "replicate",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(kernel_size, sigma, border, **settings)
        if not alpha >= 0:
            raise InputError(f"alpha must be at least 0, not {alpha}.")
        check_choice("operator", operator, ("mean", "gaussian", "mode", "median", "max", "min"))
        check_choice("distance", distance, ("l1", "l2"))
        check_choice("pull", pull, ("logits", "probs"))
        self.alpha, self.operator, self.distance, self.pull = alpha, operator, distance, pull

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each pixel and its distance from the shares around it."""
        values = batch.logits if self.pull == "logits" else batch.logits.softmax(1)
        gap = values - self._labels_around(batch, self.operator)
        distance = gap.abs() if self.distance == "l1" else gap.square()
        return {"ce": cross_entropy(batch), "neighbours": distance.mean(1)}

    def term_weights(self) -> dict[str, float]:
        """Weigh the penalty by alpha."""
        return {"neighbours": self.alpha}
