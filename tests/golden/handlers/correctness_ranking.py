"""Correctness ranking: its history over epochs, and its ranking term with stated signs and margins."""

import torch
from torch import Tensor

from calibrant.losses.correctness_ranking import CorrectnessRanking, ranking_confidence, ranking_hinge
from tests.golden.framework import Case, handles


@handles("loss", "CorrectnessRankingLoss")
def ranking(case: Case) -> dict[str, Tensor]:
    logits = case.inputs["logits"].requires_grad_()
    confidence = ranking_confidence(logits, case.params["rank_target"])
    sign, margin = case.inputs["target_sign"].double(), case.inputs["margin"].double()
    loss = ranking_hinge(confidence, confidence.roll(-1), sign, margin).mean()
    loss.backward()
    return {"loss": loss, "grad_logits": logits.grad}


@handles("state-update", "CRLHistory")
def history(case: Case) -> dict[str, Tensor]:
    loss, ids = CorrectnessRanking(case.params["n_data"]), torch.arange(case.params["n_data"])
    epochs = []
    for correct in case.inputs["correct_per_epoch"]:
        # Two classes, and the first always predicted: the label says whether that is right.
        loss.observe(torch.tensor([[1.0, 0.0]]).expand(len(ids), 2), 1 - correct.long(), index=ids)
        loss.step_epoch()
        epochs.append(int(loss.epoch))
    sign, margin = loss.targets(case.inputs["idx1"], case.inputs["idx2"])
    return {
        "correctness": loss.correct.double(),
        "max_correctness_per_epoch": torch.tensor(epochs),
        "target": sign,
        "margin": margin,
    }
