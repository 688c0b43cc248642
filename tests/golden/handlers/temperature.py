"""Temperature scaling as the published code fits it."""

import warnings

import torch
from torch import Tensor

from calibrant.metrics.functional import ece
from calibrant.posthoc import ConvergenceWarning, TemperatureScaling
from calibrant.posthoc.temperature import GRIDS
from tests.golden.framework import Case, handles


def fitted(case: Case, criterion: str, grid: str) -> Tensor:
    target = case.inputs["target" if "target" in case.inputs else "labels"]
    with warnings.catch_warnings():
        # Several of these grids end before the optimum; that is what the cases show.
        warnings.simplefilter("ignore", ConvergenceWarning)
        scaling = TemperatureScaling(criterion, grid=grid).fit(case.inputs["logits"], target)
    return scaling.temperature_


@handles("metric", "temperature_scaling_grid")
def temperature_scaling_grid(case: Case) -> dict[str, Tensor | float]:
    grid = "cals" if case.params["grid"].startswith("arange") else "focal_calibration"
    return {
        "T_ece": fitted(case, "ece", grid),
        "T_nll": fitted(case, "nll", grid),
        "grid": torch.tensor(GRIDS[grid], dtype=torch.float64),
    }


@handles("transform", "temperature_grid_search")
def temperature_grid_search(case: Case) -> dict[str, Tensor | float]:
    logits, labels = case.inputs["logits"].double(), case.inputs["labels"]
    produced: dict[str, Tensor | float] = {}

    def measure(temperature: Tensor, where: str) -> None:
        scaled = logits / temperature
        produced[f"ece_{where}"] = ece(scaled, labels, inputs="logits", n_bins=case.params["n_bins"])
        produced[f"nll_{where}"] = torch.nn.functional.cross_entropy(scaled, labels)

    measure(torch.ones(()), "before")
    for criterion in ("ece", "nll"):
        temperature = fitted(case, criterion, "focal_calibration")
        produced[f"T_{criterion}"] = temperature
        measure(temperature, f"at_T_{criterion}")
    return produced


@handles("transform", "mdca.TemperatureScaling")
def mdca_temperature(case: Case) -> dict[str, Tensor | float]:
    return {"T": fitted(case, "nll", "focal_calibration")}
