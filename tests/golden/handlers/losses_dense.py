"""Losses of dense maps: neighbourhoods of labels, and perturbed binary labels."""

import math

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from calibrant.losses import create
from calibrant.losses.neighbours import centred_mean, gaussian_taps, neighbourhood
from calibrant.losses.perturbed_labels import image_stats, perturb_labels, smooth_binary_labels
from tests.golden.framework import Case, handles
from tests.golden.handlers.losses_rows import run_loss

# The reference blurs the labels in float32, whatever the logits.
FLOAT32_LABELS = 1e-6


def _onehot(case: Case) -> Tensor:
    return one_hot(case.inputs["targets"], case.inputs["logits"].shape[1]).movedim(-1, 1).double()


@handles("loss", "SVLS2D", tolerance=FLOAT32_LABELS)
def svls(case: Case) -> dict[str, Tensor]:
    settings = {name: case.params[name] for name in ("sigma", "kernel_size")}
    impulse = torch.zeros(1, 1, 5, 5, dtype=torch.float64)
    impulse[0, 0, 2, 2] = 1
    kernel = centred_mean(impulse, gaussian_taps(3, settings["sigma"]))[0, 0, 1:4, 1:4]
    return run_loss(create("svls", **settings), case) | {
        "kernel": kernel / kernel[1, 1],
        "soft_targets": neighbourhood(_onehot(case), operator="gaussian", **settings),
    }


@handles("loss", "NACL", tolerance=FLOAT32_LABELS)
def nacl(case: Case) -> dict[str, Tensor]:
    params = case.params
    window = {
        "operator": params["kernel_ops"],
        "kernel_size": params["kernel_size"],
        "sigma": params["sigma"],
        "border": "replicate" if params["kernel_ops"] == "gaussian" else "zeros",
    }
    loss = create(
        "nacl",
        alpha=params["alpha"],
        distance=params["distance_type"],
        pull="probs" if params["is_softmax"] else "logits",
        **window,
    )
    outputs = run_loss(loss, case)
    return outputs | {
        "loss_conf": outputs["loss_neighbours"],
        "soft_targets": neighbourhood(_onehot(case), **window),
    }


@handles("loss", "ScBce")
def sc_bce(case: Case) -> dict[str, Tensor]:
    """The draws are given, so that the labels are perturbed outside and go into plain BCE."""
    labels = _perturbed(case)
    return _bce(case, labels[0]) | {"target": labels[0], "drawn": labels[1].flatten()}


def _perturbed(case: Case) -> tuple[Tensor, Tensor]:
    return perturb_labels(
        case.inputs["gt"],
        case.inputs["alpha"],
        2 * case.params["beta_code"],
        noise=case.inputs["noise"] if case.params["noise"] else False,
        u=case.inputs["u"],
    )


def _bce(case: Case, target: Tensor) -> dict[str, Tensor]:
    logits = case.inputs["logits"].requires_grad_()
    # Published targets leave [0, 1], which a loss of ours does not accept from outside.
    loss, by_pixel = create("sc_bce", alpha=0.0), create("sc_bce", alpha=0.0, reduction="none")
    loss.check_values = by_pixel.check_values = False
    value = loss(logits, target)
    (gradient,) = torch.autograd.grad(value, logits)
    return {"value": value, "grad": gradient, "unreduced": by_pixel(logits, target)}


@handles("loss", "ScBceExpected")
def sc_bce_expected(case: Case) -> dict[str, Tensor]:
    settings = {
        "alpha": case.inputs["alpha"],
        "beta_code": case.params["beta_code"],
        "mode": "expected",
        "allow_out_of_range": True,
    }
    ids = torch.arange(len(case.inputs["logits"]))
    logits, target = case.inputs["logits"].requires_grad_(), case.inputs["gt"]
    loss = create("sc_bce", **settings)
    value = loss(logits, target, index=ids)
    (gradient,) = torch.autograd.grad(value, logits)
    unreduced = create("sc_bce", reduction="none", **settings)(logits, target, index=ids)
    return {"value": value, "grad": gradient, "unreduced": unreduced, "effective_target": loss.realised}


@handles("transform", "DenseLabelSmoothing")
def dense_label_smoothing(case: Case) -> dict[str, Tensor]:
    beta = case.inputs["beta_code"] if "beta_code" in case.inputs else case.params["beta_code"]
    return {"target": smooth_binary_labels(case.inputs["gt"], 2 * beta)}


@handles("transform", "StochasticLabelPerturbation")
def stochastic_label_perturbation(case: Case) -> dict[str, Tensor]:
    return {"target": _perturbed(case)[0]}


@handles("metric", "image_stats")
def stats_of_images(case: Case) -> dict[str, Tensor]:
    return image_stats(case.inputs["logits"], case.inputs["gt"], clamp=case.params["clamp"])._asdict()


@handles("metric", "batch_stats")
def stats_of_batch(case: Case) -> dict[str, Tensor]:
    stats = image_stats(case.inputs["logits"], case.inputs["gt"], clamp=1e-7)
    return {"entropy_like": stats.cal.mean() - math.log(4)}
