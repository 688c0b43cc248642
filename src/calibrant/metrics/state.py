"""The one streaming state: counts in int64 and sums in float64 that add up over batches and processes.

A metric is a view of it. Only the parts that a metric needs are kept.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.metrics.binning import Convention, bin_edges, bin_index, convention
from calibrant.metrics.classwise import classwise
from calibrant.metrics.rows import Inputs, Piece, Rows, checked
from calibrant.metrics.samples import COARSE, EXACT_LIMIT, FINE, Cells, Grid, histogram
from calibrant.metrics.views import Bins

Sums = dict[str, Tensor]
Samples = dict[str, Tensor]


@dataclass(frozen=True)
class Spec:
    """What a state keeps.

    Attributes:
        parts: names out of `PARTS`.
        num_classes: C; needed by the parts that count by class.
        n_bins: number of equal-width bins.
        rule: where bins close.
        task: "top_label" for the largest probability against its being right; "event" for the probability of
            class 1 of a binary task against its occurring.
        exact_limit: up to how many samples quantiles and orders are exact.
    """

    parts: frozenset[str]
    num_classes: int
    n_bins: int = 15
    rule: Convention = field(default_factory=lambda: convention("calibrant"))
    task: str = "top_label"
    exact_limit: int = EXACT_LIMIT

    def __post_init__(self) -> None:
        self.rule.bins(self.n_bins)
        check_choice("task", self.task, ("top_label", "event"))
        if self.task == "event" and self.num_classes != 2:
            raise InputError(
                f"task='event' is for two classes, not {self.num_classes}; use a class-wise metric instead."
            )

    def zeros(self, device: torch.device | str = "cpu") -> Sums:
        """Return the tensors of an empty state by name."""
        sums = {"total": torch.zeros((), dtype=torch.int64)}
        for name in PART_NAMES:
            if name in self.parts:
                sums |= _ZEROS[name](self)
        return {name: tensor.to(device) for name, tensor in sums.items()}

    def no_samples(self, device: torch.device | str = "cpu") -> Samples:
        """Return the samples of an empty state, by name, in their types and shapes."""
        empty: Samples = {}
        if "samples" in self.parts:
            empty["each_confidence"] = torch.zeros(0, dtype=torch.float64, device=device)
            empty["each_correct"] = torch.zeros(0, dtype=torch.bool, device=device)
        if "class_samples" in self.parts:
            shape = (0, self.num_classes)
            empty["each_class_confidence"] = torch.zeros(shape, dtype=torch.float64, device=device)
            empty["each_class_label"] = torch.zeros(0, dtype=torch.int64, device=device)
        return empty

    def measure(self, rows: Rows) -> tuple[Sums, Samples]:
        """Return what a batch adds to the sums, and its samples by name ("each_confidence", …)."""
        if max(rows.values.shape[1], 2) != self.num_classes:
            raise InputError(
                f"The values have {rows.values.shape[1]} classes, the metric was made for {self.num_classes}."
            )
        sums: Sums = {}
        found: dict[str, list[Tensor]] = {}
        for piece in rows.pieces():
            _ = piece.confidence  # looks for NaN and values out of range, whatever the parts
            for name, tensor in self._measured(piece):
                sums[name] = sums[name] + tensor if name in sums else tensor
            for key, tensor in self._samples(piece):
                found.setdefault(key, []).append(tensor)
        return sums, {key: torch.cat(tensors) for key, tensors in found.items()}

    def _measured(self, piece: Piece) -> Iterator[tuple[str, Tensor]]:
        yield "total", torch.tensor(len(piece.labels), device=piece.labels.device)
        for name in PART_NAMES:
            if name in self.parts and name in _MEASURE:
                yield from _MEASURE[name](self, piece).items()

    def _samples(self, piece: Piece) -> Iterator[tuple[str, Tensor]]:
        if "samples" in self.parts:
            confidence, correct = _pairs(self, piece)
            yield "each_confidence", confidence.double()
            yield "each_correct", correct
        if "class_samples" in self.parts:
            probs = piece.probs.movedim(1, 2).reshape(-1, piece.probs.shape[1])
            counted = probs if piece.valid is None else probs[piece.valid.reshape(-1)]
            yield "each_class_confidence", counted.double()
            yield "each_class_label", piece.labels


class State:
    """Sums and samples of everything seen so far.

    Args:
        parts: which parts to keep.
        num_classes: C.
        n_bins: number of equal-width bins.
        rule: name of the convention.
        task: "top_label" or "event".
        exact_limit: up to how many samples quantiles and orders are exact.

    Example:
        >>> state = State({"top"}, num_classes=2, n_bins=5)
        >>> state.update(torch.tensor([[0.9, 0.1], [0.3, 0.7]]), torch.tensor([0, 0]), inputs="probs")
        >>> state.bins().count
        tensor([0, 0, 0, 1, 1])
    """

    def __init__(
        self,
        parts: Iterable[str],
        num_classes: int,
        n_bins: int = 15,
        rule: str = "calibrant",
        task: str = "top_label",
        exact_limit: int = EXACT_LIMIT,
    ) -> None:
        self.spec = Spec(frozenset(parts), num_classes, n_bins, convention(rule), task, exact_limit)
        self.sums = self.spec.zeros()
        self.samples: dict[str, list[Tensor]] = {}

    @classmethod
    def over(cls, spec: Spec, sums: Sums, samples: dict[str, list[Tensor]]) -> "State":
        """Return a state on given tensors, which it does not copy."""
        state = cls.__new__(cls)
        state.spec, state.sums, state.samples = spec, sums, samples
        return state

    def update(
        self,
        values: Tensor,
        target: Tensor,
        *,
        inputs: Inputs,
        ignore_index: int | Iterable[int] | None = None,
    ) -> None:
        """Add a batch of predictions and labels; shapes and errors as in `checked`."""
        self.add(checked(values, target, inputs=inputs, ignore_index=ignore_index))

    def add(self, rows: Rows) -> Sums:
        """Add a batch that is checked already, and return what it added to the sums."""
        sums, samples = self.spec.measure(rows)
        self._add(sums, samples)
        return sums

    def add_pairs(self, confidence: Tensor, correct: Tensor) -> None:
        """Add predictions of which only the confidence and the correctness are known, both (M,)."""
        confidence, right = checked_pairs(confidence, correct, self.spec.rule)
        sums = {"total": torch.tensor(len(confidence), device=confidence.device)}
        samples: Samples = {}
        if "top" in self.spec.parts:
            sums |= _binned(self.spec, confidence, right)
        if "samples" in self.spec.parts:
            samples = {"each_confidence": confidence.double(), "each_correct": right}
        self._add(sums, samples)

    def merge(self, other: "State") -> None:
        """Add what another state of the same kind has seen."""
        if other.spec != self.spec:
            raise InputError("Only states of the same metric and settings can be merged.")
        self._add(other.sums, {key: torch.cat(held) for key, held in other.samples.items() if held})

    def _add(self, sums: Sums, samples: Samples) -> None:
        for name, tensor in sums.items():
            self.sums[name] = self.sums[name].to(tensor.device) + tensor
        for key, tensor in samples.items():
            self.samples.setdefault(key, []).append(tensor)
        self.compact()

    def compact(self, *, finish: bool = False) -> None:
        """Move the samples into the histogram once there are more than the limit.

        Args:
            finish: also move samples that are few where the histogram holds others already, as happens when
                states of several processes are joined.
        """
        for part, key, grid in (
            ("samples", "each_confidence", FINE),
            ("class_samples", "each_class_confidence", COARSE),
        ):
            held = self.samples.get(key, [])
            size = sum(x.numel() for x in held)
            started = finish and bool(self.sums.get(f"{part}_count", torch.zeros(1)).any())
            if size and (size > self.spec.exact_limit or started):
                self._into_histogram(part, grid)

    def _into_histogram(self, part: str, grid: Grid) -> None:
        if part == "samples":
            confidence = torch.cat(self.samples.pop("each_confidence"))
            correct = torch.cat(self.samples.pop("each_correct"))
            new = histogram(grid, 1, confidence, correct)
        else:
            confidence = torch.cat(self.samples.pop("each_class_confidence"))
            labels = torch.cat(self.samples.pop("each_class_label"))
            classes = torch.arange(self.spec.num_classes, device=labels.device)
            correct = labels.unsqueeze(1) == classes
            group = classes.expand_as(correct)
            new = histogram(
                grid, self.spec.num_classes, confidence.reshape(-1), correct.reshape(-1), group.reshape(-1)
            )
        for name, tensor in new.items():
            self.sums[f"{part}_{name}"] = self.sums[f"{part}_{name}"] + tensor

    def count(self) -> int:
        """Return the number of rows seen; raises `InputError` when there are none."""
        total = int(self.sums["total"])
        if total == 0:
            raise InputError("There are no samples: nothing was given, or every label is ignored.")
        return total

    def bins(self) -> Bins:
        """Return the equal-width bins of the confidence."""
        return self._bins("top")

    def class_bins(self) -> Bins:
        """Return the equal-width bins of each class's probability, tensors of shape (C, bins)."""
        return self._bins("class")

    def _bins(self, part: str) -> Bins:
        total = self.count()
        count = self.sums[f"{part}_count"]
        return Bins(
            count=count,
            confidence=self.sums[f"{part}_confidence"],
            correct=self.sums[f"{part}_correct"],
            residual_sq=self.sums.get(f"{part}_residual_sq"),
            total=int(count.sum()) if self.spec.rule.weights == "binned" else total,
            edges=bin_edges(self.spec.n_bins, self.spec.rule).to(count.device),
        )

    def cells(self, part: str = "samples") -> Cells:
        """Return the samples, or the cells of their histogram that hold any."""
        self.count()
        self.compact(finish=True)
        held = self.samples.get("each_confidence" if part == "samples" else "each_class_confidence", [])
        if any(len(x) for x in held):
            confidence = torch.cat(held)
            if part == "samples":
                correct = torch.cat(self.samples["each_correct"])
                group = torch.zeros_like(correct, dtype=torch.int64)
            else:
                labels = torch.cat(self.samples["each_class_label"])
                classes = torch.arange(self.spec.num_classes, device=labels.device)
                correct = (labels.unsqueeze(1) == classes).reshape(-1)
                group = classes.expand_as(confidence).reshape(-1)
            confidence = confidence.reshape(-1).double()
            return Cells(confidence, correct.double(), torch.ones_like(confidence), group, True)
        grid = FINE if part == "samples" else COARSE
        kept = self.sums[f"{part}_count"].nonzero().squeeze(1)
        count = self.sums[f"{part}_count"][kept].double()
        return Cells(
            self.sums[f"{part}_confidence"][kept] / count,
            self.sums[f"{part}_correct"][kept].double(),
            count,
            kept // grid.cells,
            False,
        )


