r"""The implied targets of the losses that are defined on a row.

Each is $p - \partial L / \partial z$, by hand; the notation is that of `closed_forms`.
"""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from calibrant.losses.adaptive_conditional import ACLS
from calibrant.losses.adaptive_focal import AdaFocal
from calibrant.losses.base import Batch
from calibrant.losses.class_adaptive import CALS, CALSHR, constraint, penalty_derivative
from calibrant.losses.class_balanced import ClassBalancedCE, ClassBalancedFocal
from calibrant.losses.counts import is_label, of_label
from calibrant.losses.cpc import CPC
from calibrant.losses.cross_entropy import CrossEntropy
from calibrant.losses.explanation.closed_forms import register_closed_form
from calibrant.losses.focal import FLSD, DualFocalLoss, FocalLoss, InverseFocalLoss
from calibrant.losses.label_aware import LabelAwareSmoothing
from calibrant.losses.label_smoothing import LabelSmoothing
from calibrant.losses.long_tailed import LDAM, LogitAdjustment
from calibrant.losses.margin import MarginLoss
from calibrant.losses.multipliers import along_classes
from calibrant.losses.penalties import BrierLoss, EntropyPenalty, LogitNorm, Poly1, ProbabilityL1


def through_softmax(p: Tensor, slope: Tensor) -> Tensor:
    r"""Return $p_j (u_j - \sum_k p_k u_k)$: what a slope u in the probabilities is in the logits."""
    return p * (slope - (p * slope).sum(1, keepdim=True))


def winner(logits: Tensor) -> Tensor:
    """Return h, (N, C, *): 1 at the largest logit, shared evenly where several are."""
    top = (logits == logits.amax(1, keepdim=True)).to(logits.dtype)
    return top / top.sum(1, keepdim=True)


def distance(logits: Tensor) -> Tensor:
    """Return d, (N, C, *)."""
    return logits.amax(1, keepdim=True) - logits


def mixed_with_output(batch: Batch, share: Tensor) -> Tensor:
    """Return g y + (1 - g) p for (N, *) shares g."""
    g = share.unsqueeze(1)
    return g * batch.onehot() + (1 - g) * batch.logits.softmax(1)


def spread(batch: Batch, alpha: Tensor | float, over: str) -> Tensor:
    """Return the label with a mass of it, one number or (N, *), spread over the classes."""
    y, classes = batch.onehot(), batch.logits.shape[1]
    a = alpha.unsqueeze(1) if isinstance(alpha, Tensor) else alpha
    return (1 - a) * y + (a / classes if over == "all" else a * (1 - y) / (classes - 1))


_SPREAD = {"all": "(1 − {0}) y + {0}/C", "others": "(1 − {0}) y + {0} (1 − y)/(C − 1)"}


@register_closed_form(CrossEntropy, formula="y")
def _cross_entropy(loss: CrossEntropy, batch: Batch) -> Tensor:
    return batch.onehot()


@register_closed_form(LabelSmoothing, formula=lambda loss: _SPREAD[loss.over].format("α"))
def _label_smoothing(loss: LabelSmoothing, batch: Batch) -> Tensor:
    return spread(batch, loss.alpha, loss.over)


@register_closed_form(
    LabelAwareSmoothing, formula=lambda loss: _SPREAD["all" if loss.form == "code" else "others"].format("ε_y")
)
def _label_aware(loss: LabelAwareSmoothing, batch: Batch) -> Tensor:
    return spread(batch, of_label(batch, loss.eps), "all" if loss.form == "code" else "others")


def focal_share(log_p: Tensor, gamma: Tensor | float, *, detached: bool = False) -> Tensor:
    """Return g of focal loss from log-probabilities of any shape; 0 where p rounds to 1."""
    rest = -torch.expm1(log_p)
    some = torch.where(rest > 0, rest, 1.0)
    share = some**gamma
    if not detached:
        share = share - gamma * log_p.exp() * some ** (gamma - 1) * log_p
    return torch.where(rest > 0, share, 0.0)


def inverse_focal_share(log_p: Tensor, gamma: Tensor | float) -> Tensor:
    """Return g of inverse focal loss from log-probabilities of any shape."""
    p = log_p.exp()
    return (1 + p) ** gamma + gamma * p * (1 + p) ** (gamma - 1) * log_p


def _label_log_p(batch: Batch) -> Tensor:
    return batch.at_target(batch.logits.log_softmax(1))


_FOCAL = "g y + (1 − g) p, g = (1 − p_y)^γ − γ p_y (1 − p_y)^(γ−1) log p_y"


