"""Losses that learn: what their state becomes, epoch by epoch."""

import warnings

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from calibrant.losses import ASLPMC, AdaFocal, create
from calibrant.losses.base import Loss
from calibrant.losses.margin import MarginLoss
from calibrant.losses.perturbed_labels import perturb_labels
from tests.golden.framework import HERE, Case, handles, load
from tests.golden.handlers.losses_rows import run_loss


def observe_epoch(loss: Loss, logits: Tensor, batch_sizes: list[int]) -> None:
    """Show a loss a validation set in batches, with labels that play no part, and end the epoch."""
    for part in logits.split(batch_sizes):
        loss.observe(part, torch.zeros(part.shape[:1] + part.shape[2:], dtype=torch.int64))
    loss.step_epoch()


@handles("state-update", "CALS.update")
def cals_update(case: Case) -> dict[str, Tensor]:
    params = case.params
    if "world_size" in params:
        from tests.losses.test_class_adaptive import update_in_two_processes

        shards = [case.inputs["logits_rank0"], case.inputs["logits_rank1"]]
        return update_in_two_processes(params, shards, rank_average=True)
    loss = create(
        "cals",
        num_classes=params["num_classes"],
        margin=params["margin"],
        penalty=params["penalty"],
        normalize=params["normalize"],
        multipliers=params["lambd_min"],
        rho=params["rho_min"],
        multiplier_bounds=(params["lambd_min"], params["lambd_max"]),
        rho_max=params["rho_max"],
        multiplier_every=params["lambd_step"],
        rho_every=max(params["rho_step"], 0),
        growth=params["gamma"],
        tau=params["tao"],
    )
    state = loss.lagrangian
    state.epoch.fill_(params["first_epoch"])
    lambd, rho, mean = [state.multipliers.clone()], [state.rho.clone()], []
    for logits in case.inputs["logits"]:
        observe_epoch(loss, logits, params["batch_sizes"])
        lambd.append(state.multipliers.clone())
        rho.append(state.rho.clone())
        mean.append(state.previous.clone())
    return {"lambd": torch.stack(lambd), "rho": torch.stack(rho), "mean_constraint": torch.stack(mean)}


@handles("state-update", "CALS-HR.update")
def cals_hr_update(case: Case) -> dict[str, Tensor]:
    params = case.params
    loss = create(
        "cals_hr",
        num_classes=params["num_classes"],
        margin=params["margin"],
        multipliers=params["alpha"],
        multiplier_bounds=(params["lambd_min"], params["lambd_max"]),
        gamma=params["gamma"],
        tau=params["tao"],
        every=params["step_size"],
    )
    lambd, score = [loss.multipliers.clone()], []
    for logits in case.inputs["logits"]:
        observe_epoch(loss, logits, params["batch_sizes"])
        lambd.append(loss.multipliers.clone())
        score.append(loss.score.clone())
    return {"lambd": torch.stack(lambd), "score": torch.stack(score)}


@handles("schedule", "MbLS", "MbLS.schedule_alpha")
def margin_schedule(case: Case) -> dict[str, Tensor]:
    params = case.params
    options = {
        name: params[name] for name in ("alpha", "schedule", "mu", "max_alpha", "step_size") if name in params
    }
    loss = MarginLoss(margin=params.get("margin", 10.0), **options)
    alpha = [loss.alpha]
    for _ in range(params.get("epochs") or len(case.inputs["epochs"])):
        loss.step_epoch()
        alpha.append(loss.alpha)
    course = torch.tensor(alpha, dtype=torch.float64)
    return {"alpha": course, "alpha_after_epoch": course[1:]}


def _adafocal(params: dict[str, object]) -> AdaFocal:
    loss = create(
        "adafocal",
        bins=params["num_bins"],
        rate=params["lamda"],
        gamma=params["gamma_initial"],
        switch=params["switch_pt"],
        gamma_range=(params["gamma_min"], params["gamma_max"]),
        reduction=params["reduction"],
    )
    assert isinstance(loss, AdaFocal)
    return loss


# The reference takes the exponential in float32; twenty-fold powers amplify its rounding.
@handles("state-update", "AdaFocal", tolerance=1e-8)
def adafocal_update(case: Case) -> dict[str, Tensor]:
    loss = _adafocal(case.params)
    course = []
    for gap in case.inputs["calibration_gap"]:
        loss.move(gap)
        course.append(loss.gamma.clone())
    return {"gamma": torch.stack(course)}


@handles("loss", "AdaFocal")
def adafocal(case: Case) -> dict[str, Tensor]:
    loss = _adafocal(case.params)
    if "after" in case.params:
        (update,) = (c for c in load(HERE) if c.name == case.params["after"])
        loss.gamma.copy_(update.outputs["gamma"][-1])
        loss.upper.copy_(update.inputs["upper_bound"][-1][:-1])
    p = case.inputs["logits"].softmax(1).gather(1, case.inputs["targets"].unsqueeze(1)).squeeze(1)
    return run_loss(loss, case) | {"gamma_per_sample": loss.gamma_of(p)}


def _aslp(params: dict[str, object], num_samples: int) -> ASLPMC:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The published step sizes do not converge, and we say so.
        return ASLPMC(
            num_samples,
            beta_code=params["beta_code"],
            allow_out_of_range=True,
            eta=params["eta"],
            lam=params["lam"],
            mode="expected",
        )


@handles("state-update", "aslp_alpha_update")
def aslp_alpha_update(case: Case) -> dict[str, Tensor]:
    alpha = case.inputs["alpha"]
    loss = _aslp(case.params, len(alpha))
    loss.accuracy.fill_(case.params["val_accuracy"])
    margin = case.inputs["cal"] - 2 * case.inputs["bce"]
    if case.params["epoch"] <= loss.warmup:
        return {"unclamped": alpha, "alpha": alpha}
    raised = loss.raised(alpha, margin)
    return {"unclamped": raised, "alpha": loss.bounded(raised)}


@handles("state-update", "AslpLoop")
def aslp_loop(case: Case) -> dict[str, Tensor]:
    """Run the protocol with the stated draws; an accuracy is shown as that share of right pixels."""
    truth, size = case.inputs["gt"], case.params["batch_size"]
    loss = _aslp(case.params, len(truth))
    alphas, losses, targets = [], [], []
    for logits, u, accuracy in zip(*(case.inputs[k] for k in ("logits", "u", "val_accuracy")), strict=True):
        perturbed = perturb_labels(truth, loss.alpha, loss.strength, u=u).target
        values = []
        for ids in torch.arange(len(truth)).split(size):
            bce = binary_cross_entropy_with_logits(logits[ids], perturbed[ids])
            values.append(bce)
            loss.observe(logits[ids], truth[ids], index=ids)
        right = int((accuracy.double() * 10**8).round())
        loss.right += right
        loss.pixels += 10**8
        loss.step_epoch()
        alphas.append(loss.alpha.clone())
        losses.append(torch.stack(values))
        targets.append(perturbed)
    return {"alpha": torch.stack(alphas), "loss": torch.stack(losses), "target": torch.stack(targets)}
