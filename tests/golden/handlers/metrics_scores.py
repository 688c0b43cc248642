"""Accuracies, segmentation scores and statistics of outputs of the published code."""

import torch
from torch import Tensor

from calibrant.metrics import AECE, ECE, NLL, ClasswiseECE
from calibrant.metrics import functional as F
from calibrant.metrics.segmentation import map_areas, segmentation_scores
from calibrant.metrics.statistics import entropy, logit_statistics, ood_auroc, probability_statistics
from tests.golden.framework import Case, handles


@handles("metric", "accuracy")
def accuracy(case: Case) -> dict[str, Tensor]:
    logits, target = case.inputs["logits"], case.inputs["target"]
    last = F.accuracy(logits[-75:], target[-75:], inputs="logits")
    return {
        "acc": F.accuracy(logits, target, inputs="logits"),
        "acc_5": F.accuracy(logits, target, inputs="logits", k=5),
        "macc": F.macro_accuracy(logits, target, inputs="logits"),
        "last_batch_acc": last,
    }


@handles("metric", "accuracy_topk", tolerance=1e-7)
def accuracy_topk(case: Case) -> dict[str, Tensor]:
    logits, target = case.inputs["logits"], case.inputs["target"]
    return {"acc": torch.stack([F.accuracy(logits, target, inputs="logits", k=k) for k in case.params["topk"]])}


@handles("metric", "ClassificationEvaluator")
def classification_evaluator(case: Case) -> dict[str, Tensor]:
    probs, labels = case.inputs["probs"], case.inputs["labels"]
    return {
        "acc": F.accuracy(probs, labels, inputs="probs"),
        "acc_5": F.accuracy(probs, labels, inputs="probs", k=5),
        "macc": F.macro_accuracy(probs, labels, inputs="probs"),
    }


@handles("metric", "segmentation_scores")
def segmentation(case: Case) -> dict[str, Tensor]:
    pred, target = case.inputs["pred"], case.inputs["target"]
    settings = {"num_classes": case.params["num_classes"], "ignore_index": case.params["ignore_index"]}
    right, found, labelled = map_areas(pred, target, **settings)
    scores = segmentation_scores(pred, target, include_background=False, missing="zero", **settings)
    batch = []
    for p, t in zip(pred, target, strict=True):
        r, f, g = (x[1:] for x in map_areas(p, t, **settings))
        batch.append(r.sum().double() / (f + g - r).sum())
    return {
        "miou": scores.miou,
        "mdsc": scores.dice,
        "macc": scores.accuracy,
        "batch_iou": torch.stack(batch),
        "class_iou": scores.class_iou[1:].nan_to_num(),
        "area_inter": right.double(),
        "area_union": (found + labelled - right).double(),
        "area_pred": found.double(),
        "area_target": labelled.double(),
    }


@handles("metric", "segmentation_calibration", tolerance=1e-6)
def segmentation_calibration(case: Case) -> dict[str, Tensor]:
    logits, target = case.inputs["logits"], case.inputs["target"]
    ignore = (case.params["ignore_index"], 0) if case.params["drop_background"] else case.params["ignore_index"]
    weighted = "weighted" in case.params["reduction"]
    settings = {
        "inputs": "logits",
        "ignore_index": ignore,
        "average": "batch_weighted" if weighted else "batch",
    }
    binned = settings | {"n_bins": case.params["num_bins"], "convention": "guo2017"}
    classes = logits.shape[2]
    metrics = {
        "nll": NLL(**settings),
        "ece": ECE(**binned),
        "aece": AECE(**binned),
        "cece": ClasswiseECE(num_classes=classes, **binned),
    }
    batches = list(zip(logits, target, strict=True))
    for metric in metrics.values():
        for batch in batches:
            metric.update(*batch)
    each = {"inputs": "logits", "ignore_index": ignore}
    rows = (~torch.isin(target, torch.tensor(ignore))).sum()
    return {name: metric.compute() for name, metric in metrics.items()} | {
        "num_samples": rows if weighted else torch.tensor(len(batches)),
        "batch_ece": torch.stack([F.ece(*b, n_bins=15, convention="guo2017", **each) for b in batches]),
        "batch_nll": torch.stack([F.nll(*b, **each) for b in batches]),
    }


