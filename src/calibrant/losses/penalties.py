r"""Cross-entropy with a penalty on the probabilities: their entropy, or their distance from uniform."""

from typing import Literal, Unpack

from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.focal import power_of_missing
from calibrant.losses.registry import register


@register("ecp")
class EntropyPenalty(Loss):
    r"""Explicit confidence penalty (ECP): cross-entropy with a reward for entropy.

    $$L = -\log p_y - \alpha \, (1-p_y)^\gamma H(p), \quad H \text{ the entropy in nats}$$

    Args:
        alpha: weight of the entropy.
        class_reduction: "sum" over the classes, the definition of entropy; "mean" divides it by C, as the code
            of MbLS, CALS and ACLS does: its published alpha of 0.1 belongs to "mean".
        gamma: focuses the penalty on samples with a small label probability; 0 for all alike.
        clamp: smallest probability inside the entropy; the published code has 1e-10, below which no gradient
            flows. 0 needs no clamp.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> loss = EntropyPenalty(alpha=0.1)
        >>> loss(torch.tensor([[0.0, 0.0]]), torch.tensor([0])), loss.terms["entropy"]
        (tensor(0.6238), tensor(0.6931))

    Pereyra, Tucker, Chorowski, Kaiser, Hinton: "Regularizing Neural Networks by Penalizing Confident Output
    Distributions", ICLR workshop 2017.
    """

    def __init__(
        self,
        alpha: float = 0.1,
        *,
        class_reduction: Literal["sum", "mean"] = "sum",
        gamma: float = 0.0,
        clamp: float = 0.0,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        check_choice("class_reduction", class_reduction, ("sum", "mean"))
        self.alpha, self.class_reduction, self.gamma, self.clamp = alpha, class_reduction, gamma, clamp

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the entropy of each row."""
        log_p = batch.logits.log_softmax(1)
        p = log_p.exp()
        if self.clamp > 0:
            p = p.clamp(self.clamp, 1 - self.clamp)
            surprise = p * p.log()
        else:
            surprise = p * log_p
        entropy = -(surprise.mean(1) if self.class_reduction == "mean" else surprise.sum(1))
        if self.gamma:
            entropy = power_of_missing(batch.at_target(log_p), self.gamma) * entropy
        return {"ce": -batch.at_target(log_p), "entropy": entropy}

    def term_weights(self) -> dict[str, float]:
        """Reward the entropy by alpha."""
        return {"entropy": -self.alpha}


@register("l1")
class ProbabilityL1(Loss):
    r"""Cross-entropy with a penalty on the distance of the probabilities from uniform.

    $$L = -\log p_y + \alpha \sum_k |p_k - 1/C|$$

    Args:
        alpha: weight of the distance.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> ProbabilityL1(alpha=0.1)(torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
        tensor(0.2031)
    """

    def __init__(self, alpha: float = 0.1, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        self.alpha = alpha

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the distance from uniform of each row."""
        distance = (batch.logits.softmax(1) - 1 / batch.logits.shape[1]).abs().sum(1)
        return {"ce": cross_entropy(batch), "l1": distance}

    def term_weights(self) -> dict[str, float]:
        """Weigh the distance by alpha."""
        return {"l1": self.alpha}


@register("brier")
class BrierLoss(Loss):
    r"""Brier score: the squared distance between probabilities and target.

    $$L = \sum_k (p_k - t_k)^2, \quad \text{neither halved nor divided by } C$$

    Its gradient vanishes where a wrong prediction is saturated, so training starts slowly.

    Args:
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> BrierLoss()(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor(0.5000)

    Brier: "Verification of Forecasts Expressed in Terms of Probability", Monthly Weather Review 1950.
    """

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the Brier score of each row."""
        p = batch.logits.softmax(1)
        if batch.soft:
            return {"brier": (p - batch.target).square().sum(1)}
        label = batch.at_target(p)
        return {"brier": p.square().sum(1) - label.square() + (1 - label).square()}


@register("poly1")
class Poly1(Loss):
    r"""Poly-1: cross-entropy with its first polynomial coefficient changed.

    $$L = -\log p_y + \epsilon \, (1 - p_y)$$

    Args:
        epsilon: above 0 it sharpens, between -1 and 0 it smooths. Published: 1.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> Poly1()(torch.tensor([[0.0, 0.0]]), torch.tensor([0]))
        tensor(1.1931)

    Leng, Tan, Liu, Cubuk, Shi, Cheng, Anguelov: "PolyLoss: A Polynomial Expansion Perspective of
    Classification Loss Functions", ICLR 2022.
    """

    def __init__(self, epsilon: float = 1.0, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        if epsilon <= -1:
            raise InputError(f"epsilon must lie above -1, not {epsilon}: the loss would reward wrong labels.")
        self.epsilon = epsilon

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy and the missing probability of each row."""
        log_p = batch.logits.log_softmax(1)
        return {"ce": -batch.at_target(log_p), "missing": batch.at_target(1 - log_p.exp())}

    def term_weights(self) -> dict[str, float]:
        """Weigh the missing probability by epsilon."""
        return {"missing": self.epsilon}


@register("logit_norm")
class LogitNorm(Loss):
    r"""LogitNorm: cross-entropy of the logits brought to one length.

    $$L = -\log \mathrm{softmax}\big(z / ((\|z\|_2 + 10^{-7}) \, \tau)\big)_y$$

    Two logits can differ by at most $\sqrt 2 / \tau$, so the loss has a floor above 0. It is not invariant to
    a common shift of the logits. Evaluate on the raw logits, after temperature scaling.

    Args:
        tau: temperature, above 0. Published: 0.01 to 0.04 for CIFAR-10.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> LogitNorm(tau=1.0)(torch.tensor([[3.0, 4.0]]), torch.tensor([1]))
        tensor(0.5981)

    Wei, Xie, Cheng, Feng, An, Li: "Mitigating Neural Network Overconfidence with Logit Normalization",
    ICML 2022.
    """

    def __init__(self, tau: float = 0.04, **settings: Unpack[Settings]) -> None:
        super().__init__(**settings)
        if not tau > 0:
            raise InputError(f"tau must lie above 0, not {tau}.")
        self.tau = tau

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row's normalised logits."""
        norm = batch.logits.norm(dim=1, keepdim=True) + 1e-7
        return {"ce": -batch.at_target((batch.logits / (norm * self.tau)).log_softmax(1))}
