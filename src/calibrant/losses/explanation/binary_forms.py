r"""The implied targets of the losses on one logit; y and p are of the object, else as in `closed_forms`."""

import torch
from torch import Tensor

from calibrant.losses.adaptive_perturbation import AdaptiveScBCE
from calibrant.losses.base import Batch
from calibrant.losses.binary_baselines import BinaryLabelSmoothing
from calibrant.losses.explanation.closed_forms import closed_form, register_closed_form
from calibrant.losses.label_perturbation import ScBCE
from calibrant.losses.perturbed_labels import smooth_binary_labels
from calibrant.losses.two_class import BinaryBrier, BinaryMMCE, TwoClassLoss, as_two_classes


def _perturbed_formula(loss: ScBCE) -> str:
    if isinstance(loss.alpha, float) and loss.alpha == 0:
        return "y"
    if isinstance(loss, BinaryLabelSmoothing):
        return "(1 − α) y + α/2"
    learned = isinstance(loss.alpha, Tensor)
    level = "α_i" if learned else "α"
    mass, half = ("" if value == 1 else f"{value:g}" for value in (loss.strength, loss.strength / 2))
    mean = ", on average over the draws" if loss.mode == "sampled" else ""
    return f"(1 − {mass}{level}) y + {half}{level}{', α_i the level of the image' if learned else ''}{mean}"


@register_closed_form(
    ScBCE, formula=_perturbed_formula, conditional=lambda loss: isinstance(loss, AdaptiveScBCE)
)
def _perturbed(loss: ScBCE, batch: Batch) -> Tensor:
    strength = (loss.level(batch) * loss.strength).view(-1, *[1] * (batch.target.dim() - 1))
    return smooth_binary_labels(batch.target, strength)


def _of_two_classes(loss: TwoClassLoss) -> str:
    form = closed_form(loss.loss)
    return "" if form is None else f"that of two classes with logits 0 and z: {form.formula}"


@register_closed_form(
    TwoClassLoss,
    formula=_of_two_classes,
    conditional=lambda loss: (form := closed_form(loss.loss)) is not None and form.conditional,
)
@register_closed_form(BinaryMMCE, formula=_of_two_classes)
def _two_classes(loss: TwoClassLoss, batch: Batch) -> Tensor:
    form = closed_form(loss.loss)
    assert form is not None
    labels = (batch.target.squeeze(1) > 0.5).long()
    pair = as_two_classes(batch)
    return form.target(loss.loss, Batch(pair.logits, labels, batch.valid, batch.index))[:, 1:]


@register_closed_form(BinaryBrier, formula="p − 2 p (1 − p) (p − y)")
def _binary_brier(loss: BinaryBrier, batch: Batch) -> Tensor:
    p = torch.sigmoid(batch.logits)
    return p - 2 * p * (1 - p) * (p - batch.target)