def checked_pairs(confidence: Tensor, correct: Tensor, rule: Convention) -> tuple[Tensor, Tensor]:
    """Check (M,) confidences and their correctness; clamp rounding errors unless the convention drops them."""
    if confidence.dim() != 1 or correct.shape != confidence.shape:
        raise InputError(
            f"confidence and correct must both be (M,), not {tuple(confidence.shape)} and "
            f"{tuple(correct.shape)}."
        )
    if not confidence.is_floating_point():
        raise InputError(f"confidence must be real, not {confidence.dtype}.")
    if confidence.dtype in (torch.float16, torch.bfloat16):
        confidence = confidence.float()
    fits = (confidence >= -1e-5) & (confidence <= 1 + 1e-5)
    if not fits.all():
        where = int((~fits).nonzero()[0])
        raise InputError(f"The confidence at position {where} is {float(confidence[where]):g}, outside [0, 1].")
    if rule.outside == "clamp":
        confidence = confidence.clamp(0, 1)
    return confidence.detach(), correct.to(confidence.device).bool()


def _pairs(spec: Spec, piece: Piece) -> tuple[Tensor, Tensor]:
    if spec.task == "event":
        return piece.counted(piece.probs[:, 1]).clamp(max=1), piece.labels == 1
    return piece.confidence, piece.correct


