"""Losses that know the class frequencies, and mixed samples."""

import torch
from torch import Tensor

from calibrant.losses import create
from calibrant.losses.class_balanced import ClassBalancedFocal, deferred_weights, effective_number_weights
from calibrant.losses.label_aware import LabelAwareSmoothing
from calibrant.losses.long_tailed import ldam_margins
from calibrant.losses.mixing import (
    MixedPair,
    bbn_features,
    bbn_lambda,
    draw_lambda,
    mixed_loss,
    mixup,
    remix_lambda,
)
from tests.golden.framework import Case, handles
from tests.golden.handlers.losses_rows import run_loss

# The reference holds eps, margins and weights in float32, whatever the logits.
FLOAT32_CONSTANTS = 2e-6


@handles("loss", "LabelAwareSmoothing", tolerance=FLOAT32_CONSTANTS)
def label_aware_smoothing(case: Case) -> dict[str, Tensor]:
    shape = {"exp": "exponential"}.get(case.params["shape"], case.params["shape"])
    loss = create(
        "las",
        class_counts=case.inputs["cls_num_list"],
        eps_head=case.params["smooth_head"],
        eps_tail=case.params["smooth_tail"],
        shape=shape,
        power=case.params["power"],
        form="code",
    )
    assert isinstance(loss, LabelAwareSmoothing)
    return run_loss(loss, case) | {"eps": loss.eps}


@handles("loss", "LDAMLoss", tolerance=FLOAT32_CONSTANTS)
def ldam(case: Case) -> dict[str, Tensor]:
    params = case.params
    weight = effective_number_weights(case.inputs["cls_num_list"], params["beta"])
    loss = create(
        "ldam",
        class_counts=case.inputs["cls_num_list"],
        max_margin=params["max_m"],
        scale=params["s"],
        weight=weight if params["weighted"] else None,
    )
    return run_loss(loss, case) | {"weight": weight}


def focal_with_weight_in_exponent(case: Case) -> dict[str, Tensor]:
    """The focal loss of the LDAM repository."""
    beta = case.params.get("beta", 0.9999) if case.params["weighted"] else 0.0
    loss = create(
        "cb_focal",
        class_counts=case.inputs["cls_num_list"],
        beta=beta,
        gamma=case.params["gamma"],
        form="weight_in_exponent",
    )
    assert isinstance(loss, ClassBalancedFocal)
    return run_loss(loss, case) | {"weight": loss.class_weight}


@handles("loss", "ClassBalancedCE")
def class_balanced_ce(case: Case) -> dict[str, Tensor]:
    counts, beta = case.inputs["cls_num_list"], case.params["beta"]
    loss = create("cb_ce", class_counts=counts, beta=beta)
    return run_loss(loss, case) | {"weight": effective_number_weights(counts, beta)}


@handles("loss", "ClassBalancedFocal", "SigmoidFocal")
def class_balanced_focal(case: Case) -> dict[str, Tensor]:
    loss = create(
        "cb_focal",
        class_counts=case.inputs["cls_num_list"],
        beta=case.params["beta"] or 0.0,
        gamma=case.params["gamma"],
    )
    assert isinstance(loss, ClassBalancedFocal)
    return run_loss(loss, case) | {"weight": loss.class_weight}


@handles("schedule", "deferred_class_balanced_weights")
def deferred(case: Case) -> dict[str, Tensor]:
    counts = case.inputs["cls_num_list"]
    beta, start, first = (case.params[name] for name in ("beta", "start_epoch", "epoch_base"))
    weights = {
        f"weight_epoch{epoch}": deferred_weights(counts, beta, epoch=epoch - first, start=start)
        for epoch in (1, 160, 161, 200)
    }
    return weights | {"margins": ldam_margins(counts)}


@handles("transform", "mixup", tolerance=FLOAT32_CONSTANTS)
def mix(case: Case) -> dict[str, Tensor | float]:
    lam = case.params["lam"] if "lam" in case.params else draw_lambda(case.params["alpha"])
    mixed, pair = mixup(case.inputs["x"], case.inputs["y"], lam, case.inputs["perm"])
    outputs: dict[str, Tensor | float] = {"mixed_x": mixed, "y_a": pair.a, "y_b": pair.b, "lam": lam}
    if "logits" in case.inputs:
        las = create(
            "las",
            class_counts=case.inputs["cls_num_list"],
            eps_head=case.params["smooth_head"],
            eps_tail=case.params["smooth_tail"],
        )
        for name, loss in (("ce", create("ce")), ("las", las)):
            logits = case.inputs["logits"].clone().requires_grad_()
            value = mixed_loss(loss, logits, pair)
            outputs[f"loss_{name}"] = value
            (outputs[f"grad_{name}"],) = torch.autograd.grad(value, logits)
    return outputs


# The reference holds the shares in float32.
@handles("loss", "remix", tolerance=1e-7)
def remix(case: Case) -> dict[str, Tensor]:
    lam, labels = case.params["lam"], case.inputs["labels"]
    mixed, pair = mixup(case.inputs["x"], labels, lam, case.inputs["perm"])
    shares = remix_lambda(
        case.inputs["cls_num_list"],
        pair.a,
        pair.b,
        lam,
        kappa=case.params["kappa"],
        tau=case.params["tau"],
        form="averaged" if case.params["reduction_of_inner_loss"] == "mean" else "per_sample",
    )
    logits = case.inputs["logits"].requires_grad_()
    value = mixed_loss(create("ce"), logits, MixedPair(pair.a, pair.b, shares))
    (gradient,) = torch.autograd.grad(value, logits)
    return {"mixed_x": mixed, "loss": value, "grad": gradient}


def _horizon(epochs: int) -> int:
    """The published code's number of epochs in the schedule, where it trains another."""
    return {90: 100, 180: 200}.get(epochs, epochs)


@handles("schedule", "bbn_alpha", tolerance=1e-6)
def bbn_schedule(case: Case) -> dict[str, Tensor]:
    epochs = case.params["max_epoch"]
    return {"alpha": torch.tensor([bbn_lambda(e, _horizon(epochs)) for e in range(epochs)])}


@handles("loss", "bbn_mix")
def bbn(case: Case) -> dict[str, Tensor]:
    lam = bbn_lambda(case.params["epoch"] - 1, _horizon(case.params["max_epoch"]))
    inputs = [case.inputs[name].requires_grad_() for name in ("feature_a", "feature_b", "weight")]
    feature_a, feature_b, weight = inputs
    logits = bbn_features(feature_a, feature_b, lam) @ weight.T
    pair = MixedPair(case.inputs["label_a"], case.inputs["label_b"], lam)
    value = mixed_loss(create("ce"), logits, pair)
    gradients = torch.autograd.grad(value, inputs)
    names = ("grad_a", "grad_b", "grad_weight")
    return {"logits": logits, "loss": value} | dict(zip(names, gradients, strict=True))
