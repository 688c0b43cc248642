r"""Class-balanced losses: each sample weighs one over the effective number of samples of its class."""

from typing import Literal, Unpack

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.counts import Counts, check_counts, is_label, of_label
from calibrant.losses.cross_entropy import cross_entropy
from calibrant.losses.focal import focal
from calibrant.losses.registry import register


def effective_number_weights(class_counts: Counts, beta: float = 0.9999) -> Tensor:
    r"""Return the weights $w_k \propto (1-\beta) / (1-\beta^{n_k})$ of the classes, scaled to sum to C.

    $(1-\beta^n)/(1-\beta)$ is the effective number of n samples: 1 for any n at beta 0, so that all weights are
    1; n itself as beta approaches 1.

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        beta: in [0, 1). Published: 0.9999.

    Returns:
        (C,) float64.

    Raises:
        InputError: beta outside [0, 1), or an empty class.

    Example:
        >>> effective_number_weights([1000, 10], beta=0.99)
        tensor([0.1746, 1.8254], dtype=torch.float64)

    Cui, Jia, Lin, Song, Belongie: "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """
    if not 0 <= beta < 1:
        raise InputError(f"beta must be at least 0 and below 1, not {beta}.")
    counts = check_counts(class_counts)
    weights = -1 / torch.expm1(counts * torch.tensor(beta, dtype=torch.float64).log())
    return weights * len(weights) / weights.sum()


def deferred_weights(class_counts: Counts, beta: float = 0.9999, *, epoch: int, start: int = 160) -> Tensor:
    """Return the class weights of an epoch under deferred re-weighting (DRW): equal at first, balanced later.

    Args:
        class_counts: (C,) training samples of each class.
        beta: as in `effective_number_weights`.
        epoch: the epoch, from 0.
        start: the number of epochs with equal weights. Published: 160 of 200.

    Returns:
        (C,) float64; assign it to a loss's `weight`.

    Example:
        >>> deferred_weights([1000, 10], 0.99, epoch=159)
        tensor([1., 1.], dtype=torch.float64)
        >>> deferred_weights([1000, 10], 0.99, epoch=160)
        tensor([0.1746, 1.8254], dtype=torch.float64)

    Cao, Wei, Gaidon, Arechiga, Ma: "Learning Imbalanced Datasets with Label-Distribution-Aware Margin Loss",
    NeurIPS 2019.
    """
    return effective_number_weights(class_counts, beta if epoch >= start else 0.0)


