"""Orders in which samples are visited."""

import random

import torch
from torch import Tensor

from calibrant.data.samplers import (
    ClassBalancedOrder,
    effective_number,
    inverse_cdf,
    inverse_frequency,
    reversed_class_weights,
)
from tests.golden.framework import Case, handles


@handles("transform", "ClassAwareSampler")
def class_balanced(case: Case) -> dict[str, Tensor | int]:
    params, targets = case.params, case.inputs["targets"]
    taken = params["take_per_epoch"]
    order = ClassBalancedOrder(
        targets, taken, taken, params["python_random_seed"], per_class=params["num_samples_cls"]
    )
    epochs = []
    for epoch in range(params["epochs"]):
        order.set_epoch(epoch)
        epochs.extend(order)
    # The published length, as often as the largest class would take; its loop stops before.
    counts = targets.bincount()
    return {"indices": torch.cat(epochs), "length": int(counts.max()) * len(counts)}


@handles("transform", "BalancedDatasetSampler")
def inverse(case: Case) -> dict[str, Tensor | int]:
    weights = inverse_frequency(case.inputs["targets"])
    return {"weights": weights, "length": len(weights)}


@handles("transform", "EffectNumSampler")
def effective(case: Case) -> dict[str, Tensor | int]:
    weights = effective_number(case.inputs["targets"], case.params["beta"])
    return {"weights": weights, "length": len(weights)}


@handles("transform", "reversed_class_sampler")
def reversed_classes(case: Case) -> dict[str, Tensor]:
    weights = reversed_class_weights(case.inputs["cls_num_list"])
    source = random.Random(case.params["python_random_seed"])
    uniform = torch.tensor([source.random() for _ in range(case.params["draws"])], dtype=torch.float64)
    return {"class_weight": weights, "classes": inverse_cdf(weights, uniform)}
