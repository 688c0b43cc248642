r"""Mixed samples: mixup, Remix and BBN, and how any loss is applied to a mixed pair of targets."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Loss
from calibrant.losses.counts import Counts, check_counts


@dataclass(frozen=True)
class MixedPair:
    """The two targets of a mixed batch, and the share of the first.

    Attributes:
        a: targets of the samples, as a loss takes them.
        b: targets of their partners.
        lam: share of `a` in [0, 1]: one number for the batch, or (N,) with one for each sample.
    """

    a: Tensor
    b: Tensor
    lam: float | Tensor

    def soft_target(self, num_classes: int | None = None) -> Tensor:
        r"""Return $\lambda t_a + (1-\lambda) t_b$: one soft target, for the losses that should see it whole.

        Args:
            num_classes: C; needed when the targets are class indices.

        Returns:
            (N, C, *) probabilities, or of the shape of the targets where these are maps already.

        Example:
            >>> MixedPair(torch.tensor([0]), torch.tensor([1]), 0.75).soft_target(2)
            tensor([[0.7500, 0.2500]])
        """
        a, b = (t if t.is_floating_point() else _onehot(t, num_classes) for t in (self.a, self.b))
        lam = _rowwise(torch.as_tensor(self.lam, dtype=a.dtype, device=a.device), a)
        return lam * a + (1 - lam) * b


def draw_lambda(alpha: float, *, generator: torch.Generator | None = None) -> float:
    r"""Draw the share $\lambda \sim \mathrm{Beta}(\alpha, \alpha)$; 1 when alpha is 0, which mixes nothing.

    Args:
        alpha: at least 0. Published for MiSLAS: 1 on CIFAR-LT, 0.2 on the larger sets.
        generator: the source of randomness, on the CPU; PyTorch's own when None.

    Example:
        >>> 0 <= draw_lambda(0.2, generator=torch.Generator().manual_seed(0)) <= 1
        True
    """
    if not alpha >= 0:
        raise InputError(f"alpha must be at least 0, not {alpha}.")
    if alpha == 0:
        return 1.0
    both = torch._sample_dirichlet(torch.full((2,), float(alpha), dtype=torch.float64), generator=generator)
    return float(both[0])


def mixup(inputs: Tensor, target: Tensor, lam: float | Tensor, permutation: Tensor) -> tuple[Tensor, MixedPair]:
    r"""Mix each sample with its partner: $\tilde x_i = \lambda x_i + (1-\lambda) x_{\pi(i)}$.

    Args:
        inputs: (N, *) samples, after augmentation and normalisation.
        target: (N, *) their targets.
        lam: the share of the sample itself, `draw_lambda(alpha)`; or (N,), one drawn for each.
        permutation: (N,) the partner of each sample, `torch.randperm(N)`.

    Returns:
        the mixed samples and their pair of targets, for `mixed_loss`.

    Example:
        >>> x, y = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
        >>> mixed, pair = mixup(x, y, 0.75, torch.tensor([1, 0]))
        >>> mixed.flatten(), pair.b
        (tensor([0.2500, 0.7500]), tensor([1, 0]))

    Zhang, Cisse, Dauphin, Lopez-Paz: "mixup: Beyond Empirical Risk Minimization", ICLR 2018.
    """
    share = _rowwise(lam.to(inputs), inputs) if isinstance(lam, Tensor) else lam
    return share * inputs + (1 - share) * inputs[permutation], MixedPair(target, target[permutation], lam)


def mixed_loss(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, pair: MixedPair) -> Tensor:
    r"""Return $\lambda L(z, a) + (1-\lambda) L(z, b)$.

    For a loss that is linear in the target it equals the loss of `pair.soft_target()`; focal, MbLS and the
    batch-level losses are not.

    Args:
        loss: any loss that does not learn per sample. With a share for each sample it must be a `Loss` defined
            on rows: the shares multiply the rows before the reduction, and a mean divides by what it divides
            by without mixing.
        logits: (N, C, *).
        pair: targets and share.

    Raises:
        InputError: a share for each sample with a loss that has no rows; a loss that learns per sample.

    `loss.terms` then holds the terms of both targets, mixed by the mean share.

    Example:
        >>> from calibrant.losses import CrossEntropy
        >>> pair = MixedPair(torch.tensor([0]), torch.tensor([1]), 0.75)
        >>> mixed_loss(CrossEntropy(), torch.tensor([[2.0, 0.0]]), pair)
        tensor(0.6269)
    """
    dtype = torch.promote_types(logits.dtype, torch.float32)
    lam = torch.as_tensor(pair.lam, dtype=dtype, device=logits.device)
    if isinstance(loss, Loss) and loss.needs_index:
        raise InputError(
            f"{type(loss).__name__} learns per sample, which a mixture is not: train without mixing."
        )
    parts, terms = [], []
    for target, share in ((pair.a, lam), (pair.b, 1 - lam)):
        parts.append(share * loss(logits, target) if lam.dim() == 0 else _shared(loss, logits, target, share))
        terms.append(loss.terms if isinstance(loss, Loss) else {})
    if isinstance(loss, Loss):
        mean = lam.mean()
        loss.terms = {name: mean * terms[0][name] + (1 - mean) * terms[1][name] for name in terms[0]}
    return parts[0] + parts[1]


def _shared(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor, share: Tensor) -> Tensor:
    """Return a loss whose rows are multiplied by (N,) shares before the reduction."""
    if not isinstance(loss, Loss) or loss.batch_level:
        raise InputError(
            f"A share for each sample needs a calibrant loss that is defined on rows, which "
            f"{type(loss).__name__} is not; give one share for the batch."
        )
    by_row = copy.copy(loss)
    by_row.reduction = "none"
    rows: Tensor = by_row(logits, target)
    loss.terms = by_row.terms
    rows = rows * _rowwise(share, rows)
    if loss.reduction == "none":
        return rows
    if loss.reduction == "sum":
        return rows.sum()
    batch = loss.prepare(logits, target)
    weights = loss._row_weight(batch)
    mass = batch.count() if weights is None else weights.sum()
    return rows.sum() / torch.where(mass > 0, mass, torch.ones_like(mass))


def remix_lambda(
    class_counts: Counts,
    a: Tensor,
    b: Tensor,
    lam: float,
    *,
    kappa: float = 3.0,
    tau: float = 0.5,
    form: Literal["per_sample", "averaged"] = "per_sample",
) -> Tensor:
    r"""Return the share of the first label under Remix: a minority label may take the whole.

    $$\lambda_y = 0 \text{ if } n_a / n_b \ge \kappa,\ \lambda < \tau; \quad
    1 \text{ if } n_a / n_b \le 1/\kappa,\ 1 - \lambda < \tau; \quad \lambda \text{ otherwise}$$

    The inputs are mixed by `lam` as in mixup; the targets by this share:
    `mixed_loss(loss, logits, MixedPair(a, b, remix_lambda(counts, a, b, lam)))`.

    Args:
        class_counts: (C,) training samples of each class, each above 0.
        a: (N,) class indices of the samples.
        b: (N,) those of their partners.
        lam: share of the samples in the mixed inputs.
        kappa: how many times larger a class must be to yield, at least 1. Published: 3.
        tau: the share of the input below which it yields. Published: 0.5.
        form: "per_sample" gives (N,) float64; "averaged" their mean, a scalar: the public re-implementation
            multiplies the shares with a loss already averaged, so that they act through their mean alone.

    Example:
        >>> remix_lambda([100, 10], torch.tensor([0, 1, 0]), torch.tensor([1, 0, 0]), 0.2)
        tensor([0.0000, 0.2000, 0.2000], dtype=torch.float64)

    Chou, Chang, Pan, Wei, Juan: "Remix: Rebalanced Mixup", ECCV workshops 2020.
    """
    if not kappa >= 1:
        raise InputError(f"kappa must be at least 1, not {kappa}.")
    check_choice("form", form, ("per_sample", "averaged"))
    counts = check_counts(class_counts).to(a.device)
    ratio = counts[a] / counts[b]
    shares = torch.full_like(ratio, lam)
    if 1 - lam < tau:
        shares = torch.where(ratio <= 1 / kappa, 1.0, shares)
    if lam < tau:
        shares = torch.where(ratio >= kappa, 0.0, shares)
    return shares.mean() if form == "averaged" else shares


def bbn_lambda(epoch: int, horizon: int = 200) -> float:
    r"""Return the share $1 - (e/E)^2$ of BBN's uniform branch in an epoch: from 1 towards 0.

    Args:
        epoch: e, from 0.
        horizon: E, the number of epochs. The published code has 200 when it trains 180 epochs and 100 when it
            trains 90, so that the share ends above 0.

    Example:
        >>> bbn_lambda(0), bbn_lambda(100)
        (1.0, 0.75)

    Zhou, Cui, Wei, Chen: "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual
    Recognition", CVPR 2020.
    """
    if not 0 <= epoch <= horizon or horizon < 1:
        raise InputError(f"The epoch must lie between 0 and the horizon: {epoch} and {horizon} do not fit.")
    return 1.0 - (epoch / horizon) ** 2


def bbn_features(uniform: Tensor, reversed_: Tensor, lam: float | Tensor = 0.5) -> Tensor:
    r"""Return $[2\lambda f_u; 2(1-\lambda) f_r]$, what BBN's classifier sees; $[f_u; f_r]$ at test time.

    The loss of the batch is `mixed_loss(loss, classifier(features), MixedPair(labels_u, labels_r, lam))`.

    Args:
        uniform: (N, F) features of the samples drawn uniformly.
        reversed_: (N, F) of those drawn with the class frequencies reversed.
        lam: the share of the uniform branch, `bbn_lambda(epoch)`; 0.5, the default, is the test time.

    Example:
        >>> bbn_features(torch.ones(1, 2), torch.ones(1, 2), 0.75)
        tensor([[1.5000, 1.5000, 0.5000, 0.5000]])
    """
    return torch.cat([2 * lam * uniform, 2 * (1 - lam) * reversed_], dim=1)


def _rowwise(shares: Tensor, like: Tensor) -> Tensor:
    return shares.view(-1, *[1] * (like.dim() - 1)) if shares.dim() else shares


def _onehot(labels: Tensor, num_classes: int | None) -> Tensor:
    if num_classes is None:
        raise InputError("Class indices become a soft target only with num_classes.")
    if ((labels < 0) | (labels >= num_classes)).any():
        raise InputError(f"A soft target needs labels in [0, {num_classes}), without ignored ones.")
    shape = (labels.shape[0], num_classes, *labels.shape[1:])
    return torch.zeros(shape, device=labels.device).scatter(1, labels.long().unsqueeze(1), 1.0)
