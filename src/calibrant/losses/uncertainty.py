r"""Accuracy versus uncertainty (AvUC, S-AvUC) and the soft-binned ECE: differentiable measures of a batch."""

import math
from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.confidence import confidence
from calibrant.losses.registry import register

Variant = Literal["intel", "google"]

_IN_LOG = 1e-10
_FLOOR = 1e-5
_UNDER_ROOT = 1e-10
_FROM_THE_ENDS = 1e-6


def entropy(log_p: Tensor, variant: Variant) -> Tensor:
    r"""Return $-\sum_k p_k \log p_k$ in nats, (N, *), guarded against p = 0 as the published code is.

    Args:
        log_p: (N, C, *) log-probabilities.
        variant: "intel" adds 1e-10 to p within the logarithm; "google" mixes 1e-5 of the uniform distribution
            into p.

    Example:
        >>> entropy(torch.tensor([[0.5, 0.5]]).log(), "google")
        tensor([0.6931])
    """
    p = log_p.exp()
    if variant == "google":
        p = (1 - _FLOOR) * p + _FLOOR / log_p.shape[1]
        return -(p * p.log()).sum(1)
    return -(p * (p + _IN_LOG).log()).sum(1)


def _log_ratio(good: Tensor, bad: Tensor, variant: Variant) -> Tensor:
    """Return the loss of the soft counts of what is as it should be and what is not; 0 where both are 0."""
    total = good + bad
    some = total > 0
    if variant == "intel":
        loss = -(good / torch.where(some, total, 1.0) + _IN_LOG).log()
    else:
        loss = (bad / good.clamp(min=_FLOOR)).log1p()
    return torch.where(some, loss, 0.0)


