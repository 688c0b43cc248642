"""Measures of saliency maps as the published tool computes them."""

from torch import Tensor

from calibrant.metrics.saliency import SaliencyState
from tests.golden.framework import Case, handles


@handles("metric", "saliency_metrics", tolerance=1e-4)
def saliency_metrics(case: Case) -> dict[str, Tensor]:
    state = SaliencyState("aslp")
    for i in range(len(case.inputs) // 2):
        state.update(case.inputs[f"pred_{i}"], case.inputs[f"gt_{i}"])
    scores, curves = state.scores(), state.curves()
    order = curves["recall"].argsort(stable=True)
    order = order[curves["false_alarms"][order].argsort(stable=True)]
    return {
        "mae": scores.mae,
        "max_f": scores.max_f,
        "mean_f": scores.mean_f,
        "max_e": scores.max_e,
        "mean_e": scores.mean_e,
        "s": scores.s,
        "ap": scores.average_precision,
        "auc": scores.auc,
        "f_curve": curves["f"],
        "precision": curves["precision"],
        "recall": curves["recall"],
        "e_curve": curves["e"],
        "tpr": curves["recall"][order],
        "fpr": curves["false_alarms"][order],
    }
