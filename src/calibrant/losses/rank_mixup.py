r"""RankMixup: a sample must be more confident than what it is mixed into."""

from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy

Ranking = Literal["margin", "ndcg"]
Pairs = Literal["own", "reference"]

_SAME_CLASS = 1 - 1e-6


def margin_ranking(logits: Tensor, mixed_logits: Tensor, margin: float) -> Tensor:
    r"""Return $\max(0, \max_k \tilde z_k - \max_k z_k + m)$ of each sample with each of its M mixtures.

    Args:
        logits: (N, C, *) of the samples.
        mixed_logits: (M, N, C, *) of their mixtures.
        margin: m, by which the largest logit of the sample must exceed that of the mixture.

    Returns:
        (M, N, *). The gradient of a tied maximum goes to one of the tied classes.

    Example:
        >>> margin_ranking(torch.tensor([[3.0, 0.0]]), torch.tensor([[[2.5, 1.0]]]), margin=2.0)
        tensor([[1.5000]])
    """
    return (mixed_logits.max(2).values - logits.max(1).values + margin).relu()


def ndcg_ranking(logits: Tensor, mixed_logits: Tensor, mixed_target: Tensor) -> Tensor:
    r"""Return 1 less the NDCG of the confidences of each sample and its M mixtures (M-NDCG).

    The sample comes first with relevance 1, its mixtures after it by falling relevance, which is their largest
    target. $\mathrm{DCG} = \sum_i r_i / \log_2(i + 1)$ sums the confidences, the ideal IDCG the relevances; the
    smaller is divided by the larger.

    Args:
        logits: (N, C, *) of the samples.
        mixed_logits: (M, N, C, *) of their mixtures.
        mixed_target: (M, N, C, *) soft targets of the mixtures.

    Returns:
        (N, *). The gradient of a tied maximum goes to one of the tied classes.

    Example:
        >>> mixture = torch.tensor([[[0.0, 0.0]]])
        >>> ndcg_ranking(torch.tensor([[2.0, 0.0]]), mixture, torch.tensor([[[0.7, 0.3]]]))
        tensor([0.1702])
    """
    relevance, order = mixed_target.amax(2).sort(dim=0, descending=True, stable=True)
    top = logits.softmax(1).max(1).values
    mixed_top = mixed_logits.softmax(2).max(2).values.gather(0, order)
    confidences = torch.cat([top.unsqueeze(0), mixed_top])
    ideal = torch.cat([torch.ones_like(top).unsqueeze(0), relevance.to(top.dtype)])
    discount = torch.arange(2, 2 + len(ideal), dtype=top.dtype, device=top.device).log2()
    discount = discount.view(-1, *[1] * top.dim())
    dcg, idcg = (confidences / discount).sum(0), (ideal / discount).sum(0)
    return 1 - torch.where(idcg > dcg, dcg / idcg, idcg / dcg)


