"""Classifiers of the second stage."""

import torch
from torch import Tensor, nn

from calibrant.losses import CrossEntropy, LabelAwareSmoothing
from calibrant.models.heads import NormedLinear, ScaledLinear, tau_normalise
from tests.golden.framework import Case, handles


def _fill(head: ScaledLinear, case: Case) -> None:
    head.scale.data = case.inputs["scale"].flatten()


@handles("layer", "LWS")
def learnable_weight_scaling(case: Case) -> dict[str, Tensor]:
    head = ScaledLinear(case.inputs["weight"], case.inputs["bias"], learn_shift=False)
    _fill(head, case)
    logits = head(case.inputs["x"])
    loss = CrossEntropy()(logits, case.inputs["target"])
    loss.backward()
    assert [name for name, _ in head.named_parameters()] == ["scale"]
    return {"y": logits, "loss": loss, "grad_scale": head.scale.grad}


# The published smoothing factors are float32.
@handles("layer", "ScaledLinear", tolerance=2e-6)
def combined(case: Case) -> dict[str, Tensor]:
    features = case.inputs["features"]
    if case.params["pool_first"]:
        features = features.mean((2, 3))
    head = ScaledLinear(case.inputs["weight"], case.inputs["bias"])
    unscaled = head(features)
    _fill(head, case)
    logits = head(features)
    smoothing = LabelAwareSmoothing(
        case.inputs["cls_num_list"], case.params["smooth_head"], case.params["smooth_tail"]
    )
    loss = smoothing(logits, case.inputs["target"])
    loss.backward()
    gradients = {f"grad_{name}": getattr(head, name).grad for name in ("weight", "bias")}
    return gradients | {
        "logits": logits,
        "unscaled_logits": unscaled,
        "loss": loss,
        "grad_scale": head.scale.grad.unsqueeze(0),
    }


@handles("layer", "NormedLinear")
def cosine(case: Case) -> dict[str, Tensor]:
    x, weight = case.inputs["x"].requires_grad_(), case.inputs["weight"]
    head = NormedLinear(*weight.shape).double()
    head.weight.data = weight.T.contiguous()
    y = head(x)
    y.square().sum().backward()
    return {"y": y, "grad_x": x.grad, "grad_weight": head.weight.grad.T}


@handles("layer", "tau_normalise")
def tau(case: Case) -> dict[str, Tensor]:
    linear = nn.Linear(*reversed(case.inputs["weight"].shape)).double()
    linear.weight.data = case.inputs["weight"]
    normalised = tau_normalise(linear, case.params["tau"])
    with torch.no_grad():
        return {"normalised": normalised.weight, "logits": normalised(case.inputs["x"])}
