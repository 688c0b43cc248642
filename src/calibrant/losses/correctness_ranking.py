r"""Correctness ranking (CRL): of two samples the one more often right so far must be the more confident."""

from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.multipliers import sum_over_processes
from calibrant.losses.registry import register

Confidence = Literal["softmax", "margin", "entropy"]


def ranking_confidence(logits: Tensor, kind: Confidence) -> Tensor:
    r"""Return the (N,) confidence in [0, 1] of (N, C) logits that is ranked.

    Args:
        logits: (N, C).
        kind: "softmax", the largest probability; "margin", the largest less the second; "entropy",
            $1 - H(p) / \log C$.

    Example:
        >>> logits = torch.tensor([[0.6, 0.3, 0.1]]).log()
        >>> [round(ranking_confidence(logits, kind).item(), 3) for kind in ("softmax", "margin", "entropy")]
        [0.6, 0.3, 0.183]
    """
    if kind == "entropy":
        log_p = logits.log_softmax(1)
        return 1 + (log_p.exp() * log_p).sum(1) / torch.log(log_p.new_tensor(float(logits.shape[1])))
    top = logits.softmax(1).topk(2, 1).values
    return top[:, 0] if kind == "softmax" else top[:, 0] - top[:, 1]


def ranking_hinge(confidence: Tensor, other: Tensor, sign: Tensor, margin: Tensor) -> Tensor:
    r"""Return $\max(0, -s (k - k') + m)$, and 0 where $s = 0$.

    Args:
        confidence: (N,) k.
        other: (N,) k', of the samples that they are compared with.
        sign: (N,) s: 1 where k must be the larger, -1 where the smaller, 0 where nothing is asked.
        margin: (N,) m, by how much.

    Example:
        >>> k, other = torch.tensor([0.9, 0.5, 0.5]), torch.tensor([0.5, 0.9, 0.9])
        >>> ranking_hinge(k, other, torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.5, 0.5, 0.0]))
        tensor([0.1000, 0.9000, 0.0000])
    """
    return torch.where(sign == 0, torch.zeros_like(confidence), (margin - sign * (confidence - other)).relu())


@register("crl")
class CorrectnessRanking(Loss):
    r"""Correctness ranking loss (CRL): cross-entropy, and an order of the confidences learned from the past.

    $$L = -\log p_y + w \max\big(0, -s_i (\kappa_i - \kappa_{i+1}) + m_i\big), \quad
      s_i = \mathrm{sign}(c_i - c_{i+1}), \; m_i = |c_i - c_{i+1}|$$

    Each sample of a batch is compared with the next that counts, the last one with the first: a row's value
    depends on the order of the batch. $c_i$ is the number of epochs in which sample i was right, brought to
    [0, 1] by the least of all samples and the number of epochs; equal ones cost nothing, so that the first
    epoch is plain cross-entropy.

    The counts are learned: call `observe` with `index` on every training batch and `step_epoch` at the end of
    each epoch, which lets them take effect, summed over all processes. They live in the state dict.

    Args:
        num_samples: number of training samples; `index` lies in [0, num_samples).
        rank_weight: w; 1 published.
        confidence: $\kappa$: "softmax", "margin" or "entropy"; see `ranking_confidence`.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Shape:
        - logits: (N, C); target: (N,) or (N, C); index: (N,).

    Raises:
        InputError: dense logits, an index out of range, an unknown confidence.

    Example:
        >>> loss = CorrectnessRanking(num_samples=2)
        >>> logits, target, ids = torch.tensor([[2.0, 0.0], [3.0, 0.0]]), torch.tensor([0, 1]), torch.arange(2)
        >>> loss.observe(logits, target, index=ids)
        >>> loss.step_epoch()
        >>> loss.targets(torch.tensor([0]), torch.tensor([1]))
        (tensor([1.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
        >>> loss(logits, target, index=ids), loss.terms["ranking"]
        (tensor(2.6595), tensor(1.0718))

    Moon, Kim, Shin, Hwang: "Confidence-Aware Learning for Deep Neural Networks", ICML 2020.
    """

    needs_index = True
    correct: Tensor
    observed: Tensor
    epoch: Tensor

    def __init__(
        self,
        num_samples: int,
        rank_weight: float = 1.0,
        confidence: Confidence = "softmax",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        check_choice("confidence", confidence, ("softmax", "margin", "entropy"))
        if num_samples < 1:
            raise InputError(
                f"num_samples, the number of training samples, must be positive, not {num_samples}."
            )
        self.num_samples, self.rank_weight = num_samples, rank_weight
        self.confidence: Confidence = confidence
        self.register_buffer("correct", torch.zeros(num_samples, dtype=torch.int64))
        self.register_buffer("observed", torch.zeros(num_samples, dtype=torch.int64))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def targets(self, index: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return sign and margin by which the samples `index` must be more confident than `other`, float64."""
        # A sample that is visited twice in an epoch may be right more often than there were epochs.
        span = torch.maximum(self.epoch, self.correct.max()) - self.correct.min()
        difference = (self.correct[index] - self.correct[other]).double() / span.clamp(min=1)
        return difference.sign(), difference.abs()

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row and its rank against the next."""
        index = self._check(batch)
        following = _next_valid(batch)
        sign, margin = (part.to(batch.logits.dtype) for part in self.targets(index, index[following]))
        confidence = ranking_confidence(batch.logits, self.confidence)
        ranking = ranking_hinge(confidence, confidence[following], sign, margin)
        return {"ce": cross_entropy(batch), "ranking": ranking}

    def term_weights(self) -> dict[str, float]:
        """Weigh the ranking."""
        return {"ranking": self.rank_weight}

    @torch.no_grad()
    def observe(self, logits: Tensor, target: Tensor, *, index: Tensor | None = None) -> None:
        """Take note of which samples of a training batch are right."""
        batch = self.prepare(logits, target, index)
        self.observed.index_add_(0, self._check(batch), batch.keep(batch.correct()).long())

    def step_epoch(self) -> None:
        """Let what was observed take effect."""
        self.epoch += 1
        sum_over_processes(self.observed)
        self.correct += self.observed
        self.observed.zero_()

    def _check(self, batch: Batch) -> Tensor:
        if batch.logits.dim() != 2 or batch.logits.shape[1] < 2:
            raise InputError(
                f"CorrectnessRanking compares samples: it takes logits (N, C) of two classes or more, not "
                f"{tuple(batch.logits.shape)}."
            )
        if batch.index is None:
            raise InputError("CorrectnessRanking learns per sample: pass index=ids, the ids of the samples.")
        wrong = (batch.index < 0) | (batch.index >= self.num_samples)
        if self._looks_at(batch.logits) and wrong.any():
            raise InputError(
                f"index must lie in [0, {self.num_samples}), the samples of num_samples, not "
                f"{int(batch.index[wrong][0])}."
            )
        return batch.index


def _next_valid(batch: Batch) -> Tensor:
    """Return for each row the position of the next one that counts, around the end; itself if there is none."""
    rows = len(batch.logits)
    place = torch.arange(rows, device=batch.logits.device)
    if batch.valid is None:
        return place.roll(-1)
    # Twice the rows in a line: the least valid place at or behind each, from the back.
    valid = torch.cat([batch.valid, batch.valid])
    line = torch.where(valid, torch.arange(2 * rows, device=place.device), 2 * rows)
    behind = line.flip(0).cummin(0).values.flip(0)[1 : rows + 1]
    return torch.where(behind < 2 * rows, behind % max(rows, 1), place)