class RankMixup(Loss):
    r"""Cross-entropy of the samples plus a penalty where a mixture is ranked wrongly by confidence.

    $$L = -\log p_y + \alpha \, R(z, \tilde z)$$

    R is `margin_ranking` (MRL), 0 for a mixture of one class only, or `ndcg_ranking` (M-NDCG), averaged over
    the samples that count and their mixtures. The mixtures take no part in the cross-entropy.

    It compares two sets of logits, so that it is not to be had by name: a loop that knows nothing of mixtures
    would train plain cross-entropy under its name. Recipes have it as a way of mixing, `train.mix.name
    rank_mixup`. In evaluation mode, without mixtures, it is cross-entropy.

    Args:
        ranking: "margin" or "ndcg".
        alpha: weight of the ranking; 0.1 published.
        margin: m of the margin ranking. Published: 2 on CIFAR, 1 on Tiny-ImageNet.
        pairs: "own" compares each sample with its own mixtures; "reference" multiplies the mean of the margin
            rankings by the share of the mixtures that have two classes, as the published code comes to do by
            a product of shapes (B,) and (B, 1).
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the cross-entropy alone.

    Shape:
        - mixed_logits: (M N, C, *): the first mixture of each of the N samples, then the second, and so on.
          Published: M = 1 for the margin ranking, 3 for the NDCG.
        - mixed_target: (M N, C, *) their soft targets, as `MixedPair.soft_target` gives them.

    Example:
        >>> loss = RankMixup()
        >>> logits, mixed = torch.tensor([[3.0, 0.0]]), torch.tensor([[2.5, 1.0]])
        >>> loss(logits, torch.tensor([0]), mixed_logits=mixed, mixed_target=torch.tensor([[0.6, 0.4]]))
        tensor(0.1986)
        >>> loss.terms
        {'ce': tensor(0.0486), 'mixup': tensor(1.5000)}

    Noh, Park, Lee, Ham: "RankMixup: Ranking-Based Mixup Training for Network Calibration", ICCV 2023.
    """

    batch_level = True

    def __init__(
        self,
        ranking: Ranking = "margin",
        alpha: float = 0.1,
        margin: float = 2.0,
        *,
        pairs: Pairs = "own",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        check_choice("ranking", ranking, ("margin", "ndcg"))
        check_choice("pairs", pairs, ("own", "reference"))
        self.alpha, self.margin = alpha, margin
        self.ranking: Ranking = ranking
        self.pairs: Pairs = pairs

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row."""
        return {"ce": cross_entropy(batch)}

    def term_weights(self) -> dict[str, float]:
        """Weigh the ranking by alpha."""
        return {"mixup": self.alpha}

    def forward(
        self,
        logits: Tensor,
        target: Tensor,
        *,
        index: Tensor | None = None,
        mixed_logits: Tensor | None = None,
        mixed_target: Tensor | None = None,
    ) -> Tensor:
        """Return the loss of a batch and its mixtures."""
        if mixed_logits is None or mixed_target is None:
            if self.training:
                raise InputError(
                    "RankMixup ranks samples against their mixtures: pass mixed_logits and mixed_target."
                )
            return super().forward(logits, target, index=index)
        with torch.autocast(logits.device.type, enabled=False):
            loss = super().forward(logits, target, index=index)
            _check_mixtures(logits, mixed_logits, mixed_target)
            batch = self.prepare(logits, target, index)
            ranking = self._rank(batch, mixed_logits, mixed_target)
            self.terms["mixup"] = ranking.detach()
            return loss + self.alpha * (ranking * batch.count() if self.reduction == "sum" else ranking)

    def _rank(self, batch: Batch, mixed_logits: Tensor, mixed_target: Tensor) -> Tensor:
        """Return the mean ranking of a batch, (M N, C, *) mixtures given."""
        rows = batch.logits.shape
        each = (max(1, len(mixed_logits) // max(1, rows[0])), *rows)
        mixed_logits = mixed_logits.to(batch.logits.dtype).reshape(each)
        mixed_target = mixed_target.reshape(each)
        if self.ranking == "ndcg":
            return batch.mean(ndcg_ranking(batch.logits, mixed_logits, mixed_target))
        rank = margin_ranking(batch.logits, mixed_logits, self.margin)
        # The weights of a pair of one class may sum to a little less than 1.
        two_classes = (mixed_target.amax(2) < _SAME_CLASS).to(rank.dtype)
        if self.pairs == "reference":
            return batch.mean(two_classes.mean(0)) * batch.mean(rank.mean(0))
        return batch.mean((two_classes * rank).mean(0))


def _check_mixtures(logits: Tensor, mixed_logits: Tensor, mixed_target: Tensor) -> None:
    whole = len(mixed_logits) % max(1, len(logits)) == 0 and (len(mixed_logits) > 0) == (len(logits) > 0)
    if not whole or mixed_logits.shape[1:] != logits.shape[1:]:
        raise InputError(
            f"mixed_logits of shape {tuple(mixed_logits.shape)} are not one or several mixtures of each sample "
            f"of logits of shape {tuple(logits.shape)}."
        )
    if mixed_target.shape != mixed_logits.shape or not mixed_target.is_floating_point():
        raise InputError(
            f"mixed_target of shape {tuple(mixed_target.shape)} and type {mixed_target.dtype} must hold "
            f"probabilities of the shape of mixed_logits, {tuple(mixed_logits.shape)}."
        )
