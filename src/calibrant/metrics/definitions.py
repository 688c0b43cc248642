"""Every metric by name: which parts of the state it needs, and how it is read from them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.metrics import ranking, views
from calibrant.metrics.equal_mass import adaptive_class_errors, equal_mass_bins
from calibrant.metrics.segmentation import Missing, SegmentationScores, scores_of_areas
from calibrant.metrics.smooth import smooth_ece
from calibrant.metrics.state import State

Absent = Literal["count", "skip"]


@dataclass(frozen=True)
class Definition:
    """A metric: what it keeps and how it is read.

    Attributes:
        view: from the state, and the metric's own options by keyword, to a float64 tensor or a tuple of them.
        parts: the parts of the state that it reads.
        lower_is_better: which way is better; None where neither is.
        range: least and largest value.
    """

    view: Callable[..., Tensor | tuple[Tensor, ...]]
    parts: frozenset[str]
    lower_is_better: bool | None = True
    range: tuple[float, float] = (0.0, 1.0)


DEFINITIONS: dict[str, Definition] = {}
View = Callable[..., Tensor | tuple[Tensor, ...]]


def _define(
    name: str,
    *parts: str,
    lower_is_better: bool | None = True,
    range: tuple[float, float] = (0.0, 1.0),
) -> Callable[[View], View]:
    def file(view: View) -> View:
        DEFINITIONS[name] = Definition(view, frozenset(parts), lower_is_better, range)
        return view

    return file


def _of_bins(name: str, view: Callable[[views.Bins], Tensor], **settings: object) -> None:
    def read(state: State) -> Tensor:
        return view(state.bins())

    _define(name, "top", **settings)(read)  # type: ignore[arg-type]


def _of_cells(name: str, view: Callable[[Tensor, Tensor, Tensor], Tensor], **settings: object) -> None:
    def read(state: State) -> Tensor:
        cells = state.cells()
        return view(cells.confidence, cells.correct, cells.count)

    _define(name, "samples", **settings)(read)  # type: ignore[arg-type]


for _name in ("ece", "rmsce", "mce", "average_ce", "oe", "ue", "overconfidence", "underconfidence"):
    _of_bins(_name, getattr(views, _name))
_of_bins("signed_ce", views.signed_ce, lower_is_better=None, range=(-1.0, 1.0))
_of_cells("ks", ranking.ks_error)
_of_cells("smooth_ece", smooth_ece)
_of_cells("auroc", ranking.auroc, lower_is_better=False)
_of_cells("aurc", ranking.aurc)
_of_cells("excess_aurc", ranking.excess_aurc)


@_define("debiased_ece", "top")
def debiased_ece(
    state: State, correction: Literal["accuracy", "confidence"] = "accuracy", root: bool = True
) -> Tensor:
    """Read the debiased error of the equal-width bins."""
    check_choice("correction", correction, ("accuracy", "confidence"))
    return views.debiased_ece(state.bins(), correction, root)


@_define("aece", "samples")
def aece(state: State) -> Tensor:
    """Read the error over equal-mass bins."""
    return views.ece(equal_mass_bins(state.cells(), state.spec.n_bins, state.spec.rule))


def class_range(state: State, labels: Tensor, absent: Absent) -> Tensor:
    """Return (C,) bool, which classes the class-wise mean runs over, from the number of each label."""
    check_choice("absent", absent, ("count", "skip"))
    if absent == "skip":
        return labels > 0
    if state.spec.rule.classes == "to_max_label":
        present = labels > 0
        return present.flip(0).cumsum(0).flip(0) > 0
    return torch.ones_like(labels, dtype=torch.bool)


@_define("classwise_ece", "class", "labels")
def classwise_ece(state: State, absent: Absent = "count") -> Tensor:
    """Read the mean over classes of the error of each class's probability."""
    per_class = views.ece(state.class_bins())
    return per_class[class_range(state, state.sums["label_count"], absent)].mean()


@_define("ace", "class_samples", "labels")
def ace(state: State, absent: Absent = "count") -> Tensor:
    """Read the adaptive class-wise error."""
    return _adaptive(state, 0.0, absent)


@_define("tace", "class_samples", "labels")
def tace(state: State, threshold: float = 0.01, absent: Absent = "count") -> Tensor:
    """Read the adaptive class-wise error of the probabilities above a threshold."""
    if not 0 <= threshold < 1:
        raise InputError(f"threshold must lie in [0, 1), not {threshold}.")
    return _adaptive(state, threshold, absent)


def _adaptive(state: State, threshold: float, absent: Absent) -> Tensor:
    spec = state.spec
    cells = state.cells("class_samples")
    errors = adaptive_class_errors(cells, spec.num_classes, spec.n_bins, spec.rule, threshold)
    errors = errors[class_range(state, state.sums["label_count"], absent)]
    return errors[~errors.isnan()].mean()


