r"""Any loss for classes on dense binary maps: one logit z is the pair of logits (0, z).

The softmax of that pair is $(1 - \sigma(z), \sigma(z))$, and a grey label y is the soft target (1 - y, y).
"""

from collections.abc import Mapping
from typing import Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.binary import BinaryLoss, DrawnLoss
from calibrant.losses.focal import FLSD, FocalLoss
from calibrant.losses.mmce import MMCE
from calibrant.losses.penalties import BrierLoss
from calibrant.losses.perturbed_labels import uniform
from calibrant.losses.registry import register


class TwoClassLoss(BinaryLoss):
    """A loss for C classes, applied to binary maps.

    Args:
        loss: the loss; its own `weight`, `ignore_index` and `reduction` play no part.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Raises:
        InputError: a loss that cannot take grey maps, learns from what it observes, takes more than logits and
            targets, or is binary already.

    Example:
        >>> import torch
        >>> from calibrant.losses import MarginLoss
        >>> loss = TwoClassLoss(MarginLoss(margin=1.0))
        >>> loss(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 0]]]))
        tensor(0.1769)
    """

    def __init__(self, loss: Loss, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        own = type(loss).observe is not Loss.observe or type(loss).forward is not Loss.forward
        if loss.binary or not loss.soft_targets or own:
            raise InputError(
                f"{type(loss).__name__} cannot be applied to binary maps: it must take soft targets of several "
                "classes, learn nothing from what it observes, and take no more than logits and targets."
            )
        self.batch_level = loss.batch_level
        if self.batch_level and self.reduction == "none":
            self._refuse_rows()
        self.loss = loss

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss on two classes."""
        pairs = as_two_classes(batch)
        self.loss._check_shapes(pairs.logits, pairs.target)
        return self.loss.formula(pairs)

    def step_epoch(self) -> None:
        """Move what the loss moves along a schedule."""
        self.loss.step_epoch()

    def term_weights(self) -> Mapping[str, float]:
        """Return those of the loss."""
        return self.loss.term_weights()


def as_two_classes(batch: Batch) -> Batch:
    """Return logits (0, z) and targets (1 - y, y), (N, 2, *), of a batch of binary maps."""
    logits = torch.cat([torch.zeros_like(batch.logits), batch.logits], 1)
    return Batch(logits, torch.cat([1 - batch.target, batch.target], 1), batch.valid, batch.index)


@register("binary_focal")
class BinaryFocal(TwoClassLoss):
    r"""Focal loss on binary maps, $-(1-p)^\gamma \log p$ with p the probability of the pixel's label.

    A grey pixel weighs the two labels by 1 - y and y.

    Args:
        gamma: as in `FocalLoss`.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> BinaryFocal(2.0)(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 0]]]))
        tensor(0.0018)

    Lin, Goyal, Girshick, He, Dollár: "Focal Loss for Dense Object Detection", ICCV 2017.
    """

    def __init__(self, gamma: float = 3.0, **settings: Unpack[Settings]) -> None:
        super().__init__(FocalLoss(gamma), **settings)


@register("binary_flsd")
class BinaryFLSD(TwoClassLoss):
    r"""Focal loss on binary maps with a power for each pixel: 5 where p < 0.2, 3 where p < 0.5, gamma above.

    Args:
        gamma: as in `FLSD`; 3 is FLSD-53.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> BinaryFLSD()(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 1]]]))
        tensor(0.5639)

    Mukhoti, Kulharia, Sanyal, Golodetz, Torr, Dokania: "Calibrating Deep Neural Networks using Focal Loss",
    NeurIPS 2020.
    """

    def __init__(self, gamma: float = 3.0, **settings: Unpack[Settings]) -> None:
        super().__init__(FLSD(gamma), **settings)


@register("binary_brier")
class BinaryBrier(TwoClassLoss):
    r"""Brier score of binary maps as a loss, $(\sigma(z) - y)^2$: half of that over both classes.

    Args:
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> BinaryBrier()(torch.tensor([[[2.0, -2.0]]]), torch.tensor([[[1, 1]]]))
        tensor(0.3950)

    Brier: "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review 1950.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        super().__init__(BrierLoss(), **settings)

    def term_weights(self) -> Mapping[str, float]:
        """Halve the sum over the two classes."""
        return {"brier": 0.5}


@register("binary_mmce")
class BinaryMMCE(TwoClassLoss, DrawnLoss):
    r"""Binary cross-entropy plus the MMCE of pixels drawn at random from the batch.

    $L = \mathrm{BCE}(z, y) + \alpha \, \mathrm{MMCE}$, see `MMCE`, with the confidence max(p, 1 - p).

    Args:
        alpha: weight of the term.
        bandwidth: h of the kernel, at least 0.001.
        pixels: how many pixels the term compares, drawn with replacement in every call; None for all.
        generator: the source of the draws, saved in the state dict; PyTorch's own when None.
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; weights act on the
            cross-entropy alone.

    Example:
        >>> import torch
        >>> BinaryMMCE(pixels=None)(torch.tensor([[[3.0, -1.0]]]), torch.tensor([[[1, 1]]]))
        tensor(0.8051)

    Kumar, Sarawagi, Jain: "Trainable Calibration Measures for Neural Networks from Kernel Mean Embeddings",
    ICML 2018.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        bandwidth: float = 0.4,
        *,
        pixels: int | None = 10_000,
        generator: torch.Generator | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(MMCE(alpha, bandwidth), **settings)
        if pixels is not None and pixels < 2:
            raise InputError(f"pixels must be at least 2, or None for all, not {pixels}.")
        self.pixels, self.generator, self.stochastic = pixels, generator, pixels is not None

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each pixel and the distance of the drawn ones."""
        pairs = as_two_classes(batch)
        ce = -pairs.at_target(pairs.logits.log_softmax(1))
        return {"ce": ce, "mmce": self.loss.formula(self._drawn(pairs))["mmce"]}

    def _drawn(self, pairs: Batch) -> Batch:
        """Return some pixels as rows (pixels, 2)."""
        logits, target = (x.movedim(1, -1).reshape(-1, 2) for x in (pairs.logits, pairs.target))
        valid = None if pairs.valid is None else pairs.valid.reshape(-1)
        if self.pixels is None or not len(logits):
            return Batch(logits, target, valid, None)
        u = uniform((self.pixels,), device=logits.device, generator=self.generator)
        # In float32 a draw below 1 times the number of pixels may round up to that number.
        at = (u.double() * len(logits)).long().clamp(max=len(logits) - 1)
        return Batch(logits[at], target[at], None if valid is None else valid[at], None)
