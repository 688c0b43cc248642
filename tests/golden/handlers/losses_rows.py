"""Losses defined on rows: cross-entropy, smoothing, the focal family, penalties, MbLS, ACLS, CALS."""

from collections.abc import Mapping

import torch
from torch import Tensor

from calibrant.losses import class_adaptive as cals
from calibrant.losses import create
from calibrant.losses.base import Loss
from calibrant.losses.focal import gamma_for_probability
from tests.golden.framework import Case, handles


def run_loss(loss: Loss, case: Case) -> dict[str, Tensor]:
    """Return value, gradient and terms under every name that the golden files use for them."""
    logits = case.inputs["logits"].requires_grad_()
    target = case.inputs["target"] if "target" in case.inputs else case.inputs["targets"]
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    outputs = {
        "loss": value,
        "grad_logits": gradient,
        "grad": gradient,
        "p_y": _label_probability(logits, target),
    }
    return outputs | {f"loss_{name}": term for name, term in loss.terms.items()}


def _label_probability(logits: Tensor, target: Tensor) -> Tensor:
    inside = target.clamp(0, logits.shape[1] - 1)
    return logits.detach().softmax(1).gather(1, inside.unsqueeze(1)).squeeze(1)


def _ignored(params: Mapping[str, object]) -> dict[str, object]:
    return {"ignore_index": params.get("ignore_index", -100)}


@handles("loss", "CrossEntropy")
def cross_entropy(case: Case) -> dict[str, Tensor]:
    loss = create("ce", reduction=case.params.get("reduction", "mean"), **_ignored(case.params))
    return run_loss(loss, case)


@handles("loss", "LabelSmoothing", "LabelSmoothingCrossEntropy", "LabelSmoothingLoss", "CrossEntropySmoothed")
def label_smoothing(case: Case) -> dict[str, Tensor]:
    params = case.params
    over = "others" if params.get("convention") == "K-1" else "all"
    alpha = params["smoothing"] if "smoothing" in params else params["alpha"]
    loss = create("ls", alpha=alpha, over=over, reduction=params.get("reduction", "mean"), **_ignored(params))
    return run_loss(loss, case)


def _focal_reduction(params: Mapping[str, object]) -> str:
    if "size_average" in params:
        return "mean" if params["size_average"] else "sum"
    return str(params["reduction"])


@handles("loss", "FocalLoss")
def focal(case: Case) -> dict[str, Tensor]:
    if "weight_in_exponent" in case.params:
        from tests.golden.handlers.losses_long_tailed import focal_with_weight_in_exponent

        return focal_with_weight_in_exponent(case)
    reduction = _focal_reduction(case.params)
    return run_loss(
        create("focal", gamma=case.params["gamma"], reduction=reduction, **_ignored(case.params)), case
    )


@handles("loss", "FLSD", "FocalLossAdaptive")
def flsd(case: Case) -> dict[str, Tensor]:
    reduction = _focal_reduction(case.params)
    loss = create("flsd", gamma=case.params["gamma"], reduction=reduction, **_ignored(case.params))
    p = _label_probability(case.inputs["logits"], case.inputs.get("target", case.inputs.get("targets")))
    gamma = torch.where(p < 0.2, 5.0, torch.where(p < 0.5, 3.0, float(case.params["gamma"])))
    first = p[: case.outputs["p_y"].numel()] if "p_y" in case.outputs else p
    return run_loss(loss, case) | {"gamma_per_sample": gamma, "p_y": first}


# At p0 = 0.5 the argument is Lambert's branch point, where the reference's own solver keeps 6 digits.
@handles("schedule", "FLSD.get_gamma", "focal_gamma_for_p0", tolerance=1e-7)
def get_gamma(case: Case) -> dict[str, Tensor]:
    p0 = case.inputs["p"] if "p" in case.inputs else case.inputs["p0"]
    return {"gamma": gamma_for_probability(p0)}


@handles("loss", "DualFocalLoss")
def dual_focal(case: Case) -> dict[str, Tensor]:
    return run_loss(create("dual_focal", **case.params), case)


@handles("loss", "EntropyPenalty", "PenaltyEntropy")
def entropy_penalty(case: Case) -> dict[str, Tensor]:
    loss = create(
        "ecp", alpha=case.params["alpha"], class_reduction="mean", clamp=1e-10, **_ignored(case.params)
    )
    outputs = run_loss(loss, case)
    return outputs | {"loss_ent": outputs["loss_entropy"]}


@handles("loss", "EntropyRegularizer")
def entropy_regularizer(case: Case) -> dict[str, Tensor]:
    """The term alone, with the sign that the reference gives it: ours is added to a cross-entropy."""
    both = run_loss(create("ecp", alpha=1.0, gamma=case.params["gamma"]), case)
    alone = run_loss(create("ce"), case)
    return {name: both[name] - alone[name] for name in ("loss", "grad_logits")}


