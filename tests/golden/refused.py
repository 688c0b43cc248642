"""The cases of reference bugs that we do not offer, each with the reason.

Keys are "file/case" for a whole case and "file/case:output" for one of its outputs.
"""

_TIED = (
    "The gradient of a tied maximum goes to the first index there; ours is shared evenly among the tied "
    "classes, as valid a sub-gradient and independent of the order of the classes. The value is compared."
)

_STRETCHED = (
    "Every map is first stretched by the smallest and largest probability of the whole batch, so that an "
    "image's confidence depends on its companions; the published training never calls it."
)

_LARGER_INDEX = (
    "scikit-learn's top-k ranks the larger class index first among equals, argmax the smaller; ours is "
    "argmax's rule for every k."
)

_OVERLAPPING = (
    "The lower edges of its bins lag one place behind, so that neighbouring bins overlap and most pixels count "
    "twice, and of tied pixels some are left out by their order; ours are disjoint."
)

_UNSTABLE_SORT = (
    "It sorts the points of the curve by their false alarms alone and with an unstable sort, so that the hits "
    "of tied false alarms come in any order; ours puts them in rising order. The area is compared."
)

REFUSED: dict[str, str] = {
    "metrics-byliu/accuracy_ties:acc": _LARGER_INDEX,
    "metrics-byliu/accuracy_ties:acc_5": _LARGER_INDEX,
    "mislas/evaluate_groups:top5": "torch.topk orders equals as it happens, and a row of equal logits loses "
    "its label there; ours takes the smaller index first.",
    "aslp_metrics/ece_debias_one_pixel_bin:ece": "A bin of one pixel divides by zero there and the sum is "
    "minus infinity; ours leaves such a bin out.",
    "aslp_metrics/ece_equal_mass_10": _OVERLAPPING,
    "aslp_metrics/ece_equal_mass_ties": _OVERLAPPING,
    "aslp_metrics/ece_sweep": _OVERLAPPING,
    **{f"aslp_metrics/sal_{which}:tpr": _UNSTABLE_SORT for which in ("three", "soft_gt", "low_range")},
    "aslp/batch_stats:mean_confidence": _STRETCHED,
    "aslp/batch_stats:accuracy": _STRETCHED,
    "aslp/layer_residual_unit:x_after": "The unit overwrites the tensor that it is given; ours does not.",
    "mislas/counts_step_odd": "Of an odd number of classes the last gets no count there; ours gets that of the "
    "tail.",
    "mislas/las_equal_counts_nan": "All counts equal is 0/0 there, and the loss NaN; ours smooths every "
    "class by eps_head.",
    "acls/mbls_tie:grad_logits": _TIED,
    "cals/hr_huge:grad_logits": _TIED,
    "cals/hr_ties:grad_logits": _TIED,
    "mbls/huge_logits:grad_logits": _TIED,
    "mbls/ties_in_max:grad_logits": _TIED,
    "baselines-byliu/l1_seg": "The penalty is summed over the pixels and divided by the number of images, but "
    "the cross-entropy is a mean over pixels; ours is one too, so the balance keeps at any size.",
    "metrics-family/mdca_temperature_uneven_batches": "It minimises the sum of the batches' means, so that the "
    "last, small batch weighs as much as a full one and the temperature depends on the batch size.",
    **{
        f"metrics-byliu/temperature_cals_{which}:T_lbfgs": "L-BFGS with learning rate 0.1 stops up to 0.8 % "
        "short of the optimum there, with a higher NLL; ours is exact."
        for which in ("over", "under", "matched")
    },
}
