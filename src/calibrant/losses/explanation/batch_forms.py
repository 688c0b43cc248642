r"""The implied targets of the losses whose rows see each other.

The term T of the batch adds $-n \, \partial T / \partial z_n$ to the target that the loss of the row implies.
Most see a row by its confidence r alone, so that it is $-n \, (\partial T / \partial r) \, r (h - p)$. The
notation is that of `closed_forms`.
"""

import math

import torch
from torch import Tensor

from calibrant.losses.base import Batch
from calibrant.losses.confidence import confidence
from calibrant.losses.correctness_ranking import CorrectnessRanking, _next_valid, ranking_confidence
from calibrant.losses.explanation.closed_forms import closed_form, register_closed_form
from calibrant.losses.explanation.row_forms import through_softmax
from calibrant.losses.mdca import DCA, MDCA
from calibrant.losses.meep import MEEP
from calibrant.losses.mmce import MMCE, WeightedMMCE, mmce, weighted_mmce
from calibrant.losses.uncertainty import AvU, SoftAvU, SoftBinnedECE, entropy, soft_membership


def through_confidence(batch: Batch, slope: Tensor) -> Tensor:
    """Return u r (h − p), (N, C, *): what a slope u, (N, *), in the confidence is in the logits."""
    p = batch.logits.softmax(1)
    predicted = batch.logits.max(1, keepdim=True).indices
    h = torch.zeros_like(p).scatter(1, predicted, 1.0)
    return batch.keep(slope).unsqueeze(1) * p.gather(1, predicted) * (h - p)


def _mdca_formula(loss: MDCA) -> str:
    base = closed_form(loss.base)
    first, where = ("y", "") if base is None or base.formula == "y" else ("t₀", f", t₀ = {base.formula}")
    return f"{first} − (β/C) p (q − Σ_k q_k p_k), q = sign(mean p − share of the class){where}"


@register_closed_form(MDCA, formula=_mdca_formula)
def _mdca(loss: MDCA, batch: Batch) -> Tensor:
    base = closed_form(loss.base)
    assert base is not None
    p = batch.logits.softmax(1)
    side = (batch.class_mean(p) - batch.class_mean(batch.onehot())).sign()
    side = side.reshape(1, -1, *[1] * (p.dim() - 2)).expand_as(p)
    return base.target(loss.base, batch) - loss.beta / p.shape[1] * through_softmax(p, side)


