"""Which methods are the best of a column, as far as a paired test can tell."""

import math

import torch
from torch import Tensor

from calibrant.compare.columns import COLUMNS
from calibrant.metrics import paired_test
from calibrant.training.run_folder import Predictions, RunFolder

#: Significance level of "not worse than the best", over all comparisons of one column together.
LEVEL = 0.05


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

    def p_value(self, a: str, b: str, metric: str, stage: str) -> float:
        """Return the p-value of the difference of two methods; nan where they cannot be paired."""
        seeds = [
            s
            for s in sorted(self.runs[a].keys() & self.runs[b].keys())
            if self._told(a, s) and self._told(b, s)
        ]
        pairs = [(self._predictions(a, s), self._predictions(b, s)) for s in seeds]
        same = all(
            torch.equal(p.ids, pairs[0][0].ids) and torch.equal(p.targets, pairs[0][0].targets)
            for pair in pairs
            for p in pair
        )
        if not pairs or not same:
            return math.nan
        ours, theirs = ([self._logits(name, s, stage) for s in seeds] for name in (a, b))
        return paired_test(ours, theirs, pairs[0][0].targets, inputs="logits", metric=metric).p_value

    def _told(self, name: str, seed: int) -> bool:
        return self.runs[name][seed].predictions_path("test").is_file()

    def _predictions(self, name: str, seed: int) -> Predictions:
        if (name, seed) not in self._read:
            self._read[name, seed] = self.runs[name][seed].predictions("test")
        return self._read[name, seed]

    def _logits(self, name: str, seed: int, stage: str) -> Tensor:
        logits = self._predictions(name, seed).logits
        if stage == "none":
            return logits
        return logits / float(self.runs[name][seed].result()["posthoc"][stage]["temperature"])


def leaders(means: dict[str, float], metric: str, stage: str, test: PairedTests) -> set[str]:
    """Return the methods not found worse than the one with the best mean; none where none is told apart."""
    sign = -1 if COLUMNS[metric][3] else 1
    if len(means) < 2 or any(math.isnan(mean) for mean in means.values()):
        return set()
    leader = min(means, key=lambda name: sign * means[name])
    tested = {name: test.p_value(leader, name, metric, stage) for name in means if name != leader}
    p_values = {name: p for name, p in tested.items() if not math.isnan(p)}
    worse = holm(p_values, LEVEL)
    return {leader, *p_values} - worse if worse else set()