@register("avu")
class AvU(Loss):
    r"""Cross-entropy plus accuracy versus uncertainty (AvUC): be certain when right, uncertain when wrong.

    With the confidence r and the entropy u of each prediction, certain where $u \le t$, the four soft counts

    $$AC = \sum r (1 - \tanh u), \quad AU = \sum r \tanh u, \quad
      IC = \sum (1 - r)(1 - \tanh u), \quad IU = \sum (1 - r) \tanh u$$

    run over the accurate and certain, the accurate and uncertain, the inaccurate and certain, the inaccurate
    and uncertain rows of the batch, and

    $$L = -\log p_y - \beta \log \frac{AC + IU}{AC + AU + IC + IU}$$

    Args:
        beta: weight of the term.
        threshold: t in nats; None for half of the largest entropy, $\frac12 \log C$. The authors set it after
            some epochs of cross-entropy, from the mean entropies of right and of wrong predictions.
        variant: "intel", the authors' code: the formula above, 1e-10 added within each logarithm; or "google",
            that of Karandikar et al.: $\log(1 + (AU + IC) / \max(AC + IU, 10^{-5}))$, certain where $u < t$,
            1e-5 of the uniform distribution mixed into p within the entropy.
        detach_confidence: let no gradient flow through r.
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the cross-entropy alone.

    Ties: of tied classes the first is predicted and receives the gradient of the confidence.

    Example:
        >>> import torch
        >>> loss = AvU()
        >>> loss(torch.tensor([[4.0, 0.0], [0.0, 4.0], [0.5, 0.0]]), torch.tensor([0, 1, 0]))
        tensor(0.3542)
        >>> loss.terms
        {'ce': tensor(0.1701), 'avu': tensor(0.1840)}

    Krishnan, Tickoo: "Improving Model Calibration with Accuracy versus Uncertainty Optimization", NeurIPS 2020.
    """

    batch_level = True

    def __init__(
        self,
        beta: float = 1.0,
        threshold: float | None = None,
        *,
        variant: Variant = "intel",
        detach_confidence: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        check_choice("variant", variant, ("intel", "google"))
        if threshold is not None and not threshold > 0:
            raise InputError(f"threshold is an entropy in nats above 0, not {threshold}.")
        self.beta, self.threshold, self.detach_confidence = beta, threshold, detach_confidence
        self.variant: Variant = variant

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row and the term of the batch."""
        log_p = batch.logits.log_softmax(1)
        top, right = confidence(batch, log_p)
        if self.detach_confidence:
            top = top.detach()
        u = entropy(log_p, self.variant)
        threshold = math.log(log_p.shape[1]) / 2 if self.threshold is None else self.threshold
        certain = u <= threshold if self.variant == "intel" else u < threshold
        accurate = right > 0
        weight = torch.where(accurate, top, 1 - top) * torch.where(certain, 1 - u.tanh(), u.tanh())
        weight = batch.keep(weight)
        fitting = torch.where(accurate == certain, weight, 0.0).sum()
        return {
            "ce": -batch.at_target(log_p),
            "avu": _log_ratio(fitting, torch.where(accurate == certain, 0.0, weight).sum(), self.variant),
        }

    def term_weights(self) -> dict[str, float]:
        """Weigh the term by beta."""
        return {"avu": self.beta}


@register("soft_avu")
class SoftAvU(Loss):
    r"""Cross-entropy plus soft AvUC (S-AvUC), in which being certain is a matter of degree.

    With the entropy u, its share $h = u / \log C$ of the largest, and the degree of uncertainty
    $q = \sigma\big( \frac1T \log \frac{h (1-\kappa)}{(1-h) \kappa} \big)$:

    $$L = -\log p_y + \beta \log \Big( 1 + \frac{\sum_A q \tanh u + \sum_I (1-q)(1-\tanh u)}
        {\sum_A (1-q)(1-\tanh u) + \sum_I q \tanh u} \Big)$$

    over the accurate rows A and the inaccurate rows I of the batch. 1e-5 of the uniform distribution is mixed
    into p within the entropy, and h is kept 1e-6 away from 0 and 1, where a uniform prediction would make the
    gradient infinite.

    Args:
        beta: weight of the term.
        threshold: $\kappa$ in (0, 1), the share of the largest entropy at which q is one half.
        temperature: T > 0; the smaller, the closer to a hard threshold.
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the cross-entropy alone.

    Example:
        >>> import torch
        >>> loss = SoftAvU()
        >>> loss(torch.tensor([[4.0, 0.0], [0.0, 4.0], [0.5, 0.0]]), torch.tensor([0, 1, 0]))
        tensor(0.4783)
        >>> loss.terms
        {'ce': tensor(0.1701), 'avu': tensor(0.3082)}

    Karandikar, Cain, Tran, Lakshminarayanan, Shlens, Mozer, Roelofs: "Soft Calibration Objectives for Neural
    Networks", NeurIPS 2021.
    """

    batch_level = True

    def __init__(
        self,
        beta: float = 1.0,
        threshold: float = 0.5,
        temperature: float = 1.0,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if not 0 < threshold < 1:
            raise InputError(f"threshold is a share of the largest entropy between 0 and 1, not {threshold}.")
        _check_temperature(temperature)
        self.beta, self.threshold, self.temperature = beta, threshold, temperature

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row and the term of the batch."""
        log_p = batch.logits.log_softmax(1)
        _, right = confidence(batch, log_p)
        u = entropy(log_p, "google")
        share = torch.logit(u / math.log(log_p.shape[1]), eps=_FROM_THE_ENDS)
        degree = (share - math.log(self.threshold / (1 - self.threshold))) / self.temperature
        uncertain = degree.sigmoid() * u.tanh()
        certain = (-degree).sigmoid() * (1 - u.tanh())
        accurate = right > 0
        fitting = batch.keep(torch.where(accurate, certain, uncertain)).sum()
        unfitting = batch.keep(torch.where(accurate, uncertain, certain)).sum()
        return {"ce": -batch.at_target(log_p), "avu": _log_ratio(fitting, unfitting, "google")}

    def term_weights(self) -> dict[str, float]:
        """Weigh the term by beta."""
        return {"avu": self.beta}


def soft_membership(confidence: Tensor, anchors: Tensor, temperature: float) -> Tensor:
    r"""Return the (n, M) share of each of n confidences in each bin: softmax of $-(r - a_b)^2 / T$ over b."""
    return (-((confidence.unsqueeze(1) - anchors) ** 2) / temperature).softmax(1)


@register("sb_ece")
class SoftBinnedECE(Loss):
    r"""Cross-entropy plus the soft-binned expected calibration error (SB-ECE).

    Each confidence r belongs to every one of M bins in part, $s_b \propto e^{-(r - a_b)^2 / T}$ with $a_b$ the
    centre of the bin; the bins have mean confidences $\bar r_b$, accuracies $\bar c_b$ and shares $w_b$ of the
    batch:

    $$L = -\log p_y + \beta \Big( \sum_b w_b (\bar r_b - \bar c_b)^2 + 10^{-10} \Big)^{1/2}$$

    Args:
        beta: weight of the term.
        bins: M.
        temperature: T > 0.
        decay: the factor by which membership falls from the centre of a bin to the next, above 1; it sets
            $T = 1 / (M^2 \log \mathrm{decay})$ in place of `temperature`.
        label_binned: compare each confidence with the accuracy of its bins instead,
            $\frac1n \sum_i \sum_b s_{ib} (\bar c_b - r_i)^2$, the bins spread over [1/C, 1], where confidences
            lie, and 1e-5 of equal membership mixed in.
        **settings: `weight`, `ignore_index` and `reduction` ("mean" or "sum") of `Loss`; the class weights act
            on the cross-entropy alone.

    Ties: of tied classes the first is predicted and receives the gradient of the confidence.

    Example:
        >>> import torch
        >>> loss = SoftBinnedECE()
        >>> loss(torch.tensor([[4.0, 0.0], [0.0, 4.0], [0.5, 0.0]]), torch.tensor([0, 1, 0]))
        tensor(0.3872)
        >>> loss.terms
        {'ce': tensor(0.1701), 'sb_ece': tensor(0.2170)}

    Karandikar, Cain, Tran, Lakshminarayanan, Shlens, Mozer, Roelofs: "Soft Calibration Objectives for Neural
    Networks", NeurIPS 2021.
    """

    batch_level = True

    def __init__(
        self,
        beta: float = 1.0,
        bins: int = 15,
        temperature: float = 0.01,
        *,
        decay: float | None = None,
        label_binned: bool = False,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if bins < 1:
            raise InputError(f"bins must be at least 1, not {bins}.")
        if decay is not None:
            if not decay > 1:
                raise InputError(
                    f"decay is the factor by which membership falls from bin to bin, above 1, not {decay}."
                )
            temperature = 1 / (math.log(decay) * bins**2)
        _check_temperature(temperature)
        self.beta, self.bins, self.temperature, self.label_binned = beta, bins, temperature, label_binned

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row and the error of the batch."""
        log_p = batch.logits.log_softmax(1)
        top, right = (rows.flatten() for rows in confidence(batch, log_p))
        lowest = 1 / log_p.shape[1] if self.label_binned else 0.0
        centres = (torch.arange(self.bins, dtype=top.dtype, device=top.device) + 0.5) / self.bins
        share = soft_membership(top, lowest + (1 - lowest) * centres, self.temperature)
        if self.label_binned:
            share = (1 - _FLOOR) * share + _FLOOR / self.bins
        if batch.valid is not None:
            share = torch.where(batch.valid.reshape(-1, 1), share, 0.0)
        error = self._of_labels(share, top, right) if self.label_binned else self._of_bins(share, top, right)
        return {"ce": -batch.at_target(log_p), "sb_ece": error}

    def term_weights(self) -> dict[str, float]:
        """Weigh the error by beta."""
        return {"sb_ece": self.beta}

    def _of_bins(self, share: Tensor, top: Tensor, right: Tensor) -> Tensor:
        mass = share.sum(0)
        gap = ((top - right) @ share) / mass.clamp(min=_FLOOR)
        total = mass.sum()
        squared = (mass * gap**2).sum() / torch.where(total > 0, total, 1.0)
        return torch.where(total > 0, (squared + _UNDER_ROOT).sqrt(), 0.0)

    def _of_labels(self, share: Tensor, top: Tensor, right: Tensor) -> Tensor:
        mass = share.sum(0)
        accuracy = (right @ share) / torch.where(mass > 0, mass, 1.0)
        total = mass.sum()
        squared = (share * (accuracy - top.unsqueeze(1)) ** 2).sum()
        return squared / torch.where(total > 0, total, 1.0)


def _check_temperature(temperature: float) -> None:
    if not temperature > 0:
        raise InputError(f"temperature must be above 0, not {temperature}.")
