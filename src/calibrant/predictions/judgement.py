"""Can predictions be trusted? Everything that is said of a file, from one pass over it."""

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics import Estimate, PairedTest, Reliability, State, evaluate_state
from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.evaluation import STANDARD
from calibrant.metrics.hypothesis import CalibrationTest, LabelDraws, calibration_test, sign_flips
from calibrant.metrics.intervals import mean_interval, wilson
from calibrant.metrics.rows import Inputs, checked
from calibrant.metrics.samples import EXACT_LIMIT
from calibrant.metrics.views import Bins, brier_decomposition
from calibrant.predictions.file import PredictionFile
from calibrant.predictions.groups import PAIRED, GroupSums

_PARTS = frozenset({"class_squares", "labels", "hits", "predictions"}).union(
    *(DEFINITIONS[name].parts for name in STANDARD)
)
DRAWS = 399
#: Below so many maps, nothing that draws them again says much.
FEW_MAPS = 20


@dataclass(frozen=True)
class ClassFacts:
    """How one class is predicted.

    Attributes:
        name: of the class.
        count: rows that have it.
        said: mean probability of the class, over all rows.
        share: share of the rows that have it.
        recall: share of its rows that are predicted as it.
        error: calibration error of its probability.
        limit: below which that error stays with probability 0.95 if the model is calibrated.
    """

    name: str
    count: int
    said: float
    share: float
    recall: float
    error: float
    limit: float


@dataclass(frozen=True)
class Judgement:
    """What is said of one file of predictions.

    Attributes:
        name: of the file, as it was given.
        inputs: "logits" or "probs".
        class_names: of the C classes.
        rows: predictions that count: samples, or pixels.
        maps: number of maps; None where rows are samples.
        estimates: metrics by name, with intervals.
        brier_parts: reliability, resolution, uncertainty and within_bins of the Brier score.
        gap: mean confidence less accuracy, with its interval.
        tests: "ece" and "classwise_ece" against the hypothesis that the model is calibrated.
        drawn_labels: whether the tests drew labels; else signs of groups were turned.
        reliability: what a diagram shows.
        shown_class: the class whose diagram is shown: the second of two, else the one furthest off.
        class_reliability: how often that class occurs, by its probability.
        bin_limits: (B,) how far a bin is off with probability 0.95 at most if the model is calibrated.
        classes: facts of each class.
        notices: what a reader must know, a sentence each.
        digest: of the labels; equal for files of the same samples in the same order.
        groups: sums for paired tests.
    """

    name: str
    inputs: Inputs
    class_names: list[str]
    rows: int
    maps: int | None
    estimates: dict[str, Estimate]
    brier_parts: dict[str, float]
    gap: Estimate
    tests: dict[str, CalibrationTest]
    drawn_labels: bool
    reliability: Reliability
    shown_class: int
    class_reliability: Reliability
    bin_limits: Tensor
    classes: list[ClassFacts]
    notices: list[str]
    digest: str
    groups: GroupSums


def judge(file: PredictionFile, name: str | None = None, *, n_bins: int = 15, seed: int = 0) -> Judgement:
    r"""Read a file once and judge it.

    Intervals are those of `calibrant.metrics.evaluate`. The pixels of a map depend on one another, so that for
    maps, and for maps alone, groups of maps are drawn again instead (each map a group, up to 1000). The test
    of calibration draws labels (`LabelDraws`) up to 65,536 rows; beyond, and for maps, it turns the signs of
    groups (`sign_flips`).

    Args:
        file: what was opened.
        name: what it is called; its path by default.
        n_bins: number of bins.
        seed: of all that is drawn.

    Raises:
        InputError: what `PredictionFile.batches` refuses, no label that counts, labels of one class alone.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from calibrant.predictions import open_predictions
        >>> path = Path(tempfile.mkdtemp()) / "a.csv"
        >>> _ = path.write_text("proba,y\n0.9,1\n0.2,0\n0.6,0\n0.7,1\n")
        >>> found = judge(open_predictions(path))
        >>> found.rows, found.estimates["accuracy"].value, round(found.estimates["ece"].value, 3)
        (4, 0.75, 0.3)
    """
    found = _Reading(file, n_bins, seed)
    for batch in file.batches():
        found.add(batch.values, batch.target)
    return found.judgement(name or str(file.path))