@register_closed_form(
    FocalLoss, formula=lambda loss: "g y + (1 − g) p, g = (1 − p_y)^γ" if loss.detach_weight else _FOCAL
)
def _focal(loss: FocalLoss, batch: Batch) -> Tensor:
    return mixed_with_output(batch, focal_share(_label_log_p(batch), loss.gamma, detached=loss.detach_weight))


@register_closed_form(FLSD, formula=f"{_FOCAL}, γ = 5 for p_y < 0.2, 3 for p_y < 0.5, else gamma")
def _flsd(loss: FLSD, batch: Batch) -> Tensor:
    log_p = _label_log_p(batch)
    p = log_p.exp()
    gamma = torch.where(p < 0.2, 5.0, torch.where(p < 0.5, 3.0, loss.gamma)).to(p.dtype)
    return mixed_with_output(batch, focal_share(log_p, gamma))


_INVERSE = "g y + (1 − g) p, g = (1 + p_y)^γ + γ p_y (1 + p_y)^(γ−1) log p_y"


@register_closed_form(InverseFocalLoss, formula=_INVERSE)
def _inverse_focal(loss: InverseFocalLoss, batch: Batch) -> Tensor:
    return mixed_with_output(batch, inverse_focal_share(_label_log_p(batch), loss.gamma))


@register_closed_form(
    AdaFocal,
    formula="g y + (1 − g) p, g that of focal where γ of the bin of p_y is above 0, else of inverse focal",
)
def _adafocal(loss: AdaFocal, batch: Batch) -> Tensor:
    log_p = _label_log_p(batch)
    gamma = loss.gamma_of(log_p.exp())
    share = torch.where(gamma > 0, focal_share(log_p, gamma.abs()), inverse_focal_share(log_p, gamma.abs()))
    return mixed_with_output(batch, share)


@register_closed_form(
    DualFocalLoss,
    formula="p − s^γ (p − y) + γ s^(γ−1) log p_y (p_m (e_m − p) − p_y (y − p)), s = 1 − p_y + p_m, "
    "m the class next below the label",
)
def _dual_focal(loss: DualFocalLoss, batch: Batch) -> Tensor:
    log_p = batch.logits.log_softmax(1)
    p, y = log_p.exp(), batch.onehot()
    log_label, p_label = (batch.at_target(values).unsqueeze(1) for values in (log_p, log_p.exp()))
    lower = torch.where(p < p_label, p, 0.0)
    p_below = lower.amax(1, keepdim=True)
    below = ((lower == p_below) & (p_below > 0)).to(p.dtype)
    below = below / below.sum(1, keepdim=True).clamp(min=1)
    s = 1 - p_label + p_below
    moved = p_below * (below - p) - p_label * (y - p)
    return p - s**loss.gamma * (p - y) + loss.gamma * s ** (loss.gamma - 1) * log_label * moved


@register_closed_form(
    EntropyPenalty,
    formula=lambda loss: (
        f"y − {'α' if loss.class_reduction == 'sum' else '(α/C)'} "
        + ("((1 − p_y)^γ p (log p + H) + γ (1 − p_y)^(γ−1) p_y H (y − p))" if loss.gamma else "p (log p + H)")
    ),
)
def _entropy_penalty(loss: EntropyPenalty, batch: Batch) -> Tensor:
    log_p = batch.logits.log_softmax(1)
    p, y = log_p.exp(), batch.onehot()
    surprise, slope = -p * log_p, -(log_p + 1)
    if loss.clamp > 0:
        inside = (p >= loss.clamp) & (p <= 1 - loss.clamp)
        held = p.clamp(loss.clamp, 1 - loss.clamp)
        surprise, slope = -held * held.log(), torch.where(inside, slope, 0.0)
    entropy, moved = surprise.sum(1, keepdim=True), through_softmax(p, slope)
    if loss.gamma:
        p_label = batch.at_target(p).unsqueeze(1)
        rest = 1 - p_label
        faded = rest**loss.gamma * moved
        moved = faded - loss.gamma * rest ** (loss.gamma - 1) * p_label * entropy * (y - p)
    scale = 1 / p.shape[1] if loss.class_reduction == "mean" else 1.0
    return y + loss.alpha * scale * moved


@register_closed_form(ProbabilityL1, formula="y − α p (q − Σ_k q_k p_k), q = sign(p − 1/C)")
def _probability_l1(loss: ProbabilityL1, batch: Batch) -> Tensor:
    p = batch.logits.softmax(1)
    return batch.onehot() - loss.alpha * through_softmax(p, (p - 1 / p.shape[1]).sign())


