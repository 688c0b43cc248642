"""Is method A better calibrated than method B? A randomisation test on the same samples."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics.binning import bin_index, convention
from calibrant.metrics.functional import aece
from calibrant.metrics.rows import Inputs, Piece, Rows, checked

#: Numbers that are held at a time.
_BUDGET = 16_000_000
#: Share of samples in a bin below which its sums are taken over them alone.
_SPARSE = 1 / 32
METRICS = ("accuracy", "nll", "brier", "ece", "aece", "classwise_ece", "mce")


class PairedTest(NamedTuple):
    """Difference of a metric between two methods, A minus B, with its interval and p-value.

    Attributes:
        difference: of the metric, A minus B; negative where A has less of it.
        low: lower end of the interval of the difference.
        high: upper end.
        p_value: of the hypothesis that the two do not differ.
    """

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
        metric: one of accuracy, nll, brier, ece, aece, classwise_ece, mce. For aece the test and the width of
            the interval hold the edges of the bins at the quantiles of A and B pooled.
        n_bins: number of bins of the binned metrics.
        ignore_index: label, or labels, that count nowhere.
        draws: number of random swaps, and of bootstrap draws. The least p-value is 1 / (1 + draws).
        seed: of both.
        level: of the interval.

    Returns:
        `PairedTest`; a negative difference says that A has the lower metric.

    Raises:
        InputError: unknown metric, different numbers of seeds, values that do not fit the target, no sample
            that counts, an infinite negative log-likelihood.

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
            f"A has {len(runs_a)} seeds and B has {len(runs_b)}: give as many of each, one pair a seed."
        )
    if not 0 < level < 1:
        raise InputError(f"level must lie between 0 and 1, such as 0.95, not {level}.")
    pairs = [
        tuple(_Predictions(checked(v, target, inputs=inputs, ignore_index=ignore_index)) for v in pair)
        for pair in zip(runs_a, runs_b, strict=True)
    ]
    sizes = pairs[0][0].sizes
    if not sizes.any():
        raise InputError("There is no sample to compare: the target is empty, or every label is ignored.")
    difference = None
    if metric == "aece":
        own = [
            aece(v, target, inputs=inputs, n_bins=n_bins, ignore_index=ignore_index) for v in runs_a + runs_b
        ]
        difference = float(torch.stack(own).reshape(2, -1).mean(1).diff().neg())
    blocks = (block for a, b in pairs for block in _blocks(metric, a, b, n_bins))
    parts = len(pairs) * (pairs[0][0].classes if metric == "classwise_ece" else 1)
    return paired_sums(
        blocks, sizes, metric, parts=parts, difference=difference, draws=draws, seed=seed, level=level
    )


def paired_sums(
    blocks: Iterable[tuple[Tensor, Tensor]],
    sizes: Tensor,
    metric: str,
    *,
    parts: int = 1,
    difference: float | None = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> PairedTest:
    """Return what `paired_test` does, from what each sample, or group of samples, adds to sums.

    Args:
        blocks: (N, K) sums for A and for B: of scores with K = 1; of the residuals (confidence less
            correctness) by bin; for mce of the residuals and, beside them, the counts. One such block a class
            for classwise_ece.
        sizes: (N,) rows of each sample.
        metric: as in `paired_test`.
        parts: over how many blocks the metric is a mean.
        difference: the observed difference, where it is not that of the sums.
        draws: number of random swaps, and of bootstrap draws.
        seed: of both.
        level: of the interval.
    """
    observed, swapped, resampled = 0.0, torch.zeros(draws).double(), torch.zeros(draws).double()
    for pack in _packed(iter(blocks), len(sizes)):
        part = _Draws(pack, sizes, _norm(metric))
        observed += part.observed()
        replicates = [part.replicates(signs) for signs in _signs(draws, len(sizes), seed)]
        swapped += torch.cat([swap for swap, _ in replicates])
        resampled += torch.cat([resample for _, resample in replicates])
    if not math.isfinite(observed):
        raise InputError(f"The {metric} is infinite: a label has probability 0, so no difference can be taken.")
    scale = 1 / parts
    extreme = int((swapped.abs() >= abs(observed) * (1 - 1e-9) - 1e-9).sum())
    if difference is None:
        difference = observed * scale
    tails = torch.tensor([(1 + level) / 2, (1 - level) / 2], dtype=torch.float64)
    low, high = (difference - torch.quantile((resampled - observed) * scale, tails)).tolist()
    return PairedTest(difference, low, high, (1 + extreme) / (1 + draws))


def paired_test_of_sums(
    sums_a: Sequence[Mapping[str, Tensor]],
    sums_b: Sequence[Mapping[str, Tensor]],
    metric: str,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> PairedTest:
    """Return what `paired_test` does, from the sums of each sample, or group of samples, by name.

    Args:
        sums_a: of method A, one mapping a seed: the number of "rows" (N,), "accuracy", "nll" and "brier" (N,)
            summed over them, "top_count" and "top_residual" (N, B), the rows and the sum of confidence less
            correctness by bin, and "class_residual" (N, C, B), the latter for each class.
        sums_b: of method B; as many as of A.
        metric: accuracy, nll, brier, ece, classwise_ece or mce.
        draws: number of random swaps, and of bootstrap draws.
        seed: of both.
    """
    pairs = [
        zip(_sum_blocks(a, metric), _sum_blocks(b, metric), strict=True)
        for a, b in zip(sums_a, sums_b, strict=True)
    ]
    classes = sums_a[0]["class_residual"].shape[1] if metric == "classwise_ece" else 1
    return paired_sums(
        chain.from_iterable(pairs),
        sums_a[0]["rows"],
        metric,
        parts=len(pairs) * classes,
        draws=draws,
        seed=seed,
    )


def _sum_blocks(sums: Mapping[str, Tensor], metric: str) -> list[Tensor]:
    if metric == "ece":
        return [sums["top_residual"]]
    if metric == "mce":
        return [torch.cat([sums["top_residual"], sums["top_count"]], 1)]
    if metric == "classwise_ece":
        return list(sums["class_residual"].unbind(1))
    return [sums[metric].unsqueeze(1)]


def _runs(values: Tensor | Sequence[Tensor]) -> list[Tensor]:
    runs = [values] if isinstance(values, Tensor) else list(values)
    if not runs:
        raise InputError("There is nothing to compare: give the predictions of at least one seed.")
    return runs


class _Predictions:
    """The rows of one network that count, and the sample to which each belongs."""

    def __init__(self, rows: Rows) -> None:
        self.piece = Piece(rows.values, rows.target, rows.valid, rows.inputs, rows)
        self.classes = max(rows.values.shape[1], 2)
        samples = torch.arange(len(rows.values), device=rows.values.device).unsqueeze(1)
        self.sample = self.piece.counted(samples.expand_as(rows.target))
        self.sizes = torch.bincount(self.sample, minlength=len(rows.values)).double()

    def per_sample(self, columns: Tensor) -> Tensor:
        """Sum (rows, K) over the rows of each sample, (N, K)."""
        if len(columns) == len(self.sizes):
            return columns
        zeros = columns.new_zeros((len(self.sizes), columns.shape[1]))
        return zeros.index_add(0, self.sample, columns)

    def scores(self, metric: str) -> Tensor:
        """(N, 1) sums of a metric that is a mean over rows."""
        piece = self.piece
        rows = {"accuracy": lambda: piece.correct, "nll": lambda: piece.nll, "brier": lambda: piece.brier}[
            metric
        ]()
        return self.per_sample(rows.double().unsqueeze(1))

    def residuals(self, confidence: Tensor, correct: Tensor, index: Tensor, bins: int, counts: bool) -> Tensor:
        """(N, bins) sums of confidence minus correctness; with the counts beside them if asked."""
        columns = torch.zeros(
            (len(index), 2 * bins if counts else bins), dtype=torch.float64, device=index.device
        )
        columns.scatter_(1, index.unsqueeze(1), (confidence.double() - correct.double()).unsqueeze(1))
        if counts:
            columns.scatter_(1, index.unsqueeze(1) + bins, 1.0)
        return self.per_sample(columns)


def _blocks(metric: str, a: _Predictions, b: _Predictions, n_bins: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for A and B what each sample adds to the sums of which the metric is a function, (N, K)."""
    rule = convention("calibrant")
    if metric in ("accuracy", "nll", "brier"):
        yield a.scores(metric), b.scores(metric)
    elif metric == "classwise_ece":
        for c in range(a.classes):
            columns = []
            for run in (a, b):
                probs = run.piece.counted(run.piece.probs[:, c]).contiguous()
                index = bin_index(probs, n_bins, rule)
                columns.append(run.residuals(probs, run.piece.labels == c, index, n_bins, counts=False))
            yield columns[0], columns[1]
    else:
        tops = [run.piece.confidence for run in (a, b)]
        if metric == "aece":
            pooled = torch.cat(tops).sort().values
            ranks = (torch.arange(1, n_bins, device=pooled.device) * len(pooled) + n_bins - 1) // n_bins
            edges = pooled[(ranks - 1).clamp(min=0)]
            indices = [torch.bucketize(top, edges) for top in tops]
        else:
            indices = [bin_index(top, n_bins, rule) for top in tops]
        columns = [
            run.residuals(top, run.piece.correct, index, n_bins, counts=metric == "mce")
            for run, top, index in zip((a, b), tops, indices, strict=True)
        ]
        yield columns[0], columns[1]


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
        columns = torch.cat([a for a, _ in pack] + [b for _, b in pack] + [sizes.unsqueeze(1)], 1)
        self.total = columns.sum(0)
        self.norm = norm
        # Of many classes hardly a sample is in any bin but the lowest.
        self.sparse = columns.count_nonzero(0) < _SPARSE * len(columns)
        self.few = columns[:, self.sparse].T.to_sparse()
        self.many = columns[:, ~self.sparse]

    def observed(self) -> float:
        a, b, rows = self._split(self.total.unsqueeze(0))
        return float(self._difference(a, b, rows))

    def replicates(self, signs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R,) differences after swapping where the sign is -1, and after doubling where it is +1."""
        signs = signs.to(self.many.device)
        signed = signs.new_empty(len(signs), len(self.total))
        signed[:, ~self.sparse] = signs @ self.many
        signed[:, self.sparse] = (self.few @ signs.T.contiguous()).T
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
