"""Learning rates by epoch."""

import torch
from torch import Tensor

from calibrant.training.recipe import ScheduleConfig
from calibrant.training.schedules import compounding_factor, rate_factor
from tests.golden.framework import Case, handles


def _rates(schedule: ScheduleConfig, lr: float, epochs: int) -> Tensor:
    return torch.tensor([lr * rate_factor(schedule, e, epochs) for e in range(epochs)], dtype=torch.float64)


@handles("schedule", "lr_schedule")
def published(case: Case) -> dict[str, Tensor]:
    params, epochs = case.params, len(case.inputs["epochs"])
    if "t_initial" in params:
        lr = params["lr"]
        assert (params["t_initial"], params["cycle_limit"]) == (epochs, 1)
        schedule = ScheduleConfig(
            "cosine",
            final=params["lr_min"] / lr,
            warmup=params["warmup_t"],
            warmup_start=params["warmup_lr_init"] / lr,
        )
    else:
        # timm steps an epoch before the number that it is given.
        steps = params.get("milestones") or [epoch - 1 for epoch in params.get("decay_t", [])]
        milestones = steps or list(range(params["step_size"], epochs, params["step_size"]))
        gamma = params.get("gamma") or params["decay_rate"]
        schedule = ScheduleConfig("multistep", milestones=milestones, gamma=gamma)
    return {"lr": _rates(schedule, params["lr"], epochs)}


@handles("schedule", "stage1_multistep_lr", "ldam_drw_lr")
def steps(case: Case) -> dict[str, Tensor]:
    params = case.params
    schedule = ScheduleConfig(
        "multistep", milestones=params["milestones"], gamma=params["gamma"], warmup=params["warmup_epochs"]
    )
    return {"lr": _rates(schedule, params["lr"], params["num_epochs"])}


@handles("schedule", "bbn_lr")
def bbn(case: Case) -> dict[str, Tensor]:
    """The published scheduler steps before each epoch, so that epoch 0 has the rate of its counter 1."""
    params = case.params
    factor, epochs = params["warmup_factor"], params["warmup_epochs"]
    schedule = ScheduleConfig(
        "multistep",
        milestones=[milestone - 1 for milestone in params["milestones"]],
        gamma=params["gamma"],
        warmup=epochs - 1,
        warmup_start=factor + (1 - factor) / epochs,
    )
    return {"lr": _rates(schedule, params["lr"], params["num_epochs"])}


@handles("schedule", "stage1_cosine_lr")
def cosine(case: Case) -> dict[str, Tensor]:
    return {"lr": _rates(ScheduleConfig("cosine"), case.params["lr"], case.params["num_epochs"])}


@handles("schedule", "stage2_cosine_lr")
def two_groups(case: Case) -> dict[str, Tensor]:
    rates = _rates(ScheduleConfig("cosine"), case.params["lr"], case.params["num_epochs"])
    return {"lr_classifier": case.params["lr_factor"] * rates, "lr_scale": rates}


@handles("schedule", "aslp_lr")
def aslp_lr(case: Case) -> dict[str, Tensor]:
    p = case.params
    rates = [
        p["base_lr"] * compounding_factor(epoch, gamma=p["decay_rate"], every=p["decay_epoch"])
        for epoch in range(p["epochs"])
    ]
    return {"lr": torch.tensor(rates, dtype=torch.float64)}
