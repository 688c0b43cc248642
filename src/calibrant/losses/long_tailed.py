r"""Losses that move the logits by what is known of the class frequencies: margins and priors."""

from typing import Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.counts import Counts, check_counts, is_label, of_label
from calibrant.losses.multipliers import along_classes
from calibrant.losses.registry import register


def ldam_margins(class_counts: Counts, max_margin: float = 0.5) -> Tensor:
    r"""Return the margins $m_k = m \, (n_k / n_{min})^{-1/4}$ of the classes, (C,) float64.

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        max_margin: m, the margin of the smallest class.

    Example:
        >>> ldam_margins([1600, 100])
        tensor([0.2500, 0.5000], dtype=torch.float64)
    """
    if not max_margin >= 0:
        raise InputError(f"max_margin must be at least 0, not {max_margin}.")
    counts = check_counts(class_counts)
    return max_margin * (counts / counts.min()) ** -0.25


@register("ldam")
class LDAM(Loss):
    r"""Label-distribution-aware margin loss: cross-entropy on scaled cosines, the label's less a margin.

    $$L = -\log \frac{e^{s (z_y - m_y)}}{e^{s (z_y - m_y)} + \sum_{k \ne y} e^{s z_k}},
    \quad m_k = m \, (n_k / n_{min})^{-1/4}$$

    The logits are **cosines** in [-1, 1]: features and rows of the last layer normalised to length 1, no bias.

    **Calibration trap**: the network was trained on s times its logits, so the probabilities of a test image
    are `softmax(scale * logits)`. A softmax of the bare cosines, which is what the published code's test logits
    lead to, is nearly uniform and its calibration error meaningless.

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        max_margin: m, the margin of the smallest class. Published: 0.5.
        scale: s, above 0. Published: 30.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`. Deferred re-weighting assigns
            `deferred_weights(…)` to `weight` at the beginning of an epoch.

    Takes class indices only, since the margin is the label's; `mixed_loss` applies it to a mixed pair.

    Example:
        >>> import torch
        >>> loss = LDAM([1600, 100])
        >>> loss(torch.tensor([[0.9, 0.1], [0.2, 0.4]]), torch.tensor([0, 1]))
        tensor(4.5001)

    Cao, Wei, Gaidon, Arechiga, Ma: "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019.
    """

    soft_targets = False
    margins: Tensor

    def __init__(
        self,
        class_counts: Counts,
        max_margin: float = 0.5,
        scale: float = 30.0,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if not scale > 0:
            raise InputError(f"scale must be above 0, not {scale}.")
        self.max_margin, self.scale = max_margin, scale
        self.register_buffer("margins", ldam_margins(class_counts, max_margin), persistent=False)

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row after the margin."""
        margin = of_label(batch, self.margins).unsqueeze(1)
        moved = torch.where(is_label(batch), batch.logits - margin, batch.logits)
        return {"ce": -batch.at_target((self.scale * moved).log_softmax(1))}


@register("logit_adjustment")
class LogitAdjustment(Loss):
    r"""Logit adjustment: cross-entropy on logits moved by the logarithm of the class frequencies.

    $$L = -\log \mathrm{softmax}(z + \tau \log \pi)_y$$

    The network learns what is left once the class frequencies $\pi_k = n_k / \sum_j n_j$ are accounted for;
    its bare logits, `softmax(logits)`, are then the prediction for balanced classes. For data with the training
    frequencies add $\tau \log \pi$ again before the softmax.

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        tau: strength of the adjustment; 1 is the prior itself, 0 plain cross-entropy.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> loss = LogitAdjustment([90, 10])
        >>> loss(torch.zeros(1, 2), torch.tensor([1]))
        tensor(2.3026)

    Menon, Jayasumana, Rawat, Jain, Veit, Kumar: "Long-Tail Learning via Logit Adjustment", ICLR 2021.
    """

    adjustment: Tensor

    def __init__(self, class_counts: Counts, tau: float = 1.0, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        if not tau >= 0:
            raise InputError(f"tau must be at least 0, not {tau}.")
        counts = check_counts(class_counts)
        self.tau = tau
        self.register_buffer("adjustment", tau * (counts / counts.sum()).log(), persistent=False)

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row under the adjusted logits."""
        adjusted = batch.logits + along_classes(self.adjustment, batch.logits)
        return {"ce": -batch.at_target(adjusted.log_softmax(1))}


@register("balanced_softmax")
class BalancedSoftmax(LogitAdjustment):
    r"""Balanced softmax: a softmax in which each class counts as often as it occurs in training.

    $$L = -\log \frac{n_y e^{z_y}}{\sum_k n_k e^{z_k}}$$

    Logit adjustment with $\tau = 1$; at test time the bare logits are used.

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> loss = BalancedSoftmax([90, 10])
        >>> loss(torch.tensor([[0.0, 1.0]]), torch.tensor([1]))
        tensor(1.4612)

    Ren, Yu, Sheng, Ma, Zhao, Yi, Li: "Balanced Meta-Softmax for Long-Tailed Visual Recognition", NeurIPS 2020.
    """

    def __init__(self, class_counts: Counts, **settings: Unpack[Settings]) -> None:
        super().__init__(class_counts, tau=1.0, **settings)
