"""Which methods are the best of a column, as far as a paired test can tell."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from calibrant.compare.columns import COLUMNS
from calibrant.compare.stages import logits_after
from calibrant.metrics import PairedTest, paired_test
from calibrant.metrics.paired import paired_test_of_sums
from calibrant.training.image_sums import ImageSums, read_image_sums
from calibrant.training.run_folder import Predictions, RunFolder

#: Significance level of "not worse than the best", over all comparisons of one column together.
LEVEL = 0.05


@dataclass(frozen=True)
class Against:
    """A metric of a method less that of the leading one, on the same samples.

    Attributes:
        leader: the method with the best mean.
        difference: mean over the seeds that both have.
        low: lower end of its 95 % interval.
        high: upper end.
        p_value: of the paired randomisation test.
        worse: whether the test, corrected by Holm for the number of methods, finds the method worse.
    """

    leader: str
    difference: float
    low: float
    high: float
    p_value: float
    worse: bool


def holm(p_values: dict[str, float], level: float) -> set[str]:
    """Return the names whose hypotheses are rejected by Holm's step-down rule.

    Example:
        >>> sorted(holm({"a": 0.01, "b": 0.03, "c": 0.04}, 0.05))
        ['a']
    """
    rejected: set[str] = set()
    for i, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        if p > level / (len(p_values) - i):
            break
        rejected.add(name)
    return rejected


class PairedTests:
    """The paired test between methods; predictions are read once."""

    def __init__(self, runs: dict[str, dict[int, RunFolder]]) -> None:
        self.runs = runs
        self._read: dict[tuple[str, int], Predictions] = {}
        self._stage = ""
        self._sums: dict[tuple[str, int], ImageSums | None] = {}
        self._after: dict[tuple[str, int], Tensor | None] = {}

    def test(self, a: str, b: str, metric: str, stage: str) -> PairedTest | None:
        """Return the test of method a less method b; None where they cannot be paired."""
        shared = sorted(self.runs[a].keys() & self.runs[b].keys())
        seeds = [s for s in shared if self._told(a, s) and self._told(b, s)]
        if not seeds:
            return self._test_images(a, b, shared, metric, stage)
        pairs = [(self._predictions(a, s), self._predictions(b, s)) for s in seeds]
        same = all(
            torch.equal(p.ids, pairs[0][0].ids) and torch.equal(p.targets, pairs[0][0].targets)
            for pair in pairs
            for p in pair
        )
        if not same:
            return None
        ours, theirs = ([self._logits(name, s, stage) for s in seeds] for name in (a, b))
        known_a, known_b = ([z for z in logits if z is not None] for logits in (ours, theirs))
        if len(known_a) < len(seeds) or len(known_b) < len(seeds):
            return None
        return paired_test(known_a, known_b, pairs[0][0].targets, inputs="logits", metric=metric)

    def _test_images(self, a: str, b: str, seeds: list[int], metric: str, stage: str) -> PairedTest | None:
        """Return the test over images, whose pixels are swapped together; None where they cannot be paired."""
        read = [tuple(self._images(name, s, stage) for name in (a, b)) for s in seeds]
        pairs = [(ours, theirs) for ours, theirs in read if ours is not None and theirs is not None]
        if not pairs or metric == "aece":
            return None
        first = pairs[0][0]
        if any(
            each.names != first.names or not torch.equal(each.sums["rows"], first.sums["rows"])
            for pair in pairs
            for each in pair
        ):
            return None
        ours, theirs = ([pair[i].sums for pair in pairs] for i in (0, 1))
        return paired_test_of_sums(ours, theirs, metric)

    def _images(self, name: str, seed: int, stage: str) -> ImageSums | None:
        self._hold(stage)
        if (name, seed) not in self._sums:
            self._sums[name, seed] = read_image_sums(self.runs[name][seed], stage)
        return self._sums[name, seed]

    def _told(self, name: str, seed: int) -> bool:
        return self.runs[name][seed].predictions_path("test").is_file()

    def _predictions(self, name: str, seed: int) -> Predictions:
        if (name, seed) not in self._read:
            self._read[name, seed] = self.runs[name][seed].predictions("test")
        return self._read[name, seed]

    def _logits(self, name: str, seed: int, stage: str) -> Tensor | None:
        self._hold(stage)
        if (name, seed) not in self._after:
            raw = self._predictions(name, seed).logits
            self._after[name, seed] = logits_after(self.runs[name][seed], stage, raw)
        return self._after[name, seed]

    def _hold(self, stage: str) -> None:
        """Keep what belongs to one stage at a time: it is as large as the predictions."""
        if stage != self._stage:
            self._stage, self._sums, self._after = stage, {}, {}


def against_leader(means: dict[str, float], metric: str, stage: str, test: PairedTests) -> dict[str, Against]:
    """Return how each method but the one with the best mean differs from that one, where a test can tell.

    Args:
        means: of each method; nothing is tested where one is nan, and one that is infinite takes no part.
        metric: the metric.
        stage: of calibration.
        test: between two of the methods.
    """
    sign = -1 if COLUMNS[metric][3] else 1
    if any(math.isnan(mean) for mean in means.values()):
        return {}
    # One probability of exactly 0, as histograms give, makes an NLL infinite.
    finite = {name: mean for name, mean in means.items() if math.isfinite(mean)}
    if len(finite) < 2:
        return {}
    leader = min(finite, key=lambda name: sign * finite[name])
    tested = {name: test.test(name, leader, metric, stage) for name in finite if name != leader}
    known = {name: each for name, each in tested.items() if each is not None and not math.isnan(each.p_value)}
    apart = holm({name: each.p_value for name, each in known.items()}, LEVEL)
    # Where seeds are missing, the test on those that both have may find a method better than the leader.
    worse = {name for name in apart if sign * known[name].difference > 0}
    return {name: Against(leader, *each, name in worse) for name, each in known.items()}


def best(against: dict[str, Against]) -> set[str]:
    """Return the leader and the methods not found worse; none where none is told apart."""
    if not any(each.worse for each in against.values()):
        return set()
    leader = next(iter(against.values())).leader
    return {leader, *(name for name, each in against.items() if not each.worse)}