def _rows(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """Return (n,) confidence and correctness of the rows that count, and where those rows are, (N, *) bool."""
    top, right = confidence(batch, batch.logits.log_softmax(1))
    counted = torch.ones_like(top, dtype=torch.bool) if batch.valid is None else batch.valid
    return top[counted], right[counted], counted


def _of_confidence(batch: Batch, weight: float, slope: Tensor, counted: Tensor) -> Tensor:
    """Return y − w n (∂T/∂r) r (h − p) of (n,) slopes ∂T/∂r of the rows that count."""
    everywhere = torch.zeros_like(counted, dtype=batch.logits.dtype)
    everywhere[counted] = slope.to(everywhere.dtype) * len(slope)
    return batch.onehot() - weight * through_confidence(batch, everywhere)


@register_closed_form(DCA, formula="α y + (1 − α) p − β q r (h − p), q = sign(mean confidence − accuracy)")
def _dca(loss: DCA, batch: Batch) -> Tensor:
    top, right, counted = _rows(batch)
    slope = (top - right).mean().sign().expand_as(top) / len(top)
    p, y = batch.logits.softmax(1), batch.onehot()
    return (1 - loss.alpha) * (p - y) + _of_confidence(batch, loss.beta, slope, counted)


_BY_CONFIDENCE = "y − αn (∂T/∂r) r (h − p), "


@register_closed_form(
    MMCE,
    formula=lambda loss: (
        f"{_BY_CONFIDENCE}∂T/∂r = (2/n²) Σ_j g_j k_j (−1 − g sign(r − r_j)/w)"
        f"{'' if loss.squared else '/(2T)'}, g = [ŷ = y] − r, k = e^(−|r − r_j|/w)"
    ),
)
def _mmce(loss: MMCE, batch: Batch) -> Tensor:
    top, right, counted = _rows(batch)
    gap, apart = right - top, top.unsqueeze(1) - top.unsqueeze(0)
    kernel = (-apart.abs() / loss.bandwidth).exp()
    pair = -1 - gap.unsqueeze(1) * apart.sign() / loss.bandwidth
    slope = 2 * (gap.unsqueeze(0) * kernel * pair).sum(1) / max(len(top), 1) ** 2
    if not loss.squared:
        slope = slope / (2 * (mmce(top, right, bandwidth=loss.bandwidth) + 1e-10).sqrt())
    return _of_confidence(batch, loss.alpha, slope, counted)


@register_closed_form(
    WeightedMMCE,
    formula=f"{_BY_CONFIDENCE}∂T/∂r = (1/T) Σ_j c_j e_j k_j (s − e sign(r − r_j)/w), "
    "e = |[ŷ = y] − r|, s its slope, k = e^(−|r − r_j|/w), c_j = ±1/pairs of this kind",
)
def _weighted_mmce(loss: WeightedMMCE, batch: Batch) -> Tensor:
    top, right, counted = _rows(batch)
    count = torch.stack([(right <= 0).sum(), (right > 0).sum()])
    if (count == 0).any():
        return batch.onehot()
    apart = top.unsqueeze(1) - top.unsqueeze(0)
    kernel = (-apart.abs() / loss.bandwidth).exp()
    error, side = (right - top).abs(), torch.where(right > 0, -1.0, 1.0).to(top.dtype)
    turn = side.unsqueeze(1) - error.unsqueeze(1) * apart.sign() / loss.bandwidth
    pair = error.unsqueeze(0) * kernel * turn
    sizes = count.to(top.dtype)[(right > 0).long()]
    norm = sizes.unsqueeze(1) * sizes.unsqueeze(0)
    if loss.normalization == "reference":
        norm = norm * (norm + 1e-5)
    slope = 2 * (side.unsqueeze(1) * side.unsqueeze(0) * pair / norm).sum(1)
    value = weighted_mmce(top, right, bandwidth=loss.bandwidth, normalization=loss.normalization)
    return _of_confidence(batch, loss.alpha, slope / (2 * value), counted)


@register_closed_form(
    SoftBinnedECE,
    formula=lambda loss: (
        ""
        if loss.label_binned
        else "y − βn (∂T/∂r) r (h − p), ∂T/∂r = Σ_b (2 G_b (s_b + (r − [ŷ = y]) s_b′) − G_b² s_b′)/(2nT), "
        "G_b the gap of bin b, s_b the row's share of it"
    ),
)
def _soft_binned_ece(loss: SoftBinnedECE, batch: Batch) -> Tensor:
    top, right, counted = _rows(batch)
    anchors = (torch.arange(loss.bins, dtype=top.dtype, device=top.device) + 0.5) / loss.bins
    share = soft_membership(top, anchors, loss.temperature)
    lean = top.unsqueeze(1) - anchors
    turn = -2 / loss.temperature * share * (lean - (share * lean).sum(1, keepdim=True))
    mass = share.sum(0)
    held = mass.clamp(min=1e-5)
    off = (top - right).unsqueeze(1)
    gap = (off * share).sum(0) / held
    moved = 2 * mass * gap * (share + off * turn - gap * turn * (mass > 1e-5)) / held
    squared = (mass * gap.square()).sum() / len(top)
    slope = (moved + gap.square() * turn).sum(1) / len(top)
    return _of_confidence(batch, loss.beta, slope / (2 * (squared + 1e-10).sqrt()), counted)


def _ratio_slopes(good: Tensor, bad: Tensor, variant: str) -> tuple[Tensor, Tensor]:
    """Return the slopes in both soft counts of the loss of their ratio."""
    if variant == "google":
        held = good.clamp(min=1e-5)
        return -bad / (held * (held + bad)) * (good > 1e-5), 1 / (held + bad)
    total = good + bad
    outer = 1 / (good / total + 1e-10) / total.square()
    return -outer * bad, outer * good


def _entropy_slope(batch: Batch, variant: str) -> Tensor:
    """Return ∂u/∂z of the guarded entropy u, (N, C, *)."""
    p = batch.logits.softmax(1)
    if variant == "google":
        mixed = (1 - 1e-5) * p + 1e-5 / p.shape[1]
        return through_softmax(p, -(1 - 1e-5) * (mixed.log() + 1))
    return through_softmax(p, -((p + 1e-10).log() + p / (p + 1e-10)))


@register_closed_form(
    AvU,
    formula="y − βn (∂T/∂w) (w_r r (h − p) − w_u p (log p + u)), w = r or 1 − r times tanh u or 1 − tanh u, "
    "u the entropy, T the loss of the sums of w",
)
def _avu(loss: AvU, batch: Batch) -> Tensor:
    log_p = batch.logits.log_softmax(1)
    top, right = confidence(batch, log_p)
    u = entropy(log_p, loss.variant)
    threshold = math.log(log_p.shape[1]) / 2 if loss.threshold is None else loss.threshold
    accurate, certain = right > 0, (u <= threshold if loss.variant == "intel" else u < threshold)
    of_top, of_u = torch.where(accurate, top, 1 - top), torch.where(certain, 1 - u.tanh(), u.tanh())
    weight, fits = batch.keep(of_top * of_u), accurate == certain
    good, bad = (torch.where(chosen, weight, 0.0).sum() for chosen in (fits, ~fits))
    outer = batch.count() * torch.where(fits, *_ratio_slopes(good, bad, loss.variant))
    by_top = 0 * of_u if loss.detach_confidence else torch.where(accurate, of_u, -of_u)
    by_u = torch.where(certain, -of_top, of_top) * (1 - u.tanh().square())
    moved = through_confidence(batch, outer * by_top)
    moved = moved + batch.keep(outer * by_u).unsqueeze(1) * _entropy_slope(batch, loss.variant)
    return batch.onehot() - loss.beta * moved


@register_closed_form(
    SoftAvU,
    formula="y + βn (∂T/∂u) p (log p + u), u the entropy, T = log(1 + bad/good) of the sums of its soft counts",
)
def _soft_avu(loss: SoftAvU, batch: Batch) -> Tensor:
    log_p = batch.logits.log_softmax(1)
    accurate = confidence(batch, log_p)[1] > 0
    u = entropy(log_p, "google")
    largest = math.log(log_p.shape[1])
    share = u / largest
    inside = (share >= 1e-6) & (share <= 1 - 1e-6)
    held = share.clamp(1e-6, 1 - 1e-6)
    odds = math.log(loss.threshold / (1 - loss.threshold))
    degree = (held.logit() - odds) / loss.temperature
    turn = inside / (held * (1 - held) * largest * loss.temperature)
    q, th = degree.sigmoid(), u.tanh()
    uncertain, certain = q * th, (1 - q) * (1 - th)
    turn = q * (1 - q) * turn
    by_uncertain = turn * th + q * (1 - th.square())
    by_certain = -turn * (1 - th) - (1 - q) * (1 - th.square())
    good = batch.keep(torch.where(accurate, certain, uncertain)).sum()
    bad = batch.keep(torch.where(accurate, uncertain, certain)).sum()
    of_good, of_bad = _ratio_slopes(good, bad, "google")
    slope = torch.where(
        accurate, of_good * by_certain + of_bad * by_uncertain, of_good * by_uncertain + of_bad * by_certain
    )
    slope = batch.keep(batch.count() * slope).unsqueeze(1)
    return batch.onehot() - loss.beta * slope * _entropy_slope(batch, "google")


def _meep_formula(loss: MEEP) -> str:
    if loss.kind == "uniform":
        return "y − λ (n/|W|) (p − 1/C) for rows W that are wrong, else y"
    if loss.entropy == "classes":
        return "y − λ (n/|W|) p (log p + H) for rows W that are wrong, else y"
    return "y + (λ/C) (n/|W|) p (l − Σ_k p_k l_k), l = log((1 − p)/p), for rows W that are wrong, else y"


@register_closed_form(MEEP, formula=_meep_formula, conditional=lambda loss: loss.alpha > 0)
def _meep(loss: MEEP, batch: Batch) -> Tensor:
    log_p = batch.logits.log_softmax(1)
    p = log_p.exp()
    if loss.kind == "uniform":
        moved = 1 / p.shape[1] - p
    elif loss.entropy == "classes":
        moved = through_softmax(p, -(log_p + 1))
    else:
        moved = through_softmax(p, ((1 - p).log() - log_p) / p.shape[1])
    wrong = batch.keep(1 - batch.correct())
    share = wrong * batch.count() / wrong.sum().clamp(min=1)
    return batch.onehot() + loss.alpha * share.unsqueeze(1) * moved


_RANKED = {
    "softmax": "r (h − p)",
    "margin": "(r (h − p) − r₂ (h₂ − p))",
    "entropy": "p (log p + H)/log C",
}


@register_closed_form(
    CorrectnessRanking,
    formula=lambda loss: (
        f"y − w (a − a₋) {_RANKED[loss.confidence]}, a = −s where the pair with the next row is ranked "
        "wrongly, else 0, a₋ that of the row before"
    ),
    conditional=True,
)
def _correctness_ranking(loss: CorrectnessRanking, batch: Batch) -> Tensor:
    assert batch.index is not None
    following = _next_valid(batch)
    sign, margin = loss.targets(batch.index, batch.index[following])
    log_p = batch.logits.log_softmax(1)
    kappa = ranking_confidence(batch.logits, loss.confidence)
    active = (margin.to(kappa.dtype) - sign.to(kappa.dtype) * (kappa - kappa[following]) > 0) & (sign != 0)
    pull = batch.keep(torch.where(active, -sign, 0.0).to(kappa.dtype))
    net = pull - torch.zeros_like(pull).index_add_(0, following, pull)
    p = log_p.exp()
    if loss.confidence == "entropy":
        moved = through_softmax(p, log_p + 1) / math.log(p.shape[1])
    else:
        top = p.topk(2, 1)
        moved = _toward(p, top.indices[:, :1])
        if loss.confidence == "margin":
            moved = moved - _toward(p, top.indices[:, 1:])
    return batch.onehot() - loss.rank_weight * net.unsqueeze(1) * moved


def _toward(p: Tensor, chosen: Tensor) -> Tensor:
    """Return p_c (e_c − p) of the (N, 1) classes c."""
    return p.gather(1, chosen) * (torch.zeros_like(p).scatter(1, chosen, 1.0) - p)
