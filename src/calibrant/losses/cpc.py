r"""Calibration by pairwise constraints (CPC): binary problems between the classes, two at a time."""

import math
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.registry import register

_TILE = 32
_BLOCK = {"cpu": 2**19, "cuda": 2**22}


@torch.library.custom_op("calibrant::pair_spread", mutates_args=())
def _pair_spread(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return `pair_spread` of (N, K, S) values and its gradient, in tiles of bounded size.

    As an operator of its own it is one node for `torch.compile`, however many tiles it runs through, and the
    gradient, computed in the same pass, is all that backward needs.
    """
    spread, slope = torch.empty_like(values[:, 0]), torch.empty_like(values)
    block = _BLOCK.get(values.device.type, _BLOCK["cpu"]) // min(_TILE, values.shape[1]) ** 2
    columns = min(values.shape[2], block)
    rows = block // max(columns, 1)
    for n in range(0, values.shape[0], rows):
        for c in range(0, values.shape[2], columns):
            here = (slice(n, n + rows), slice(None), slice(c, c + columns))
            spread[here[0], here[2]] = _fill_slope(values[here], slope[here])
    return spread, slope


def _fill_slope(values: Tensor, slope: Tensor) -> Tensor:
    """Write the gradient of the pairs into `slope` and return their value, (N, S)."""
    classes = values.shape[1]
    spread = torch.zeros_like(values[:, 0])
    slope.zero_()
    for i in range(0, classes, _TILE):
        for j in range(i, classes, _TILE):
            difference = values[:, i : i + _TILE].unsqueeze(2) - values[:, j : j + _TILE].unsqueeze(1)
            distance = difference.abs()
            half = distance.sum((1, 2)).div_(2)
            # One logarithm for the product of the 32 factors of a tile, each in [1, 2], is three times as fast.
            factor = distance.neg_().exp_().add_(1)
            spread.add_(half.add_(factor.prod(1).log_().sum(1)), alpha=1 if i == j else 2)
            tanh = factor.reciprocal_().mul_(2).sub_(1).copysign_(difference)
            slope[:, i : i + _TILE] += tanh.sum(2)
            if i != j:
                slope[:, j : j + _TILE] -= tanh.sum(1)
    # Each class met itself once, at log 2.
    return spread.sub_(classes * math.log(2))


@_pair_spread.register_fake
def _(values: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(values[:, 0]), torch.empty_like(values)


def _keep_slope(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1])


def _scale_slope(ctx: Any, of_spread: Tensor | None, of_slope: Tensor | None) -> Tensor | None:
    if of_slope is not None:
        raise RuntimeError("pair_spread can be differentiated once, not twice.")
    slope: Tensor = ctx.saved_tensors[0]
    return None if of_spread is None else slope * of_spread.unsqueeze(1)


_pair_spread.register_autograd(_scale_slope, setup_context=_keep_slope)


def pair_spread(values: Tensor) -> Tensor:
    r"""Return $\sum_{j \ne k} -\log \sigma(v_j - v_k)$ over the ordered pairs of classes of each row.

    It is smallest, log 2 a pair, where all are equal. Memory does not grow with the square of K, neither
    forward nor backward. It can be differentiated once.

    Args:
        values: (N, K, *).

    Returns:
        (N, *).

    Example:
        >>> pair_spread(torch.tensor([[0.0, 0.0], [3.0, 0.0]]))
        tensor([1.3863, 3.0972])
    """
    spread: Tensor = _pair_spread(values.flatten(2) if values.dim() > 2 else values.unsqueeze(2))[0]
    return spread.reshape(values[:, 0].shape)


@register("cpc")
class CPC(Loss):
    r"""Calibration by pairwise constraints: cross-entropy, discrimination (BDC) and exclusion (BEC).

    $$L = -\log p_y - \frac{w_1}{C-1} \sum_{k \ne y} \log \sigma(z_y - z_k)
        - \frac{w_2}{2 (C-1)(C-2)} \sum_{j \ne k;\; j, k \ne y} \log \sigma(z_j - z_k)$$

    The discrimination term separates the label from each other class, as a binary problem; the exclusion term
    pulls the logits of the other classes together. With two classes there is nothing to exclude, and that term
    is 0. Time grows with the square of C, memory does not; the loss can be differentiated once.

    Args:
        discrimination: $w_1$; 0.1 in CALS's configuration.
        exclusion: $w_2$; 1 in CALS's configuration.
        self_pairs: count each class with itself too, as the published code does: this adds the constant
            $\log 2 / (2 (C-2))$ to the exclusion term, and no gradient.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> loss = CPC()
        >>> loss(torch.tensor([[2.0, 0.0, 0.0]]), torch.tensor([0]))
        tensor(0.5988)
        >>> loss.terms
        {'ce': tensor(0.2395), 'bdc': tensor(0.1269), 'bec': tensor(0.3466)}

    Cheng, Vasconcelos: "Calibrating Deep Neural Networks by Pairwise Constraints", CVPR 2022.
    """

    soft_targets = False

    def __init__(
        self,
        discrimination: float = 0.1,
        exclusion: float = 1.0,
        *,
        self_pairs: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        self.discrimination, self.exclusion, self.self_pairs = discrimination, exclusion, self_pairs

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy, the discrimination and the exclusion term of each row."""
        z, label = batch.logits, batch.target.unsqueeze(1)
        if z.shape[1] < 2:
            raise InputError("CPC compares a class with others: it takes logits of at least 2 classes, not 1.")
        others = _without(z, label)
        return {
            "ce": cross_entropy(batch),
            "bdc": -logsigmoid(z.gather(1, label) - others).mean(1),
            "bec": self._exclusion_term(others),
        }

    def term_weights(self) -> dict[str, float]:
        """Weigh the two binary terms."""
        return {"bdc": self.discrimination, "bec": self.exclusion}

    def _exclusion_term(self, others: Tensor) -> Tensor:
        classes = others.shape[1]
        if classes < 2:
            return torch.zeros_like(others[:, 0])
        mean = pair_spread(others) / (2 * classes * (classes - 1))
        return mean + math.log(2) / (2 * (classes - 1)) if self.self_pairs else mean


def _without(logits: Tensor, label: Tensor) -> Tensor:
    """Return the (N, C-1, *) logits of the other classes, in some order: the last takes the label's place."""
    places = torch.arange(logits.shape[1] - 1, device=logits.device)
    places = places.view(-1, *[1] * (logits.dim() - 2))
    return torch.where(places == label, logits[:, -1:], logits[:, :-1])
