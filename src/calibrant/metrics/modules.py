"""Metrics that stream: thin `torchmetrics.Metric` classes over the one state.

Each keeps the parts of the state that it needs, adds up over batches and processes, and reads its value when
asked.
"""

import inspect
from collections.abc import Iterable
from typing import Any, ClassVar, Unpack

import torch
from torch import Tensor
from torchmetrics import Metric

from calibrant.errors import InputError, check_choice
from calibrant.metrics.averages import UnitMeans, check_average, of_rows
from calibrant.metrics.binning import convention as by_name
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.rows import Rows, checked
from calibrant.metrics.samples import EXACT_LIMIT
from calibrant.metrics.settings import Settings
from calibrant.metrics.state import Spec, State

_LISTS = {
    "samples": ("each_confidence", "each_correct"),
    "class_samples": ("each_class_confidence", "each_class_label"),
}
_TORCHMETRICS = ("compute_on_cpu", "dist_sync_on_step", "process_group", "sync_on_compute")


class CalibrationMetric(Metric):
    """A streaming metric; the subclasses name which.

    Args:
        inputs: "logits" or "probs": what `update` is given; never guessed.
        num_classes: C; a metric that counts by class needs it.
        n_bins: number of bins.
        convention: the rule of binning, "calibrant" or that of other software (`binning.CONVENTIONS`).
        ignore_index: label, or labels, whose rows count nowhere.
        task: "top_label", the largest probability against its being right; or "event", the probability of class
            1 of a binary task against its occurring.
        average: "pooled" over all rows; or the mean of the values of each "image" or "batch", "image_weighted"
            or "batch_weighted" by their rows.
        exact_limit: up to how many rows quantiles and orders are exact, of `ACE` and `TACE` rows times classes;
            beyond it they come from a fine histogram.
        **settings: the metric's own options, as in `functional`; and `compute_on_cpu`, `dist_sync_on_step`,
            `process_group` and `sync_on_compute` of `torchmetrics.Metric`.

    Raises:
        InputError: for a setting that does not exist, and for data that cannot be used, as in `functional`;
            `compute` without a row that counts.

    Example:
        >>> metric = ECE(inputs="probs")
        >>> metric.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1]))
        >>> metric.update(torch.tensor([[0.6, 0.4], [0.7, 0.3]]), torch.tensor([1, 0]))
        >>> metric.compute()
        tensor(0.3000, dtype=torch.float64)
    """

    name: ClassVar[str]
    total: Tensor
    unit_sum: Tensor
    unit_weight: Tensor
    is_differentiable = False
    full_state_update = False

    def __init__(self, **settings: Unpack[Settings]) -> None:
        given: dict[str, Any] = dict(settings)
        super().__init__(**{key: given.pop(key) for key in _TORCHMETRICS if key in given})
        if "inputs" not in given:
            raise InputError(f"{type(self).__name__} needs inputs='logits' or inputs='probs'.")
        self.inputs = given.pop("inputs")
        check_choice("inputs", self.inputs, ("logits", "probs"))
        ignore: int | Iterable[int] | None = given.pop("ignore_index", None)
        self.ignore_index = ignore if ignore is None or isinstance(ignore, int) else tuple(ignore)
        self.average: str = given.pop("average", "pooled")
        check_average(self.average, batches=True)
        definition = DEFINITIONS[self.name]
        per_class = bool(
            definition.parts & {"class", "labels", "hits", "predictions", "ranks", "class_samples"}
        )
        self._num_classes: int | None = given.pop("num_classes", None)
        if per_class and self._num_classes is None:
            raise InputError(f"{type(self).__name__} counts by class: give num_classes.")
        self._spec = Spec(
            definition.parts,
            max(self._num_classes or 2, 2),
            given.pop("n_bins", 15),
            by_name(given.pop("convention", "calibrant")),
            given.pop("task", "top_label"),
            given.pop("exact_limit", EXACT_LIMIT),
        )
        self.options = given
        self._check_options()
        self._add_states()

    def _check_options(self) -> None:
        taken = dict(list(inspect.signature(DEFINITIONS[self.name].view).parameters.items())[1:])
        for option in self.options:
            if option not in taken:
                raise InputError(
                    f"{type(self).__name__} has no option {option!r}; of its own it takes "
                    f"{', '.join(taken) or 'none'}."
                )
        for option, parameter in taken.items():
            if parameter.default is parameter.empty and option not in self.options:
                raise InputError(f"{type(self).__name__} needs {option}.")

    def _add_states(self) -> None:
        if self.average != "pooled":
            for name in ("unit_sum", "unit_weight"):
                self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
            return
        for name, zeros in self._spec.zeros().items():
            self.add_state(name, zeros, dist_reduce_fx="sum")
        for name in self._lists(self._spec):
            self.add_state(name, [], dist_reduce_fx="cat")

    def update(self, values: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            values: (N, C, *) logits or probabilities, as `inputs` says.
            target: (N, *) integer labels.
        """
        rows = checked(values, target, inputs=self.inputs, ignore_index=self.ignore_index)
        spec = self._spec_for(values.shape[1])
        if self.average == "pooled":
            state = self._state(spec)
            state.add(rows)
            self._keep(state)
            return
        units = UnitMeans(weighted=self.average.endswith("weighted"))
        for unit in self._units(rows):
            units.add(*of_rows(self.name, spec, unit, self.options, empty_is_none=True))
        self.unit_sum = self.unit_sum + units.sum.to(self.unit_sum.device)
        self.unit_weight = self.unit_weight + units.weight.to(self.unit_weight.device)

    def compute(self) -> Any:
        """Return the metric of everything seen, float64."""
        if self.average == "pooled":
            return DEFINITIONS[self.name].view(self._state(self._spec), **self.options)
        units = UnitMeans(weighted=True)
        units.sum, units.weight = self.unit_sum, self.unit_weight
        return units.value()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch and return the metric of that batch alone."""
        value = super().forward(*args, **kwargs)
        if self.average == "pooled":
            state = self._state(self._spec)
            state.compact()
            self._keep(state)
        return value

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """Gather the state of all processes; one without samples takes part with none of the same type."""
        if self.average == "pooled":
            empty = self._spec.no_samples(self.total.device)
            for name in self._lists(self._spec):
                if not len(getattr(self, name)):
                    setattr(self, name, [empty[name]])
        super().sync(*args, **kwargs)

    @staticmethod
    def _lists(spec: Spec) -> list[str]:
        return [name for part, names in _LISTS.items() if part in spec.parts for name in names]

    def _units(self, rows: Rows) -> "Iterable[Rows]":
        return rows.images() if self.average.startswith("image") else [rows]

    def _spec_for(self, channels: int) -> Spec:
        classes = max(channels, 2)
        if self._num_classes is not None and classes != self._spec.num_classes:
            raise InputError(
                f"The values have {channels} classes, but the metric was made for {self._num_classes}."
            )
        if classes == self._spec.num_classes:
            return self._spec
        spec = self._spec
        return Spec(spec.parts, classes, spec.n_bins, spec.rule, spec.task, spec.exact_limit)

    def _state(self, spec: Spec) -> State:
        """Return the state over the metric's own tensors."""
        samples: dict[str, list[Tensor]] = {}
        for name in self._lists(spec):
            held = getattr(self, name)
            samples[name] = [held] if isinstance(held, Tensor) else list(held)
        return State.over(spec, {name: getattr(self, name) for name in spec.zeros()}, samples)

    def _keep(self, state: State) -> None:
        for name, tensor in state.sums.items():
            setattr(self, name, tensor)
        for name in self._lists(state.spec):
            setattr(self, name, state.samples.get(name, []))


class ECE(CalibrationMetric):
    """Expected calibration error; see `functional.ece`."""

    name = "ece"


class RMSCE(CalibrationMetric):
    """Root-mean-square calibration error; see `functional.rmsce`."""

    name = "rmsce"


class MCE(CalibrationMetric):
    """Maximum calibration error; see `functional.mce`."""

    name = "mce"


class AverageCE(CalibrationMetric):
    """Plain mean of the gaps of the bins; see `functional.average_ce`."""

    name = "average_ce"


class OE(CalibrationMetric):
    """Overconfidence error; see `functional.oe`."""

    name = "oe"


class UE(CalibrationMetric):
    """Underconfidence error; see `functional.ue`."""

    name = "ue"


class Overconfidence(CalibrationMetric):
    """Part of ECE above the diagonal; see `functional.overconfidence`."""

    name = "overconfidence"


class Underconfidence(CalibrationMetric):
    """Part of ECE below the diagonal; see `functional.underconfidence`."""

    name = "underconfidence"


class SignedCE(CalibrationMetric):
    """Mean confidence less accuracy; see `functional.signed_ce`."""

    name = "signed_ce"


class DebiasedECE(CalibrationMetric):
    """Debiased calibration error; see `functional.debiased_ece`."""

    name = "debiased_ece"


class AECE(CalibrationMetric):
    """Adaptive ECE, over bins of equal mass; see `functional.aece`."""

    name = "aece"


class ClasswiseECE(CalibrationMetric):
    """Class-wise ECE; see `functional.classwise_ece`."""

    name = "classwise_ece"


class ACE(CalibrationMetric):
    """Adaptive calibration error; see `functional.ace`."""

    name = "ace"


class TACE(CalibrationMetric):
    """Thresholded adaptive calibration error; see `functional.tace`."""

    name = "tace"


class KS(CalibrationMetric):
    """Kolmogorov-Smirnov calibration error; see `functional.ks`."""

    name = "ks"


class SmoothECE(CalibrationMetric):
    """Smooth ECE; see `functional.smooth_ece`."""

    name = "smooth_ece"


class ConfidenceAUROC(CalibrationMetric):
    """Area under the ROC curve of the confidence as a score of being right; see `functional.auroc`."""

    name = "auroc"


class AURC(CalibrationMetric):
    """Area under the risk-coverage curve; see `functional.aurc`."""

    name = "aurc"


class ExcessAURC(CalibrationMetric):
    """AURC above that of a perfect order; see `functional.excess_aurc`."""

    name = "excess_aurc"


class NLL(CalibrationMetric):
    """Negative log-likelihood; see `functional.nll`."""

    name = "nll"


class Brier(CalibrationMetric):
    """Brier score; see `functional.brier`."""

    name = "brier"


class BrierParts(CalibrationMetric):
    """Brier score and its decomposition; see `functional.brier_decomposition`."""

    name = "brier_decomposition"


class Accuracy(CalibrationMetric):
    """Top-k accuracy; see `functional.accuracy`."""

    name = "accuracy"


class MacroAccuracy(CalibrationMetric):
    """Mean of the accuracies within the classes; see `functional.macro_accuracy`."""

    name = "macro_accuracy"


class ManyMediumFew(CalibrationMetric):
    """Accuracy of the classes with many, medium and few training samples; see `functional.group_accuracy`."""

    name = "group_accuracy"


class Segmentation(CalibrationMetric):
    """Mean IoU, Dice and accuracy of segmentation maps; see `functional.segmentation`."""

    name = "segmentation"


_CLASSES: tuple[type[CalibrationMetric], ...] = tuple(CalibrationMetric.__subclasses__())
for _metric in _CLASSES:
    _lower = DEFINITIONS[_metric.name].lower_is_better
    _metric.higher_is_better = None if _lower is None else not _lower
BY_NAME = {metric.name: metric for metric in _CLASSES}
__all__ = ["BY_NAME", "CalibrationMetric", *(metric.__name__ for metric in _CLASSES)]