@handles("loss", "L1Penalty", "PenaltyL1")
def l1_penalty(case: Case) -> dict[str, Tensor]:
    return run_loss(create("l1", alpha=case.params["alpha"], **_ignored(case.params)), case)


@handles("loss", "BrierScore")
def brier(case: Case) -> dict[str, Tensor]:
    return run_loss(create("brier"), case)


@handles("loss", "Poly1CrossEntropyLoss")
def poly1(case: Case) -> dict[str, Tensor]:
    return run_loss(create("poly1", **case.params), case)


@handles("loss", "LogitNormLoss")
def logit_norm(case: Case) -> dict[str, Tensor]:
    return run_loss(create("logit_norm", tau=case.params["t"]), case)


@handles("loss", "MbLS")
def mbls(case: Case) -> dict[str, Tensor]:
    params = {name: case.params[name] for name in ("margin", "alpha") if name in case.params}
    ignore_index = case.params.get("ignore_index", -100)
    outputs = run_loss(
        create("mbls", ignore_index=ignore_index, penalise_ignored=ignore_index < 0, **params), case
    )
    return outputs | {"loss_margin_l1": outputs["loss_margin"]}


@handles("loss", "ACLS")
def acls(case: Case) -> dict[str, Tensor]:
    names = {"pos_lambda": "pos_weight", "neg_lambda": "neg_weight", "alpha": "alpha", "margin": "margin"}
    params = {ours: case.params[theirs] for theirs, ours in names.items() if theirs in case.params}
    loss = create("acls", ties="reference", penalise_ignored=True, **params)
    outputs = run_loss(loss, case)
    penalty = loss.pos_weight * outputs["loss_pos"] + loss.neg_weight * outputs["loss_neg"]
    return outputs | {"reg": penalty}


@handles("loss", *(f"penalty.{name}" for name in cals.PENALTIES))
def penalty_functions(case: Case) -> dict[str, Tensor]:
    name = case.target.removeprefix("penalty.")
    h = case.inputs["h"].requires_grad_()
    rho = torch.as_tensor(case.inputs.get("rho", case.params.get("rho")), dtype=h.dtype)
    multiplier = case.inputs["lambd"]
    value = cals.PENALTIES[name](h, rho, multiplier)
    (gradient,) = torch.autograd.grad(value.sum(), h)
    derivative = cals.penalty_derivative(name, h, rho, multiplier)
    return {"value": value, "derivative": derivative, "autograd": gradient}


@handles("loss", "cals.constraint")
def constraint(case: Case) -> dict[str, Tensor]:
    h = cals.constraint(
        case.inputs["logits"].movedim(-1, 1), case.params["margin"], normalize=case.params["normalize"]
    )
    return {"constraint": h.movedim(1, -1)}


def _cals(case: Case) -> cals.CALS:
    loss = create(
        "cals",
        num_classes=case.params["num_classes"],
        margin=case.params["margin"],
        penalty=case.params["penalty"],
        normalize=case.params["normalize"],
        multipliers=case.inputs["lambd"],
        rho=case.inputs["rho"],
        penalise_ignored=True,
        **_ignored(case.params),
    )
    assert isinstance(loss, cals.CALS)
    return loss


@handles("loss", "CALS")
def full_cals(case: Case) -> dict[str, Tensor]:
    outputs = run_loss(_cals(case), case)
    return outputs | {"penalty": outputs["loss_penalty"]}


@handles("loss", "CALS.penalty")
def cals_penalty(case: Case) -> dict[str, Tensor]:
    """The penalty alone: ours is added to a cross-entropy, which every row here ignores."""
    logits = case.inputs["logits"]
    rows = logits.shape[:1] + logits.shape[2:]
    nothing = torch.full(rows, -100)
    outputs = run_loss(_cals(case), Case(**vars(case) | {"inputs": case.inputs | {"target": nothing}}))
    mean = cals.constraint(logits, case.params["margin"], normalize=case.params["normalize"])
    mean = (
        mean.mean([d for d in range(mean.dim()) if d != 1]) if case.outputs["constraint"].dim() else mean.mean()
    )
    return outputs | {"penalty": outputs["loss_penalty"], "constraint": mean}


@handles("loss", "CALS-HR")
def cals_hr(case: Case) -> dict[str, Tensor]:
    loss = create(
        "cals_hr",
        num_classes=case.params["num_classes"],
        margin=case.params["margin"],
        multipliers=case.inputs["lambd"],
        **_ignored(case.params),
    )
    return run_loss(loss, case)
