r"""The implied targets of the losses that look at the labels around a pixel; notation of `closed_forms`."""

import torch
from torch import Tensor

from calibrant.losses.base import Batch
from calibrant.losses.explanation.closed_forms import register_closed_form
from calibrant.losses.explanation.row_forms import through_softmax
from calibrant.losses.neighbours import NACL, SVLS, neighbourhood


@register_closed_form(
    SVLS, formula="y/2 + ½ Σ_o g_o y(·+o)/Σ_o g_o, o the neighbours of the pixel", conditional=True
)
def _svls(loss: SVLS, batch: Batch) -> Tensor:
    return neighbourhood(
        batch.onehot(),
        batch.valid,
        operator="gaussian",
        kernel_size=loss.kernel_size,
        sigma=loss.sigma,
        border=loss.border,
    )


_SLOPES = {"l1": ("(α/C)", "q", "q = sign({0} − τ)"), "l2": ("(2α/C)", "q", "q = {0} − τ")}


def _nacl_formula(loss: NACL) -> str:
    scale, slope, meaning = _SLOPES[loss.distance]
    pulled = slope if loss.pull == "logits" else "p (q − Σ_k p_k q_k)"
    of = meaning.format("z" if loss.pull == "logits" else "p")
    return f"y − {scale} {pulled}, {of}, τ the shares of the classes around the pixel"


@register_closed_form(NACL, formula=_nacl_formula)
def _nacl(loss: NACL, batch: Batch) -> Tensor:
    around = neighbourhood(
        batch.onehot(),
        batch.valid,
        operator=loss.operator,
        kernel_size=loss.kernel_size,
        sigma=loss.sigma,
        border=loss.border,
    )
    p = batch.logits.softmax(1)
    gap = (batch.logits if loss.pull == "logits" else p) - around
    slope = torch.sign(gap) if loss.distance == "l1" else 2 * gap
    moved = slope if loss.pull == "logits" else through_softmax(p, slope)
    return batch.onehot() - loss.alpha / p.shape[1] * moved