@register_closed_form(BrierLoss, formula="p − 2 p ((p − y) − Σ_k p_k (p_k − y_k))")
def _brier(loss: BrierLoss, batch: Batch) -> Tensor:
    p = batch.logits.softmax(1)
    return p - 2 * through_softmax(p, p - batch.onehot())


@register_closed_form(Poly1, formula="g y + (1 − g) p, g = 1 + ε p_y")
def _poly1(loss: Poly1, batch: Batch) -> Tensor:
    return mixed_with_output(batch, 1 + loss.epsilon * _label_log_p(batch).exp())


@register_closed_form(
    LogitNorm, formula="p − (q − y − u Σ_k u_k (q_k − y_k)) / (τ ‖z‖), u = z/‖z‖, q = softmax(u/τ)"
)
def _logit_norm(loss: LogitNorm, batch: Batch) -> Tensor:
    z = batch.logits
    length = z.square().sum(1, keepdim=True).sqrt()
    padded = length + 1e-7
    gap = (z / (padded * loss.tau)).softmax(1) - batch.onehot()
    along = (gap * z).sum(1, keepdim=True) / (length * padded)
    return z.softmax(1) - (gap - z * along) / (padded * loss.tau)


@register_closed_form(
    MarginLoss,
    formula=lambda loss: (
        f"y + {'(α/C)' if loss.class_reduction == 'mean' else 'α'} "
        + ("[d > M]" if loss.detach_max else "([d > M] − V h), V the classes with d > M")
    ),
    conditional=lambda loss: loss.alpha > 0,
)
def _margin(loss: MarginLoss, batch: Batch) -> Tensor:
    beyond = (distance(batch.logits) > loss.margin).to(batch.logits.dtype)
    scale = loss.alpha / beyond.shape[1] if loss.class_reduction == "mean" else loss.alpha
    if loss.detach_max:
        return batch.onehot() + scale * beyond
    return batch.onehot() + scale * (beyond - winner(batch.logits) * beyond.sum(1, keepdim=True))


@register_closed_form(
    CALSHR,
    formula="y + (λ [d > M] − h Σ_k λ_k [d_k > M])/C",
    conditional=True,
)
def _cals_hr(loss: CALSHR, batch: Batch) -> Tensor:
    beyond = (distance(batch.logits) > loss.margin).to(batch.logits.dtype)
    pull = along_classes(loss.multipliers, beyond) * beyond / beyond.shape[1]
    return batch.onehot() + pull - winner(batch.logits) * pull.sum(1, keepdim=True)


_PULLS = {
    "phr": "max(0, λ + ρ c)",
    "p2": "λ + 2λρ c + (ρ c)²/2 for c ≥ 0, λ/(1 − ρ c)² below",
    "p3": "λ + 2λρ c for c ≥ 0, λ/(1 − ρ c)² below",
    "relu": "λ [c ≥ 0]",
}


def _cals_formula(loss: CALS) -> str:
    scale = "C" * (loss.class_reduction == "mean") + "M" * loss.normalize
    over = {"": "", "C": "/C", "M": "/M", "CM": "/(C M)"}[scale]
    return (
        f"y + (φ − h Σ_k φ_k){over}, φ = {_PULLS[loss.penalty]}, c = d{'/M − 1' if loss.normalize else ' − M'}"
    )


@register_closed_form(CALS, formula=_cals_formula, conditional=lambda loss: loss.penalty in ("phr", "relu"))
def _cals(loss: CALS, batch: Batch) -> Tensor:
    state = loss.lagrangian
    h = constraint(batch.logits, loss.margin, normalize=loss.normalize)
    rho, multipliers = along_classes(state.rho, h), along_classes(state.multipliers, h)
    pull = penalty_derivative(loss.penalty, h, rho, multipliers)
    pull = pull / loss.margin if loss.normalize else pull
    pull = pull / h.shape[1] if loss.class_reduction == "mean" else pull
    return batch.onehot() + pull - winner(batch.logits) * pull.sum(1, keepdim=True)


def _acls_formula(loss: ACLS) -> str:
    pos, neg = ("M", "M") if loss.pos_margin == loss.neg_margin else ("M₊", "M₋")
    others = f"(2αλ₋/(C−1)) max(0, d − {neg})"
    if loss.pos_reference == "zero":
        return f"y − 2αλ₊ max(0, max z − {pos}) h + (1 − h) {others}"
    reference = {"min": "min z", "mean": "mean z"}[loss.pos_reference]
    return f"y − 2αλ₊ max(0, max z − {reference} − {pos}) (h − ∂{reference}) + φ − h Σ_k φ_k, φ = {others}"