@handles("metric", "logit_statistics")
def statistics_of_logits(case: Case) -> dict[str, Tensor]:
    logits, target = case.inputs["logits"], case.inputs.get("target")
    if target is not None:
        logits, target = logits.flatten(0, 1), target.flatten(0, 1)
    found = logit_statistics(
        logits, target, ignore_index=case.params.get("ignore_index"), top=(0.1, 0.05, 0.01)
    )
    return {
        "mean_diff": found.mean_diff,
        "max_diff": found.max_diff,
        "margin": found.margin,
    } | {f"max_diff_top{round(100 * q)}": value for q, value in found.max_diff_of_top.items()}


@handles("metric", "LogitsEvaluator", tolerance=1e-6)
def logits_evaluator(case: Case) -> dict[str, Tensor]:
    found = logit_statistics(case.inputs["logits"])
    return {"mean_diffs": found.mean_diff, "max_diffs": found.max_diff, "margin": found.margin}


@handles("metric", "probability_statistics", tolerance=1e-6)
def statistics_of_probabilities(case: Case) -> dict[str, Tensor]:
    probs = case.inputs["probs"]
    found = probability_statistics(probs, inputs="probs")
    return {
        "max_prob": found.confidence,
        "mean_prob": probs.double().mean(),
        "kl_div": found.kl_from_uniform,
        "l1_div": found.l1_from_uniform,
    }


@handles("metric", "ood_auroc")
def out_of_distribution(case: Case) -> dict[str, Tensor]:
    if "in_probs" in case.inputs:
        found = ood_auroc(case.inputs["in_probs"], case.inputs["out_probs"], inputs="probs")
        return {"auc_ent": found.entropy, "auc_conf": found.confidence}
    known = case.inputs["logits_in"]
    found = ood_auroc(known, case.inputs["logits_out"], inputs="logits")
    return {
        "auroc_entropy": found.entropy,
        "auroc_confidence": found.confidence,
        "entropy_in": entropy(known, inputs="logits", normalised=False),
        "confidence_in": known.softmax(1).amax(1),
    }


@handles("metric", "long_tailed_report", tolerance=5e-4)
def long_tailed_report(case: Case) -> dict[str, Tensor]:
    logits, target = case.inputs["logits"], case.inputs["targets"]
    ranges = [range(*case.params[name]) for name in ("head", "medium", "tail")]
    groups = F.group_accuracy(logits, target, inputs="logits", groups=ranges)
    ece = F.ece(logits, target, inputs="logits", n_bins=case.params["num_bins"], convention="mislas")
    return {
        "top1": 100 * F.accuracy(logits, target, inputs="logits"),
        "top5": 100 * F.accuracy(logits, target, inputs="logits", k=5),
        "head": 100 * groups.many,
        "medium": 100 * groups.medium,
        "tail": 100 * groups.few,
        "ece_percent": 100 * ece,
    }


@handles("metric", "many_medium_few_accuracy")
def many_medium_few(case: Case) -> dict[str, Tensor]:
    predicted, target = case.inputs["predictions"], case.inputs["targets"]
    counts = torch.bincount(case.inputs["train_labels"])
    probs = torch.nn.functional.one_hot(predicted, len(counts)).double()
    found = F.group_accuracy(probs, target, inputs="probs", class_counts=counts)
    per_class = [
        F.accuracy(probs[target == k], target[target == k], inputs="probs") for k in range(len(counts))
    ]
    return {
        "many": found.many.nan_to_num(),
        "medium": found.medium.nan_to_num(),
        "few": found.few.nan_to_num(),
        "per_class": torch.stack(per_class),
    }
