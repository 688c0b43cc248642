"""Binned calibration errors of the published code."""

import torch
from torch import Tensor

from calibrant.metrics import functional as F
from calibrant.metrics.binning import bin_edges, bin_index, convention
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.equal_mass import equal_mass_bins
from calibrant.metrics.state import State
from calibrant.metrics.views import Bins
from tests.golden.framework import Case, handles

FLOAT32_SUMS = 1e-6


def _of_logits(case: Case, labels: str, rule: str) -> dict[str, Tensor]:
    values = case.inputs.get("logits", case.inputs.get("probs"))
    inputs = "logits" if "logits" in case.inputs else "probs"
    settings = {"inputs": inputs, "n_bins": case.params["n_bins"], "convention": rule}
    return {
        name: getattr(F, name)(values, case.inputs[labels], **settings)
        for name in ("ece", "mce", "oe", "aece", "classwise_ece")
    }


def _pairs_state(case: Case, confidence: Tensor, correct: Tensor, rule: str, bins: int) -> State:
    state = State({"top", "samples"}, 2, bins, rule)
    state.add_pairs(confidence, correct)
    return state


@handles("metric", "calibration_errors", tolerance=FLOAT32_SUMS)
def calibration_errors(case: Case) -> dict[str, Tensor]:
    logits, target, bins = case.inputs["logits"], case.inputs["target"], case.params["n_bins"]
    found = _of_logits(case, "target", "guo2017")
    state = State({"samples"}, max(logits.shape[1], 2))
    state.update(logits, target, inputs="logits")
    return {
        "ece": found["ece"],
        "aece": found["aece"],
        "cece": found["classwise_ece"],
        "nll": F.nll(logits, target, inputs="logits"),
        "aece_edges": equal_mass_bins(state.cells(), bins, convention("guo2017")).edges,
    }


@handles("metric", "ECELoss/AdaptiveECELoss/ClasswiseECELoss", "ClasswiseECELoss", tolerance=FLOAT32_SUMS)
def focal_calibration(case: Case) -> dict[str, Tensor]:
    found = _of_logits(case, "labels", "guo2017")
    return {
        "ECELoss": found["ece"],
        "AdaptiveECELoss": found["aece"],
        "ClasswiseECELoss": found["classwise_ece"],
    }


def _of_numpy(case: Case, confidence: str, predicted: str) -> tuple[State, dict[str, Tensor]]:
    correct = case.inputs[predicted] == case.inputs["labels"]
    bins = case.params["num_bins"]
    state = _pairs_state(case, case.inputs[confidence], correct, "focal_calibration_dict", bins)
    return state, {name: DEFINITIONS[name].view(state) for name in ("ece", "mce", "average_ce", "rmsce")}


@handles("metric", "binned_errors_numpy")
def binned_errors_numpy(case: Case) -> dict[str, Tensor]:
    state, found = _of_numpy(case, "confs", "preds")
    return {
        "ece": found["ece"],
        "mce": found["mce"],
        "ace": found["average_ce"],
        "l2": found["rmsce"],
        "counts": state.bins().count.double(),
    }


@handles("metric", "expected/maximum/average_calibration_error, l2_error")
def dictionary_errors(case: Case) -> dict[str, Tensor]:
    _, found = _of_numpy(case, "confidences", "predictions")
    return {
        "expected_calibration_error": found["ece"],
        "maximum_calibration_error": found["mce"],
        "average_calibration_error": found["average_ce"],
        "l2_error": found["rmsce"],
    }


@handles(
    "metric",
    "mdca.ECELoss/mdca.MCELoss/mdca.OELoss/mdca.SCELoss/mdca.TACELoss/mdca.ACELoss",
    "mdca.ECELoss/mdca.MCELoss/mdca.OELoss/mdca.SCELoss",
    "mdca.TACELoss",
    "mdca.SCELoss",
)
def mdca(case: Case) -> dict[str, Tensor]:
    found = _of_logits(case, "labels", "mdca")
    values = case.inputs.get("logits", case.inputs.get("probs"))
    settings = {
        "inputs": "logits" if "logits" in case.inputs else "probs",
        "n_bins": case.params["n_bins"],
        "convention": "mdca",
    }
    labels = case.inputs["labels"]
    return {
        "ECELoss": found["ece"],
        "MCELoss": found["mce"],
        "OELoss": found["oe"],
        "SCELoss": found["classwise_ece"],
        "TACELoss": F.tace(values, labels, threshold=case.params["threshold"], **settings),
        "ACELoss": F.ace(values, labels, **settings),
    }


