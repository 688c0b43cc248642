"""Losses defined on the batch or on pairs: MMCE, MDCA, DCA, CPC, AvU, RankMixup."""

import torch
from torch import Tensor

from calibrant.losses import RankMixup, create
from calibrant.losses.base import Loss
from tests.golden.framework import Case, handles
from tests.golden.handlers.losses_rows import run_loss


def _with_gradient(value: Tensor, logits: Tensor) -> dict[str, Tensor]:
    return {"loss": value, "grad_logits": torch.autograd.grad(value, logits)[0]}


def _term(loss: Loss, name: str, case: Case) -> dict[str, Tensor]:
    """Return value and gradient of one term alone."""
    logits = case.inputs["logits"].requires_grad_()
    return _with_gradient(loss.formula(loss.prepare(logits, case.inputs["targets"]))[name], logits)


@handles("loss", "MMCE")
def kernel_error(case: Case) -> dict[str, Tensor]:
    if "lamda" in case.params:
        return run_loss(create("mmce", alpha=case.params["lamda"]), case)
    return _term(create("mmce", bandwidth=case.params["bandwidth"]), "mmce", case)


@handles("loss", "CrossEntropy+MMCE")
def cross_entropy_and_kernel_error(case: Case) -> dict[str, Tensor]:
    return run_loss(create("mmce", alpha=case.params["lamda"], bandwidth=case.params["bandwidth"]), case)


# The reference of baselines-byliu adds 1e-5 to the counts in float32.
@handles("loss", "MMCE_weighted", tolerance=1e-8)
def weighted_kernel_error(case: Case) -> dict[str, Tensor]:
    if "lamda" in case.params:
        return run_loss(create("mmce_w", alpha=case.params["lamda"], normalization="reference"), case)
    loss = create("mmce_w", bandwidth=case.params["bandwidth"], normalization="reference")
    return _term(loss, "mmce", case)


@handles("loss", "CrossEntropy+MMCE_weighted")
def cross_entropy_and_weighted_kernel_error(case: Case) -> dict[str, Tensor]:
    bandwidth, alpha = case.params["bandwidth"], case.params["lamda"]
    return run_loss(create("mmce_w", alpha=alpha, bandwidth=bandwidth, normalization="reference"), case)


# The reference averages its counts in float32.
@handles("loss", "MDCA", tolerance={"loss": 1e-7})
def class_difference(case: Case) -> dict[str, Tensor]:
    return _term(create("mdca"), "mdca", case)


@handles("loss", "NLL+MDCA", "LS+MDCA", "FL+MDCA")
def classification_and_class_difference(case: Case) -> dict[str, Tensor]:
    base = {"NLL": "ce", "LS": "ls", "FL": "focal"}[case.target.removesuffix("+MDCA")]
    options = {name: case.params[name] for name in ("alpha", "beta", "gamma")}
    return run_loss(create("mdca", base=base, **options), case)


@handles("loss", "NLL+DCA")
def difference(case: Case) -> dict[str, Tensor]:
    return run_loss(create("dca", beta=case.params["beta"]), case)


# The reference averages the confidences in float32.
@handles("loss", "cross_entropy_with_dca_loss", tolerance=1e-6)
def original_difference(case: Case) -> dict[str, Tensor]:
    return run_loss(create("dca", alpha=case.params["alpha"], beta=case.params["beta"]), case)


@handles("loss", "CPC", "CPCLoss")
def pairwise_constraints(case: Case) -> dict[str, Tensor]:
    params = case.params
    loss = create(
        "cpc",
        discrimination=params["lambd_bdc"],
        exclusion=params["lambd_bec"],
        self_pairs=True,
        ignore_index=params.get("ignore_index", -100),
    )
    return run_loss(loss, case)


@handles("loss", "AvULoss")
def accuracy_versus_uncertainty(case: Case) -> dict[str, Tensor]:
    assert case.params["beta"] == 1
    return _term(create("avu", threshold=case.params["uncertainty_threshold"]), "avu", case)


@handles("loss", "RankMixup_MRL", "RankMixup_MNDCG")
def ranking(case: Case) -> dict[str, Tensor]:
    if case.target == "RankMixup_MRL":
        loss = RankMixup(alpha=case.params["alpha"], margin=case.params["margin"], pairs="reference")
    else:
        loss = RankMixup("ndcg", alpha=case.params["alpha"])
    logits = case.inputs["logits"].requires_grad_()
    mixtures = {"mixed_logits": case.inputs["logits_mixed"], "mixed_target": case.inputs["targets_mixed"]}
    outputs = _with_gradient(loss(logits, case.inputs["targets"], **mixtures), logits)
    return outputs | {f"loss_{name}": term for name, term in loss.terms.items()}
