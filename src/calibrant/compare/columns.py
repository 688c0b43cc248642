"""The columns of a table of runs, and what a reader must know of them."""

#: Metric, its heading, the factor it is shown with, its digits, and whether more is better.
COLUMNS: dict[str, tuple[str, float, int, bool]] = {
    "accuracy": ("accuracy %", 100.0, 2, True),
    "ece": ("ECE %", 100.0, 2, False),
    "aece": ("AECE %", 100.0, 2, False),
    "classwise_ece": ("class-wise %", 100.0, 3, False),
    "nll": ("NLL", 1.0, 3, False),
    "brier": ("Brier", 1.0, 4, False),
}
#: Accuracy on groups of classes by their number of training samples; results of long-tailed data have it.
GROUPS: dict[str, tuple[str, float, int, bool]] = {
    "many": ("many %", 100.0, 1, True),
    "medium": ("medium %", 100.0, 1, True),
    "few": ("few %", 100.0, 1, True),
}
#: How well binary maps fit their objects; results of dense tasks have it.
MAPS: dict[str, tuple[str, float, int, bool]] = {
    "oe": ("OE %", 100.0, 2, False),
    "mae": ("MAE", 1.0, 4, False),
    "max_f": ("max F", 1.0, 4, True),
    "s": ("S", 1.0, 4, True),
}
#: How well label maps overlap, and their means over images; results of semantic segmentation have it.
LABELS: dict[str, tuple[str, float, int, bool]] = {
    "miou": ("mIoU %", 100.0, 2, True),
    "miou_foreground": ("fg mIoU %", 100.0, 2, True),
    "ece_image": ("image ECE %", 100.0, 2, False),
    "ece_foreground": ("fg ECE %", 100.0, 2, False),
}
METRICS = {
    "miou": LABELS["miou"],
    "miou_foreground": LABELS["miou_foreground"],
    "accuracy": COLUMNS["accuracy"],
    **GROUPS,
    "ece": COLUMNS["ece"],
    **LABELS,
    **COLUMNS,
    **MAPS,
}
#: What is shown of a table with groups or of maps, so that it fits.
WITH_GROUPS = ("accuracy", *GROUPS, "ece", "classwise_ece", "nll")
WITH_MAPS = ("accuracy", "ece", "nll", *MAPS)
WITH_LABELS = (*LABELS, "ece", "aece", "nll")
#: Without a paired test, and so without a mark.
UNTESTED = (*GROUPS, *MAPS, *LABELS)
EXPLANATION = (
    "Mean ± standard deviation over seeds, on test. * best: the leading mean, and those that a paired "
    "randomisation test on the test samples does not find worse (5 %, Holm); no mark where it tells none apart."
)
UNTESTED_EXPLANATION = (
    "Mean ± standard deviation over seeds, on test; untested: the runs keep no predictions on the same samples."
)
ELSEWHERE_EXPLANATION = "Mean ± standard deviation over seeds, untested."
GROUPS_EXPLANATION = (
    "Many, medium, few: the mean over classes with many, fewer and few training samples of the accuracy "
    "within each, untested."
)
MAPS_EXPLANATION = "OE, MAE, F and S are untested."
LABELS_EXPLANATION = (
    "The overlap, AECE and the means over images are untested. ECE and AECE pool the pixels of all images; "
    "image ECE is the mean of that of each image. fg, where there is a background: mIoU without it; mean over "
    "images, by their pixels, of the ECE of what is not labelled so."
)
ON_TEST = "†"
ON_TEST_EXPLANATION = (
    "† the epoch was chosen by the accuracy on the test samples, as some published code does: its figures are "
    "optimistic."
)