@_define("nll", "nll", range=(0.0, float("inf")))
def nll(state: State) -> Tensor:
    """Read the mean negative log-likelihood."""
    return state.sums["nll_sum"] / state.count()


@_define("brier", "brier", range=(0.0, 2.0))
def brier(state: State) -> Tensor:
    """Read the mean Brier score."""
    return state.sums["brier_sum"] / state.count()


@_define("brier_decomposition", "class", "class_squares", range=(-2.0, 2.0))
def brier_decomposition(state: State) -> views.BrierDecomposition:
    """Read the parts of the Brier score from the class-wise bins."""
    return views.brier_decomposition(state.class_bins())


@_define("accuracy", "ranks", lower_is_better=False)
def accuracy(state: State, k: int = 1) -> Tensor:
    """Read the share of rows whose label is among the k first."""
    if not isinstance(k, int) or k < 1:
        raise InputError(f"k must be an integer of at least 1, not {k!r}.")
    return state.sums["rank_count"][:k].sum().double() / state.count()


def recalls(state: State) -> Tensor:
    """Return (C,) accuracy within each class; nan for one without a label."""
    return state.sums["label_correct"].double() / state.sums["label_count"]


@_define("macro_accuracy", "labels", "hits", lower_is_better=False)
def macro_accuracy(state: State) -> Tensor:
    """Read the mean accuracy within the classes that occur among the labels."""
    state.count()
    return recalls(state).nanmean()


class GroupAccuracy(NamedTuple):
    """Accuracy of the classes with many, medium and few training samples; nan for an empty group."""

    many: Tensor
    medium: Tensor
    few: Tensor


#: Last class but one of the head and of the medium group in the frequency-sorted order, by number of classes,
#: as the published code of MiSLAS fixes them.
MISLAS_GROUPS = {10: (3, 7), 100: (36, 71), 1000: (390, 835), 8142: (842, 4543), 365: (131, 288)}
Groups = Literal["counts", "mislas"] | Sequence[Sequence[int]]


def class_groups(num_classes: int, class_counts: Iterable[int] | None, groups: Groups) -> list[Tensor]:
    """Return the classes of the three groups, as (k,) int64 each; see `functional.group_accuracy`."""
    counts = None if class_counts is None else torch.as_tensor(class_counts, dtype=torch.int64).cpu()
    if counts is not None and counts.shape != (num_classes,):
        raise InputError(f"class_counts has shape {tuple(counts.shape)}, not ({num_classes},).")
    if groups == "counts":
        if counts is None:
            raise InputError("Give class_counts, the number of training samples of each class.")
        masks = (counts > 100, (counts >= 20) & (counts <= 100), counts < 20)
        return [mask.nonzero().squeeze(1) for mask in masks]
    if groups == "mislas":
        if num_classes not in MISLAS_GROUPS:
            known = ", ".join(map(str, MISLAS_GROUPS))
            raise InputError(
                f"groups='mislas' is fixed for {known} classes, not {num_classes}; use groups='counts'."
            )
        order = torch.arange(num_classes) if counts is None else counts.argsort(descending=True, stable=True)
        first, second = MISLAS_GROUPS[num_classes]
        return [order[:first], order[first:second], order[second:]]
    if isinstance(groups, str) or not isinstance(groups, Sequence) or len(groups) != 3:
        raise InputError(f"groups must be 'counts', 'mislas' or three lists of classes, not {groups!r}.")
    found = [torch.as_tensor(list(group), dtype=torch.int64) for group in groups]
    if wrong := [k for k in torch.cat(found).tolist() if not 0 <= k < num_classes]:
        raise InputError(f"groups names the class {wrong[0]}, but there are {num_classes}, from 0.")
    return found


@_define("group_accuracy", "labels", "hits", lower_is_better=False)
def group_accuracy(
    state: State, class_counts: Iterable[int] | None = None, groups: Groups = "counts"
) -> GroupAccuracy:
    """Read the mean accuracy within the classes of each group."""
    state.count()
    per_class = recalls(state)
    chosen = class_groups(state.spec.num_classes, class_counts, groups)
    return GroupAccuracy(*(per_class[group.to(per_class.device)].nanmean() for group in chosen))


@_define("segmentation", "labels", "hits", "predictions", lower_is_better=False)
def segmentation(state: State, include_background: bool, missing: Missing = "skip") -> SegmentationScores:
    """Read the scores of label maps."""
    state.count()
    sums = state.sums
    return scores_of_areas(
        sums["label_correct"], sums["predicted_count"], sums["label_count"], include_background, missing
    )