@handles("metric", "mdca.BrierScore")
def mdca_brier(case: Case) -> dict[str, Tensor]:
    return {"BrierScore": F.brier(case.inputs["logits"], case.inputs["labels"], inputs="logits")}


@handles("metric", "calibration_bins")
def mislas_bins(case: Case) -> dict[str, Tensor]:
    confidence, bins = case.inputs["confidences"], case.params["num_bins"]
    correct = case.inputs["predictions"] == case.inputs["targets"]
    found = _pairs_state(case, confidence, correct, "mislas", bins).bins()
    return {
        "accuracies": found.accuracy.nan_to_num(),
        "bin_confidences": found.mean_confidence.nan_to_num(),
        "counts": found.count,
        "bins": bin_edges(bins, convention("mislas")),
        "avg_accuracy": found.correct.sum().double() / found.total,
        "avg_confidence": found.confidence.sum() / found.total,
        "expected_calibration_error": _value("ece", found),
        "max_calibration_error": _value("mce", found),
    }


def _value(name: str, bins: Bins) -> Tensor:
    from calibrant.metrics import views

    value: Tensor = getattr(views, name)(bins)
    return value


def _maps(case: Case) -> tuple[Tensor, Tensor]:
    """Return confidence and correctness of the pixels of all maps of 8-bit levels."""
    confidence, correct = [], []
    for i in range(len(case.inputs) // 2):
        levels, truth = case.inputs[f"pred_{i}"], case.inputs[f"gt_{i}"]
        if levels.numel() != truth.numel():  # The reference skips such an image.
            continue
        p = levels.reshape(-1).float() / 255
        confidence.append(torch.maximum(p, 1 - p))
        # A grey truth is neither decision, so it is always wrong.
        correct.append(torch.where(levels >= 128, 255, 0).reshape(-1) == truth.reshape(-1))
    return torch.cat(confidence), torch.cat(correct)


def _dense(case: Case) -> tuple[Bins, dict[str, Tensor]]:
    bins = _pairs_state(case, *_maps(case), "aslp", case.params["n_bins"]).bins()
    return bins, {
        "accuracy": bins.correct.sum().double() / bins.total,
        "bin_count": bins.count.float(),
        "bin_conf": bins.mean_confidence.nan_to_num().float(),
        "bin_acc": bins.accuracy.nan_to_num().float(),
    }


# The reference adds 1e-6 to the count of a bin, which shows in the bins of one pixel.
@handles("metric", "dense_ece", tolerance=2e-6)
def dense_ece(case: Case) -> dict[str, Tensor]:
    bins, found = _dense(case)
    return found | {"ece": _value("ece", bins), "oe": _value("oe", bins)}


@handles("metric", "dense_ece_debiased", tolerance=2e-6)
def dense_ece_debiased(case: Case) -> dict[str, Tensor]:
    bins, found = _dense(case)
    from calibrant.metrics.views import debiased_ece

    gap = (bins.mean_confidence - bins.accuracy).nan_to_num()
    rate = bins.mean_confidence.nan_to_num()
    noise = rate * (1 - rate) / (bins.count - 1).clamp(min=1)
    over = torch.where((gap > 0) & (bins.count > 1), bins.weight * (gap.square() - noise), 0.0).sum()
    return found | {"ece": debiased_ece(bins, "confidence", root=False), "oe": over}


@handles("metric", "confidence_bin")
def confidence_bin(case: Case) -> dict[str, Tensor]:
    p = case.inputs["level"].float() / 255
    confidence = torch.maximum(p, 1 - p)
    return {"bin": bin_index(confidence, case.params["n_bins"], convention("aslp")), "confidence": confidence}


@handles("metric", "dense_val_accuracy", tolerance=2e-6)
def dense_val_accuracy(case: Case) -> dict[str, Tensor]:
    bins, found = _dense(case)
    return {"accuracy": found["accuracy"], "signed_ece": _value("signed_ce", bins)}
