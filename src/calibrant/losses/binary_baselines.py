"""Baselines of dense binary maps that are special cases of label perturbation, by their own names."""

from typing import Literal, Unpack

import torch

from calibrant.errors import InputError
from calibrant.losses.base import Settings
from calibrant.losses.label_perturbation import ScBCE
from calibrant.losses.perturbed_labels import Granularity
from calibrant.losses.registry import register


@register("bce")
class BinaryCrossEntropy(ScBCE):
    r"""Binary cross-entropy on one logit a pixel, $-y \log \sigma(z) - (1-y) \log(1 - \sigma(z))$.

    Args:
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> BinaryCrossEntropy()(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 0]]]))
        tensor(0.1269)
    """

    term = "bce"

    def __init__(self, **settings: Unpack[Settings]) -> None:
        super().__init__(0.0, **settings)


@register("binary_ls")
class BinaryLabelSmoothing(ScBCE):
    r"""Label smoothing of binary maps: binary cross-entropy against $(1-\alpha) \, y + \alpha/2$.

    The same convention as `LabelSmoothing` with two classes.

    Args:
        alpha: $\alpha$, above 0 and below 1.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> BinaryLabelSmoothing(0.1)(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 0]]]))
        tensor(0.2269)

    Szegedy, Vanhoucke, Ioffe, Shlens, Wojna: "Rethinking the Inception Architecture for Computer Vision",
    CVPR 2016.
    """

    term = "ls"

    def __init__(self, alpha: float = 0.05, **settings: Unpack[Settings]) -> None:
        if not 0 < alpha < 1:
            raise InputError(f"alpha must be above 0 and below 1, not {alpha!r}; without smoothing use 'bce'.")
        super().__init__(1.0, strength=alpha, **settings)


@register("disturb_label")
class DisturbLabel(ScBCE):
    r"""DisturbLabel on binary maps: with probability a, the rate, a label is drawn anew from both classes.

    The class drawn may be the true one, so that a label flips with probability a/2.

    Args:
        rate: a, at least 0 and below 1. Published for classification: 0.1.
        granularity: one draw for each "pixel", which is a sample in the original's sense; or for a whole
            "image", as stochastic label perturbation draws.
        mode: "sampled", as published; or "expected", which is label smoothing with $\alpha = a$.
        generator: the source of the draws, saved in the state dict; PyTorch's own when None.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> loss = DisturbLabel(0.1, mode="expected")
        >>> loss(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 0]]]))
        tensor(0.2269)

    Xie, Wang, Wei, Wang, Tian: "DisturbLabel: Regularizing CNN on the Loss Layer", CVPR 2016.
    """

    term = "disturb_label"

    def __init__(
        self,
        rate: float = 0.1,
        *,
        granularity: Granularity = "image",
        mode: Literal["expected", "sampled"] = "sampled",
        generator: torch.Generator | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        if not 0 <= rate < 1:
            raise InputError(f"rate must be at least 0 and below 1, not {rate!r}.")
        super().__init__(rate / 2, granularity=granularity, mode=mode, generator=generator, **settings)
