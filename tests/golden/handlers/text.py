"""The text network, and the divisions of 20 Newsgroups and Tiny-ImageNet."""

import torch
from torch import Tensor

from calibrant.data.splits import newsgroup_split, per_class_tail_split
from calibrant.models.text_cnn import GlobalPoolingCNN
from tests.golden.framework import Case, handles
from tests.golden.handlers.models import _uniform


@handles("layer", "GlobalPoolingCNN")
def global_pooling_cnn(case: Case) -> dict[str, Tensor | int]:
    net = GlobalPoolingCNN(case.params["num_classes"]).double()
    for parameter in net.parameters():
        i = torch.arange(parameter.numel(), dtype=torch.float64)
        parameter.data = 0.05 * torch.cos(0.2 * i) if parameter.dim() == 1 else _uniform(parameter.shape)
    with torch.no_grad():
        # The published network divides its logits by a constant, which is 1 in every configuration.
        logits = net(case.inputs["x"]) / case.params["temp"]
    return {"logits": logits, "n_parameters": sum(p.numel() for p in net.parameters())}


@handles("transform", "newsgroup_split")
def newsgroups(case: Case) -> dict[str, Tensor]:
    params = case.params
    parts = newsgroup_split(
        int(case.inputs["n_documents"]),
        val=params["n_val"],
        test_share=params["test_split"],
        seed=params["seed"],
    )
    return dict(zip(("train_ids", "val_ids", "test_ids"), parts, strict=True))


@handles("transform", "per_class_tail_split")
def tail_of_each_class(case: Case) -> dict[str, Tensor]:
    labels, each = case.inputs["labels"], case.params["val_samples_per_class"]
    train, val = per_class_tail_split(labels, each, seed=case.params["seed"])
    return {"train_indices": train, "val_indices": val}
