"""Is method A better calibrated than method B? A randomisation test on the same samples."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError

Inputs = Literal["logits", "probs"]
_BUDGET = 16_000_000
METRICS = ("accuracy", "nll", "brier", "ece", "aece", "classwise_ece", "mce")


class PairedTest(NamedTuple):
    """Difference of a metric between two methods, A minus B, with its interval and p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def paired_test(
    values_a: Tensor | Sequence[Tensor],
    values_b: Tensor | Sequence[Tensor],
    target: Tensor,
    *,
    inputs: Inputs,
    metric: str,
    n_bins: int = 15,
    ignore_index: int | Iterable[int] | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedTest:
    r"""Test whether two methods differ in a metric, on the same samples.

    The statistic is the mean over the seeds of metric(A) - metric(B). If the two methods were alike, swapping
    their predictions on any set of samples would change nothing: the test swaps them at random, a sample in
    all seeds together because the seeds share it, and

    $$p = \frac{1 + \#\{|T^*| \ge |T|\}}{1 + \text{draws}}$$

    is exact under that hypothesis, for any metric and any sample size. A sample of a dense task is an image:
    its pixels are swapped together.

    The interval is a paired bootstrap over samples (each draw takes every sample twice or not at all; the
    basic interval, so that the upward bias of binned errors cancels). Both condition on the networks given:
    how a method varies between training runs is seen only as far as the given seeds show it, and is part of
    neither.

    Args:
        values_a: (N, C, *) predictions of method A, or a list of them, one per seed.
        values_b: those of method B; as many as of A, the k-th compared with the k-th.
        target: (N, *) labels, shared by all.
        inputs: "logits" or "probs": what the values are.
        metric: one of accuracy, nll, brier, ece, aece, classwise_ece, mce. For aece both the test and the
            interval hold the edges of the bins at the quantiles of A and B pooled.
        n_bins: number of bins of the binned metrics.
        ignore_index: label, or labels, that count nowhere.
        draws: number of random swaps, and of bootstrap draws. The least p-value is 1 / (1 + draws).
        seed: of both.
        level: of the interval.

    Returns:
        `PairedTest`; a negative difference says that A has the lower metric.

    Raises:
        InputError: unknown metric, different numbers of seeds, values that do not fit the target.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(500, 3, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> result = paired_test(3 * logits, logits, target, inputs="logits", metric="nll")
        >>> result.difference > 0.1, result.p_value < 0.01
        (True, True)

    Pitman: "Significance tests which may be applied to samples from any populations", 1937.
    """
    runs_a, runs_b = _runs(values_a), _runs(values_b)
    if metric not in METRICS:
        raise InputError(f"There is no paired test of {metric!r}; choose one of {', '.join(METRICS)}.")
    if len(runs_a) != len(runs_b):
        raise InputError(
            f"A has {len(runs_a)} seeds and B has {len(runs_b)}: give as many of each, so that they can be paired."
        )
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, such as 0.95, not {level}.")
    rows = _Rows(target, ignore_index)
    blocks = (
        block
        for a, b in zip(runs_a, runs_b, strict=True)
        for block in _blocks(metric, rows.probabilities(a, inputs), rows.probabilities(b, inputs), rows, n_bins)
    )
    norm = _norm(metric)
    observed, swapped, resampled = 0.0, torch.zeros(draws), torch.zeros(draws)
    swapped, resampled = swapped.double(), resampled.double()
    for pack in _packed(blocks, rows.samples):
        part = _Draws(pack, rows.sizes, norm)
        observed += part.observed()
        at = 0
        for signs in _signs(draws, rows.samples, seed):
            swap, resample = part.replicates(signs)
            swapped[at : at + len(signs)] += swap
            resampled[at : at + len(signs)] += resample
            at += len(signs)
    scale = 1 / (len(runs_a) * (runs_a[0].shape[1] if metric == "classwise_ece" else 1))
    extreme = int((swapped.abs() >= abs(observed) * (1 - 1e-9) - 1e-12).sum())
    tail = (1 - level) / 2
    ends = torch.quantile(resampled * scale, torch.tensor([1 - tail, tail], dtype=torch.float64))
    difference = observed * scale
    low, high = (2 * difference - ends).tolist()
    return PairedTest(difference, low, high, (1 + extreme) / (1 + draws))


def _runs(values: Tensor | Sequence[Tensor]) -> list[Tensor]:
    runs = [values] if isinstance(values, Tensor) else list(values)
    if not runs:
        raise InputError("There is nothing to compare: give the predictions of at least one seed.")
    return runs


class _Rows:
    """The rows that count: their labels, the sample that each belongs to, and how many a sample has."""

    def __init__(self, target: Tensor, ignore_index: int | Iterable[int] | None) -> None:
        if ignore_index is None:
            ignored: list[int] = []
        else:
            ignored = [ignore_index] if isinstance(ignore_index, int) else [int(i) for i in ignore_index]
        flat = target.reshape(-1)
        self.shape = target.shape
        self.samples = target.shape[0]
        self.kept = ~torch.isin(flat, flat.new_tensor(ignored))
        self.labels = flat[self.kept].long()
        sample = torch.arange(self.samples, device=target.device)
        self.sample = sample.repeat_interleave(flat.numel() // max(self.samples, 1))[self.kept]
        self.sizes = torch.bincount(self.sample, minlength=self.samples).double()
        if not len(self.labels):
            raise InputError("There is no sample to compare: the target is empty, or every label is ignored.")

    def probabilities(self, values: Tensor, inputs: Inputs) -> Tensor:
        """Return (rows, C) log-probabilities, float64, of the rows that count."""
        if values.dim() < 2 or values.shape[:1] + values.shape[2:] != self.shape:
            raise InputError(
                f"Values of shape {tuple(values.shape)} fit no target of shape {tuple(self.shape)}; "
                "they must be (N, C, *) and (N, *)."
            )
        flat = values.movedim(1, -1).reshape(-1, values.shape[1])[self.kept].double()
        if inputs == "logits":
            return flat.log_softmax(1)
        if inputs == "probs":
            return flat.log()
        raise InputError(f"inputs must be 'logits' or 'probs', not {inputs!r}.")

    def per_sample(self, columns: Tensor) -> Tensor:
        """Sum (rows, K) over the rows of each sample, (N, K)."""
        if len(columns) == self.samples:
            return columns
        return columns.new_zeros((self.samples, columns.shape[1])).index_add(0, self.sample, columns)


def _blocks(metric: str, a: Tensor, b: Tensor, rows: _Rows, n_bins: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for A and B the (N, K) contributions of each sample to the sums that the metric is a function of."""
    if metric == "classwise_ece":
        edges = torch.arange(n_bins + 1, dtype=torch.float64, device=a.device) / n_bins
        for c in range(a.shape[1]):
            hit = (rows.labels == c).double()
            yield tuple(rows.per_sample(_binned(p[:, c].exp(), hit, edges)) for p in (a, b))  # type: ignore[misc]
        return
    if metric in ("accuracy", "nll", "brier"):
        yield tuple(rows.per_sample(_scores(metric, p, rows.labels).unsqueeze(1)) for p in (a, b))  # type: ignore[misc]
        return
    tops = [p.max(1) for p in (a, b)]
    if metric == "aece":
        pooled = torch.cat([top.values for top in tops]).exp().sort().values
        ranks = (torch.arange(1, n_bins, device=a.device) * len(pooled) + n_bins - 1) // n_bins - 1
        edges = torch.cat([pooled.new_zeros(1), pooled[ranks], pooled.new_ones(1)])
    else:
        edges = torch.arange(n_bins + 1, dtype=torch.float64, device=a.device) / n_bins
    both = []
    for top in tops:
        correct = (top.indices == rows.labels).double()
        columns = _binned(top.values.exp(), correct, edges, counts=metric == "mce")
        both.append(rows.per_sample(columns))
    yield both[0], both[1]


def _scores(metric: str, log_p: Tensor, labels: Tensor) -> Tensor:
    at_label = log_p.gather(1, labels.unsqueeze(1)).squeeze(1)
    if metric == "nll":
        return -at_label
    if metric == "accuracy":
        return (log_p.argmax(1) == labels).double()
    return (2 * log_p).exp().sum(1) - 2 * at_label.exp() + 1


def _binned(confidence: Tensor, correct: Tensor, edges: Tensor, counts: bool = False) -> Tensor:
    """Return (rows, bins) residuals, each in the column of its bin; with the counts beside them if asked."""
    bins = len(edges) - 1
    index = torch.bucketize(confidence, edges[1:-1]).unsqueeze(1)
    columns = confidence.new_zeros((len(confidence), 2 * bins if counts else bins))
    columns.scatter_(1, index, (confidence - correct).unsqueeze(1))
    return columns.scatter_(1, index + bins, 1.0) if counts else columns


def _norm(metric: str) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the function from (R, groups, K) sums and (R, 1) numbers of rows to (R, groups) values."""

    def largest(sums: Tensor, rows: Tensor) -> Tensor:
        residual, count = sums.chunk(2, -1)
        return torch.where(count > 0.5, residual.abs() / count.clamp(min=1), 0.0).amax(-1)

    if metric == "mce":
        return largest
    if metric in ("accuracy", "nll", "brier"):
        return lambda sums, rows: sums.sum(-1) / rows
    return lambda sums, rows: sums.abs().sum(-1) / rows


def _packed(blocks: Iterator[tuple[Tensor, Tensor]], samples: int) -> Iterator[list[tuple[Tensor, Tensor]]]:
    """Gather blocks until they fill the memory budget, so that few passes over the random signs are made."""
    pack: list[tuple[Tensor, Tensor]] = []
    held = 0
    for a, b in blocks:
        pack.append((a, b))
        held += 2 * samples * a.shape[1]
        if held >= _BUDGET:
            yield pack
            pack, held = [], 0
    if pack:
        yield pack


def _signs(draws: int, samples: int, seed: int) -> Iterator[Tensor]:
    """Yield (chunk, N) random signs, the same sequence at every call."""
    generator = torch.Generator().manual_seed(seed)
    chunk = max(1, _BUDGET // 4 // max(samples, 1))
    for start in range(0, draws, chunk):
        shape = (min(chunk, draws - start), samples)
        yield torch.randint(0, 2, shape, generator=generator, dtype=torch.int8).double().mul_(2).sub_(1)


class _Draws:
    """The sum over some blocks of metric(A) - metric(B), observed and under random signs.

    Args:
        pack: blocks of (N, K) contributions for A and B.
        sizes: (N,) rows per sample.
        norm: from sums to the metric.
    """

    def __init__(
        self, pack: list[tuple[Tensor, Tensor]], sizes: Tensor, norm: Callable[[Tensor, Tensor], Tensor]
    ) -> None:
        self.groups, self.width = len(pack), pack[0][0].shape[1]
        self.columns = torch.cat([a for a, _ in pack] + [b for _, b in pack] + [sizes.unsqueeze(1)], 1)
        self.total = self.columns.sum(0)
        self.norm = norm

    def observed(self) -> float:
        a, b, rows = self._split(self.total.unsqueeze(0))
        return float(self._difference(a, b, rows))

    def replicates(self, signs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R,) differences after swapping where the sign is -1, and after doubling where it is +1."""
        signed = signs.to(self.columns.device) @ self.columns
        a, b, rows = self._split(self.total.unsqueeze(0))
        signed_a, signed_b, signed_rows = self._split(signed)
        middle, half = (a + b) / 2, (signed_a - signed_b) / 2
        swapped = self._difference(middle + half, middle - half, rows)
        resampled = self._difference(a + signed_a, b + signed_b, (rows + signed_rows).clamp(min=1))
        return swapped.cpu(), resampled.cpu()

    def _split(self, sums: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        half = self.groups * self.width
        shape = (len(sums), self.groups, self.width)
        return sums[:, :half].reshape(shape), sums[:, half:-1].reshape(shape), sums[:, -1:]

    def _difference(self, a: Tensor, b: Tensor, rows: Tensor) -> Tensor:
        return (self.norm(a, rows) - self.norm(b, rows)).sum(-1)