def _zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.float64)


def _counts(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


def _binned_zeros(part: str, *shape: int) -> Sums:
    return {
        f"{part}_count": _counts(*shape),
        f"{part}_correct": _counts(*shape),
        f"{part}_confidence": _zeros(*shape),
    }


def _binned(spec: Spec, confidence: Tensor, correct: Tensor) -> Sums:
    bins = spec.rule.bins(spec.n_bins)
    index = bin_index(confidence, spec.n_bins, spec.rule)
    wide = confidence.double()
    # One more bin than there are takes what the convention drops.
    both = torch.bincount(2 * index + correct, minlength=2 * bins + 2).view(-1, 2)[:bins]
    sums = {"top_count": both.sum(1), "top_correct": both[:, 1]}
    for name, values in (("confidence", wide), ("residual_sq", (wide - correct.double()).square())):
        sums[f"top_{name}"] = values.new_zeros(bins + 1).scatter_add_(0, index, values)[:bins]
    return sums


def _moments(name: str) -> "Callable[[Spec, Piece], Sums]":
    def measure(spec: Spec, piece: Piece) -> Sums:
        values: Tensor = getattr(piece, name)
        return {f"{name}_sum": values.sum(), f"{name}_sum_sq": values.square().sum()}

    return measure


def _counted(key: str, of: "Callable[[Piece], Tensor]") -> "Callable[[Spec, Piece], Sums]":
    def measure(spec: Spec, piece: Piece) -> Sums:
        return {key: torch.bincount(of(piece), minlength=spec.num_classes)}

    return measure


def _histogram_zeros(part: str, size: int) -> Sums:
    return {
        f"{part}_count": _counts(size),
        f"{part}_correct": _counts(size),
        f"{part}_confidence": _zeros(size),
    }


_ZEROS: dict[str, Callable[[Spec], Sums]] = {
    "top": lambda s: (
        _binned_zeros("top", s.rule.bins(s.n_bins)) | {"top_residual_sq": _zeros(s.rule.bins(s.n_bins))}
    ),
    "class": lambda s: _binned_zeros("class", s.num_classes, s.rule.bins(s.n_bins)),
    "class_squares": lambda s: {"class_residual_sq": _zeros(s.num_classes, s.rule.bins(s.n_bins))},
    "labels": lambda s: {"label_count": _counts(s.num_classes)},
    "hits": lambda s: {"label_correct": _counts(s.num_classes)},
    "predictions": lambda s: {"predicted_count": _counts(s.num_classes)},
    "nll": lambda s: {"nll_sum": _zeros(), "nll_sum_sq": _zeros()},
    "brier": lambda s: {"brier_sum": _zeros(), "brier_sum_sq": _zeros()},
    "ranks": lambda s: {"rank_count": _counts(s.num_classes)},
    "samples": lambda s: _histogram_zeros("samples", FINE.cells),
    "class_samples": lambda s: _histogram_zeros("class_samples", s.num_classes * COARSE.cells),
}
_MEASURE: dict[str, Callable[[Spec, Piece], Sums]] = {
    "top": lambda s, piece: _binned(s, *_pairs(s, piece)),
    "class": lambda s, piece: classwise(piece, s.n_bins, s.rule, squares="class_squares" in s.parts),
    "labels": _counted("label_count", lambda piece: piece.labels),
    "hits": _counted("label_correct", lambda piece: piece.labels[piece.correct]),
    "predictions": _counted("predicted_count", lambda piece: piece.predicted),
    "nll": _moments("nll"),
    "brier": _moments("brier"),
    "ranks": _counted("rank_count", lambda piece: piece.rank),
}
#: The parts that a state can keep.
PART_NAMES = tuple(_ZEROS)
