r"""Metrics as functions of predictions and labels.

All take `values` of shape (N, C, *), logits or probabilities as `inputs` says, and integer labels `target` of
shape (N, *); a binary task may give (N, 1, *). They return float64. A *row* is one prediction, an image or a
pixel. The arguments that many share:

- `inputs`: "logits" or "probs": what the values are; never guessed.
- `n_bins`: B, the number of bins.
- `convention`: the rule of binning; "calibrant", or that of other software (`binning.CONVENTIONS`).
- `ignore_index`: label, or labels, whose rows count nowhere.
- `task`: "top_label", the largest probability against its being right; or "event", the probability of class 1
  of a binary task against its occurring.
- `average`: "pooled" over all rows; "image", the mean of the values of each image; "image_weighted" by their
  rows.

All raise `InputError` for values that are NaN or, as probabilities, outside [0, 1] or not summing to 1, for
unexpected labels, for shapes that do not fit, and when no row counts.

Notation: $c_i$ the largest probability of row i, $r_i$ whether it is right; of bin b $n_b$ rows, mean
confidence $c_b$, share of right ones $a_b$; N rows in all.
"""

from calibrant.metrics.functional.accuracies import accuracy, group_accuracy, macro_accuracy, segmentation
from calibrant.metrics.functional.binned import (
    aece,
    average_ce,
    debiased_ece,
    ece,
    mce,
    oe,
    overconfidence,
    rmsce,
    signed_ce,
    ue,
    underconfidence,
)
from calibrant.metrics.functional.by_class import ace, classwise_ece, tace
from calibrant.metrics.functional.proper_scores import brier, brier_decomposition, nll
from calibrant.metrics.functional.without_bins import aurc, auroc, excess_aurc, ks, smooth_ece

__all__ = [
    "accuracy",
    "ace",
    "aece",
    "aurc",
    "auroc",
    "average_ce",
    "brier",
    "brier_decomposition",
    "classwise_ece",
    "debiased_ece",
    "ece",
    "excess_aurc",
    "group_accuracy",
    "ks",
    "macro_accuracy",
    "mce",
    "nll",
    "oe",
    "overconfidence",
    "rmsce",
    "segmentation",
    "signed_ce",
    "smooth_ece",
    "tace",
    "ue",
    "underconfidence",
]