class _Reading:
    """What one pass over a file gathers."""

    def __init__(self, file: PredictionFile, n_bins: int, seed: int) -> None:
        self.file, self.n_bins, self.seed = file, n_bins, seed
        self.state = State(_PARTS, file.classes, n_bins)
        self.groups = GroupSums(file.classes, n_bins, maps=file.dense)
        self.draws = None if file.dense else LabelDraws(file.classes, n_bins, DRAWS, seed)
        self.digest = hashlib.blake2b(digest_size=16)
        self.maps = 0
        self._like_probs = file.inputs == "logits" and file.channels > 1

    def add(self, values: Tensor, target: Tensor) -> None:
        rows = checked(values, target, inputs=self.file.inputs, ignore_index=self.file.ignore_index)
        self.state.add(rows)
        self.groups.add(rows)
        self.maps += len(values)
        for each in target if self.file.dense else [target]:
            self.digest.update(repr(tuple(each.shape)).encode() if self.file.dense else b"")
            self.digest.update(each.contiguous().numpy().tobytes())
        if self.draws is not None and int(self.state.sums["total"]) > EXACT_LIMIT:
            self.draws = None
        if self.draws is not None:
            self.draws.add(rows)
        if self._like_probs:
            sums = values.sum(1, dtype=torch.float64)
            self._like_probs = bool((values.amin() >= 0) & ((sums - 1).abs() < 1e-3).all())

    def judgement(self, name: str) -> Judgement:
        state = self.state
        self._refuse_few()
        estimates = evaluate_state(state, intervals=not self.file.dense, seed=self.seed)
        bins, by_class = state.bins(), state.class_bins()
        assert bins.residual_sq is not None
        gap = float(bins.gap.sum())
        low, high = mean_interval(bins.gap.sum() * bins.total, bins.residual_sq.sum(), bins.total)
        ends = {"gap": (float(low), float(high))}
        if self.file.dense:
            values = {metric: estimate.value for metric, estimate in estimates.items()} | {"gap": gap}
            ends = self.groups.intervals(values, seed=self.seed)
            estimates |= {
                metric: Estimate(estimates[metric].value, *both)
                for metric, both in ends.items()
                if metric != "gap"
            }
        estimates = {metric: _within(metric, estimate) for metric, estimate in estimates.items()}
        drawn = self._by_chance(noise=False)
        top, classes = noise = self._by_chance(noise=True)
        facts = self._classes(classes)
        shown = max(range(len(facts)), key=lambda k: facts[k].error - facts[k].limit) if len(facts) > 2 else 1
        parts = brier_decomposition(by_class)._asdict()
        return Judgement(
            name=name,
            inputs=self.file.inputs,
            class_names=self.file.class_names,
            rows=state.count(),
            maps=self.maps if self.file.dense else None,
            estimates=estimates,
            brier_parts={part: float(value) for part, value in parts.items() if part != "score"},
            gap=Estimate(gap, *ends.get("gap", (math.nan, math.nan))),
            tests={
                name: calibration_test(each, gaps, limits)
                for name, each, gaps, limits in zip(
                    ("ece", "classwise_ece"), (bins, by_class), drawn, noise, strict=True
                )
            },
            drawn_labels=self.draws is not None,
            reliability=_reliability(bins),
            shown_class=shown,
            class_reliability=_reliability(by_class, shown),
            bin_limits=top.abs().quantile(0.95, dim=0) / bins.weight,
            classes=facts,
            notices=self._notices(estimates),
            digest=self.digest.hexdigest(),
            groups=self.groups,
        )

    def _refuse_few(self) -> None:
        path, count = self.file.path, self.state.sums["label_count"]
        if not count.any():
            raise InputError(f"No label of {path} counts: each is one that --ignore-index names.")
        if int((count > 0).sum()) == 1:
            only = self.file.class_names[int(count.argmax())]
            raise InputError(
                f"The labels of {path} ({int(count.sum()):,}) are all of the one class {only}; give "
                "predictions on data of more classes."
            )

    def _by_chance(self, *, noise: bool) -> tuple[Tensor, Tensor]:
        """Return the gaps of the bins, and of those by class, when calibrated: to test, or as noise alone."""
        bins, by_class = self.state.bins(), self.state.class_bins()
        if self.draws is not None:
            return self.draws.gaps(bins), self.draws.gaps(by_class)
        flips = [
            sign_flips(
                self.groups[part],
                bins.total,
                rows=self.groups["rows"] if noise else None,
                draws=DRAWS,
                seed=self.seed,
            )
            for part in ("top_residual", "class_residual")
        ]
        return flips[0], flips[1]

    def _classes(self, by_chance: Tensor) -> list[ClassFacts]:
        bins, sums = self.state.class_bins(), self.state.sums
        count, total = sums["label_count"].double(), bins.total
        columns = [
            sums["label_count"].tolist(),
            (bins.confidence.sum(1) / total).tolist(),
            (count / total).tolist(),
            (sums["label_correct"].double() / count).tolist(),
            bins.gap.abs().sum(1).tolist(),
            by_chance.abs().sum(-1).quantile(0.95, dim=0).tolist(),
        ]
        return [ClassFacts(name, *facts) for name, *facts in zip(self.file.class_names, *columns, strict=True)]

    def _notices(self, estimates: dict[str, Estimate]) -> list[str]:
        found = []
        if estimates["nll"].value == math.inf:
            found.append(
                f"A label of {self.file.path} has probability exactly 0, so that its NLL is infinite; logits, "
                "or probabilities that were not rounded, avoid it."
            )
        if self._like_probs:
            found.append(
                f"Every row of {self.file.path} lies within 0 to 1 and sums to 1: if these are probabilities, "
                "say --inputs probs."
            )
        if self.file.dense and self.maps < FEW_MAPS:
            found.append(
                f"{self.file.path} holds {self.maps} maps: intervals and tests draw maps again, and need more."
            )
        return found