@register_closed_form(ACLS, formula=_acls_formula, conditional=lambda loss: loss.alpha > 0)
def _acls(loss: ACLS, batch: Batch) -> Tensor:
    z = batch.logits
    top, count = winner(z), torch.ones_like(z[:, :1])
    if loss.ties == "reference":
        count = (top > 0).sum(1, keepdim=True).to(z.dtype)
        top = torch.zeros_like(z).scatter(1, z.argmax(1, keepdim=True), 1.0)
    height, lowest = z.amax(1, keepdim=True), None
    if loss.pos_reference == "min":
        height, lowest = height - z.amin(1, keepdim=True), winner(-z)
    elif loss.pos_reference == "mean":
        height, lowest = height - z.mean(1, keepdim=True), torch.full_like(z, 1 / z.shape[1])
    lowered = count * (height - loss.pos_margin).relu() * (2 * loss.alpha * loss.pos_weight)
    step = 2 * loss.alpha * loss.neg_weight / max(z.shape[1] - 1, 1)
    raised = step * (distance(z) - loss.neg_margin).relu()
    if lowest is None:
        return batch.onehot() - lowered * top + raised
    return batch.onehot() - lowered * (top - lowest) + raised - top * raised.sum(1, keepdim=True)


@register_closed_form(
    CPC,
    formula="y − (w₁/(C−1)) ((1−y) σ(z−z_y) − y Σ_k σ(z_k−z_y)) "
    "− (w₂/(2(C−1)(C−2))) (1−y) Σ_k tanh((z−z_k)/2), k ≠ y",
)
def _cpc(loss: CPC, batch: Batch) -> Tensor:
    z, y = batch.logits, batch.onehot()
    other = 1 - y
    classes = z.shape[1]
    lead = other * (z - batch.at_target(z).unsqueeze(1)).sigmoid()
    discriminated = (lead - y * lead.sum(1, keepdim=True)) / (classes - 1)
    pairs = ((z.unsqueeze(2) - z.unsqueeze(1)) / 2).tanh() * other.unsqueeze(1)
    excluded = other * pairs.sum(2) / (2 * (classes - 1) * max(classes - 2, 1))
    return y - loss.discrimination * discriminated - loss.exclusion * excluded


@register_closed_form(LogitAdjustment, formula="y + p − softmax(z + τ log π), π the class frequencies")
def _logit_adjustment(loss: LogitAdjustment, batch: Batch) -> Tensor:
    adjusted = batch.logits + along_classes(loss.adjustment, batch.logits)
    return batch.onehot() + batch.logits.softmax(1) - adjusted.softmax(1)


@register_closed_form(LDAM, formula="p + s (y − softmax(s (z − m_y y))), z cosines")
def _ldam(loss: LDAM, batch: Batch) -> Tensor:
    y = batch.onehot()
    margin = of_label(batch, loss.margins).unsqueeze(1)
    moved = (loss.scale * (batch.logits - margin * y)).softmax(1)
    return batch.logits.softmax(1) + loss.scale * (y - moved)


@register_closed_form(ClassBalancedCE, formula="w_y y + (1 − w_y) p")
def _class_balanced_ce(loss: ClassBalancedCE, batch: Batch) -> Tensor:
    # Where the mean divides by the weights, they are those of any loss, which multiply every form.
    if loss.divide_by == "weights":
        return batch.onehot()
    return mixed_with_output(batch, of_label(batch, loss.class_weight))


def _class_balanced_focal_formula(loss: ClassBalancedFocal) -> str:
    if loss.form == "sigmoid":
        return "p + w_y (y f(−z) − (1 − y) f(z)), f(x) = σ(x)^γ (γ (1 − σ(x)) log(1 + e^x) + σ(x))"
    return "g y + (1 − g) p, g = w_y times that of focal at p_y^(w_y)"


@register_closed_form(ClassBalancedFocal, formula=_class_balanced_focal_formula)
def _class_balanced_focal(loss: ClassBalancedFocal, batch: Batch) -> Tensor:
    weight = of_label(batch, loss.class_weight)
    if loss.form != "sigmoid":
        return mixed_with_output(batch, weight * focal_share(weight * _label_log_p(batch), loss.gamma))
    x = torch.where(is_label(batch), -batch.logits, batch.logits)
    sure = x.sigmoid()
    slope = sure**loss.gamma * (loss.gamma * (1 - sure) * softplus(x) + sure)
    signed = torch.where(is_label(batch), slope, -slope)
    return batch.logits.softmax(1) + weight.unsqueeze(1) * signed