@register("cb_ce")
class ClassBalancedCE(Loss):
    r"""Class-balanced cross-entropy: each class weighs the inverse of its effective number of samples.

    $$L = -w_y \log p_y, \quad w_k \propto \frac{1-\beta}{1-\beta^{n_k}}$$

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        beta: in [0, 1); 0 is plain cross-entropy. Published: 0.9999; 0.999 in a later collection of tricks.
        divide_by: what the mean divides by: the sum of the "weights" of the rows, as PyTorch and the
            re-implementations do; or the number of "samples", as the authors' TensorFlow code.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`; a `weight` multiplies the
            class-balanced one.

    Example:
        >>> import torch
        >>> loss = ClassBalancedCE([1000, 10], beta=0.99)
        >>> loss(torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([0, 1]))
        tensor(1.9524)

    Cui, Jia, Lin, Song, Belongie: "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """

    class_weight: Tensor

    def __init__(
        self,
        class_counts: Counts,
        beta: float = 0.9999,
        *,
        divide_by: Literal["weights", "samples"] = "weights",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        check_choice("divide_by", divide_by, ("weights", "samples"))
        self.beta, self.divide_by = beta, divide_by
        self.register_buffer("class_weight", effective_number_weights(class_counts, beta), persistent=False)
        if divide_by == "weights":
            balanced = self.class_weight.float()
            self.weight = balanced if self.weight is None else self.weight * balanced

    @property
    def weighs_classes(self) -> bool:
        """Always."""
        return True

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row, weighted here when the mean divides by the samples."""
        rows = cross_entropy(batch)
        return {"ce": rows if self.divide_by == "weights" else of_label(batch, self.class_weight) * rows}


@register("cb_focal")
class ClassBalancedFocal(Loss):
    r"""Class-balanced focal loss: the focal loss of C independent sigmoids, weighted by the label's class.

    $$L = w_y \Big[ (1-\sigma_y)^\gamma \, (-\log \sigma_y)
        + \sum_{k \ne y} \sigma_k^\gamma \, (-\log(1 - \sigma_k)) \Big],
    \quad w_k \propto \frac{1-\beta}{1-\beta^{n_k}}$$

    summed over the classes; its mean divides by the number of rows. The logits are trained as sigmoids: a
    softmax over them is not calibrated by this loss.

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        beta: in [0, 1); 0 gives every class the weight 1. Published: 0.9999.
        gamma: the power, at least 0. Published: 1 in the authors' CIFAR script; 0.5 in a collection of tricks.
        form: "sigmoid" as above; "weight_in_exponent" is the focal loss of the LDAM repository, on the
            softmax: $(1 - q)^\gamma (-\log q)$ with $q = p_y^{w_y}$, the weight inside the power. Its weights
            are deferred there: beta 0, and `reweight(deferred_weights(…))` in each epoch.
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    Example:
        >>> import torch
        >>> loss = ClassBalancedFocal([1000, 10], beta=0.99)
        >>> loss(torch.tensor([[2.0, -2.0]]), torch.tensor([0]))
        tensor(0.0053)

    Cui, Jia, Lin, Song, Belongie: "Class-Balanced Loss Based on Effective Number of Samples", CVPR 2019.
    """

    class_weight: Tensor

    def __init__(
        self,
        class_counts: Counts,
        beta: float = 0.9999,
        gamma: float = 1.0,
        *,
        form: Literal["sigmoid", "weight_in_exponent"] = "sigmoid",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        if not gamma >= 0:
            raise InputError(f"gamma must be at least 0, not {gamma}.")
        check_choice("form", form, ("sigmoid", "weight_in_exponent"))
        self.beta, self.gamma, self.form = beta, gamma, form
        self.register_buffer("class_weight", effective_number_weights(class_counts, beta), persistent=False)

    @property
    def weighs_classes(self) -> bool:
        """Unless all have the weight 1 yet, and the weight is inside the power."""
        return self.form == "sigmoid" or self.beta > 0 or self.weight is not None

    def reweight(self, weights: Tensor) -> None:
        """Take (C,) new weights of the classes: inside the power, where that is the form."""
        if self.form == "sigmoid":
            super().reweight(weights)
        else:
            self.class_weight = weights

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted focal loss of each row."""
        if self.form == "sigmoid":
            return {"focal": of_label(batch, self.class_weight) * sigmoid_focal(batch, self.gamma)}
        log_p = batch.logits.log_softmax(1)
        if not batch.soft:
            weighted = of_label(batch, self.class_weight) * batch.at_target(log_p)
            return {"focal": focal(weighted, self.gamma)}
        weight = self.class_weight.to(log_p.dtype).view(1, -1, *[1] * (log_p.dim() - 2))
        return {"focal": batch.at_target(focal(weight * log_p, self.gamma))}


def sigmoid_focal(batch: Batch, gamma: float) -> Tensor:
    """Return the (N, *) focal loss of C independent sigmoids, summed over the classes."""

    def of_absent(logits: Tensor) -> Tensor:
        return (gamma * logsigmoid(logits)).exp() * softplus(logits)

    if batch.soft:
        present, absent = of_absent(-batch.logits), of_absent(batch.logits)
        return (batch.target * present + (1 - batch.target) * absent).sum(1)
    # The present class costs what the absent one costs at the opposite logit.
    return of_absent(torch.where(is_label(batch), -batch.logits, batch.logits)).sum(1)