def _reliability(bins: Bins, k: int | None = None) -> Reliability:
    """Return what a diagram shows of bins, or of those of class k."""
    count, confidence, correct = (
        x.double() if k is None else x[k].double() for x in (bins.count, bins.confidence, bins.correct)
    )
    low, high = (torch.where(count > 0, end, math.nan) for end in wilson(correct, count))
    return Reliability(bins.edges, count, confidence / count, correct / count, low, high)


def _within(metric: str, estimate: Estimate) -> Estimate:
    """Return an estimate whose interval ends where the metric does."""
    least, most = DEFINITIONS[metric].range
    low, high = (min(max(end, least), most) if math.isfinite(end) else end for end in estimate[1:])
    return Estimate(estimate.value, low, high)


def compare(
    first: Judgement, others: Iterable[Judgement], *, seed: int = 0
) -> dict[str, dict[str, PairedTest]]:
    """Return by name the paired tests of other files less the first, for those of the same samples.

    Files are of the same samples where their labels are equal, in the same order.

    Args:
        first: the file that the others are compared with.
        others: the other files.
        seed: of the draws behind the tests.
    """
    return {
        other.name: {
            metric: other.groups.test_against(first.groups, metric, seed=seed)
            for metric in PAIRED
            if math.isfinite(other.estimates[metric].value - first.estimates[metric].value)
        }
        for other in others
        if other.digest == first.digest and len(other.class_names) == len(first.class_names)
    }
