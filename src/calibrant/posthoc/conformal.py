"""Guarantees by exchangeability: Venn-Abers probabilities, and sets that hold the label as often as asked.

Fitting them needs MAPIE, but for sets of the score "lac"; using what was fitted needs torch alone.
"""

import math
import warnings
from collections.abc import Iterable
from itertools import pairwise
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.posthoc.base import Calibrator, check_classes
from calibrant.posthoc.one_vs_rest import OneVsRest, log_shares
from calibrant.posthoc.registry import register

#: By how much rounding may make a score miss the quantile.
_ROUNDING = 1e-14
_MISSING = "{} MAPIE; pip install 'calibrant[conformal]' brings it."


@register("venn_abers")
class VennAbersCalibration(OneVsRest):
    r"""Calibrate with the label unknown: isotonic regression once with label 0 and once with 1.

    $$p_0(s), \; p_1(s) = \text{isotonic regression of the rows and } (s, 0), \text{ or } (s, 1), \text{ at } s;
      \quad \hat p = \frac{p_1}{1 - p_0 + p_1}$$

    One of p_0 and p_1 is perfectly calibrated, whatever the distribution, if rows are exchangeable; `bounds`
    returns both, and the distance between them says how sure the calibration itself is. The merged value is
    never 0 or 1. For more than two classes, each is calibrated against the rest, and the results are divided by
    their sum, which gives up the guarantee. MAPIE computes the regressions; they are kept as the step
    functions that they are.

    Attributes:
        scores_: distinct probabilities of the fit, one class after the other.
        low_: p_0 below, at, and between them, and above.
        high_: p_1 there.
        ends_: (K + 1,) where the scores of each class begin and end; K = 1 for two classes.

    Shape:
        - logits: (N, C, *); the output, log-probabilities, keeps shape, type and device.

    Raises:
        InputError: without MAPIE; as `Calibrator.fit` says; when it is used before a fit.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(500, 2, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> venn = VennAbersCalibration().fit(3 * logits, target)
        >>> low, high = venn.bounds(3 * logits[:1])
        >>> bool(low[0, 1] <= venn(3 * logits[:1]).exp()[0, 1] <= high[0, 1])
        True

    Vovk, Petej, Fedorova: "Large-scale probabilistic predictors with and without guarantees of validity",
    NeurIPS 2015.
    """

    jumps = True

    scores_: Tensor
    low_: Tensor
    high_: Tensor
    ends_: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("scores_", "low_", "high_"):
            self.register_buffer(name, torch.zeros(0, dtype=torch.float64))
        self.register_buffer("ends_", torch.zeros(1, dtype=torch.int64))

    def fit_scores(self, log_p: Tensor, log_rest: Tensor, truth: Tensor) -> None:
        """Tabulate p_0 and p_1 of each class."""
        scores, low, high = [], [], []
        for score, target in zip(log_p.exp().T.cpu(), truth.T.cpu(), strict=True):
            knots = score.unique()
            at = torch.stack([knots, torch.cat([(knots[1:] + knots[:-1]) / 2, (knots[-1:] + 2) / 2])], 1)
            both = _venn_abers(score, target, torch.cat([(knots[:1] - 1) / 2, at.flatten()]))
            scores.append(knots)
            low.append(both[0])
            high.append(both[1])
        self._learned(
            scores_=torch.cat(scores),
            low_=torch.cat(low),
            high_=torch.cat(high),
            ends_=torch.tensor([0, *map(len, scores)]).cumsum(0),
        )
        self.converged_ = True

    def log_odds(self, log_p: Tensor, log_rest: Tensor) -> Tensor:
        """Return ln p_1 - ln(1 - p_0), the log-odds of the merged probability."""
        low, high = self._look_up(log_p.exp())
        return high.log() - torch.log1p(-low)

    def bounds(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return p_0 and p_1 of each class.

        Args:
            logits: (N, C, *).

        Returns:
            Two float64 tensors (N, C, *).

        Raises:
            InputError: before `fit`, or for another number of classes than that of the fit.
        """
        check_classes(self, int(self.classes_), logits)
        log_p, _ = log_shares(logits.movedim(1, -1))
        low, high = self._look_up(self._problems(log_p.exp()))
        if logits.shape[1] == 2:
            low, high = torch.cat([1 - high, low], -1), torch.cat([1 - low, high], -1)
        return low.movedim(-1, 1), high.movedim(-1, 1)

    def _look_up(self, score: Tensor) -> tuple[Tensor, Tensor]:
        columns = []
        for k, (start, end) in enumerate(pairwise(self.ends_.tolist())):
            knots, at = self.scores_[start:end].to(score.device), score[..., k].contiguous()
            # Even places lie between the scores of the fit, odd ones on them.
            place = torch.searchsorted(knots, at) + torch.searchsorted(knots, at, right=True)
            part = slice(2 * start + k, 2 * end + k + 1)
            columns.append((self.low_[part].to(at.device)[place], self.high_[part].to(at.device)[place]))
        low, high = zip(*columns, strict=True)
        return torch.stack(low, -1), torch.stack(high, -1)


class ConformalSets(Calibrator):
    r"""Return for each row the set of classes that holds its label with a given probability.

    $$\hat C(z) = \{k : s(z, k) \le \hat q\}, \quad
      \hat q = \text{the } \lceil (N + 1)(1 - \alpha) \rceil\text{-th smallest of } s(z_i, y_i)$$

    If the rows of the fit and later ones are exchangeable, the set holds the label with probability 1 - alpha
    at least, whatever the model. The score s is 1 - p_k ("lac", the smallest sets on average) or the mass of
    the classes down to k in falling order ("aps", whose sets adapt to the difficulty of a row).

    In place of 1 - p_k stands -ln p_k, which orders rows and classes alike but is not rounded to 1 where a
    model is very sure: MAPIE, which also lets a score miss the quantile by 1e-8, then puts every class into
    every set. The quantile of "aps", whose scores are drawn at random within a step, is MAPIE's; use needs
    torch alone. It returns sets, not logits, so that it is not among the registered calibrators; a file of it
    says "conformal".

    Args:
        confidence: 1 - alpha, the share of the sets that hold their label.
        score: "lac" or "aps".

    Attributes:
        quantile_: q; of "lac" that of -ln p.

    Shape:
        - logits: (N, C, *); the output is boolean, of the same shape.

    Raises:
        InputError: a confidence outside (0, 1), an unknown score; "aps" without MAPIE; fewer rows than
            1 / (1 - confidence), or with "aps" than 1 / confidence, which support no such set; labels of two
            classes with "aps"; as `Calibrator.fit` says; used before a fit, or for another number of classes.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(2000, 5, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> sets = ConformalSets(0.9).fit(logits[:1000], target[:1000])(logits[1000:])
        >>> 0.88 < float(sets[range(1000), target[1000:]].float().mean()) < 0.92
        True

    Sadinle, Lei, Wasserman: "Least ambiguous set-valued classifiers with bounded error levels", JASA 114, 2019;
    Romano, Sesia, Candès: "Classification with valid and adaptive coverage", NeurIPS 2020.
    """

    quantile_: Tensor
    classes_: Tensor

    def __init__(self, confidence: float = 0.9, score: Literal["lac", "aps"] = "lac") -> None:
        super().__init__()
        if not 0 < confidence < 1:
            raise InputError(f"confidence must be between 0 and 1, not {confidence}.")
        check_choice("score", score, ("lac", "aps"))
        self.confidence, self.score = confidence, score
        self.register_buffer("quantile_", torch.zeros((), dtype=torch.float64))
        self.register_buffer("classes_", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def fit(self, logits: Tensor, target: Tensor, ignore_index: int | Iterable[int] | None = None) -> Self:
        """Find the quantile; arguments, result and errors are those of `Calibrator.fit`."""
        rows, labels = self.checked(logits, target, ignore_index)
        # A little less: 1 - 0.9 is a little less than 0.1.
        rarer = min(self.confidence, 1 - self.confidence) if self.score == "aps" else 1 - self.confidence
        least = math.ceil(1 / rarer - 1e-9)
        if len(labels) < least:
            raise InputError(
                f"{len(labels)} rows support no sets of confidence {self.confidence}: give at least {least}."
            )
        if self.score == "aps" and int(labels.bincount().count_nonzero()) < 3:
            raise InputError("Sets of the score 'aps' need labels of three classes or more; take score 'lac'.")
        if self.score == "lac":
            scores = -rows.double().log_softmax(1).gather(1, labels.unsqueeze(1)).squeeze(1)
            rank = math.ceil((len(labels) + 1) * self.confidence - 1e-9)
            self.quantile_ = scores.kthvalue(rank).values
        else:
            quantile = _mass_quantile(rows, labels, self.confidence)
            self.quantile_ = torch.tensor(quantile, dtype=torch.float64, device=rows.device)
        self.classes_ = torch.tensor(rows.shape[1], device=rows.device)
        self.converged_ = True
        return self

    def forward(self, logits: Tensor) -> Tensor:
        """Return the sets."""
        check_classes(self, int(self.classes_), logits)
        log_p, quantile = logits.detach().double().log_softmax(1), self.quantile_.to(logits.device)
        # Of such a row every comparison is false: an empty set would promise what is not known.
        if not torch.compiler.is_compiling() and log_p.isnan().any():
            row = int(log_p.isnan().nonzero()[0, 0])
            raise InputError(f"The logits of row {row} hold NaN or infinity; remove such rows.")
        if self.score == "lac":
            return -log_p <= quantile + _ROUNDING * quantile.abs().clamp(min=1)
        p = log_p.exp()
        # The class with which the mass reaches the quantile is the last one, and those tied with it.
        falling = p.sort(1, descending=True).values
        last = (falling.cumsum(1) - quantile < -_ROUNDING).sum(1, keepdim=True).clamp(max=p.shape[1] - 1)
        least = falling.gather(1, last)
        return p >= least * (1 - _ROUNDING)

    def extra_repr(self) -> str:
        """Show what the sets promise, and the quantile."""
        quantile = f", quantile={float(self.quantile_):.6g}" if int(self.classes_) else ""
        return f"confidence={self.confidence:g}, score={self.score}{quantile}"


def _mass_quantile(rows: Tensor, labels: Tensor, confidence: float) -> float:
    """Return the quantile of "aps" by MAPIE."""
    try:
        from mapie.classification import SplitConformalClassifier
        from mapie.conformity_scores import APSConformityScore

        from calibrant.posthoc.sklearn import GivenProbabilities
    except ModuleNotFoundError:
        raise InputError(_MISSING.format("Conformal sets of the score 'aps' need")) from None
    p = rows.double().softmax(1).cpu().numpy()
    scores = APSConformityScore()
    split = SplitConformalClassifier(
        GivenProbabilities(rows.shape[1]), confidence, scores, prefit=True, random_state=0
    )
    # The quantile is computed when the first set is asked for.
    split.conformalize(p, labels.cpu().numpy()).predict_set(p[:1])
    return float(scores.quantiles_[0])


def _venn_abers(score: Tensor, target: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
    """Return p_0 and p_1 at probabilities, of (n,) probabilities and (n,) bool labels."""
    try:
        from mapie.calibration import VennAbersCalibrator

        from calibrant.posthoc.sklearn import GivenProbabilities
    except ModuleNotFoundError:
        raise InputError(_MISSING.format("Venn-Abers calibration needs")) from None
    fitted = VennAbersCalibrator(GivenProbabilities(2), cv="prefit")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        fitted.fit(torch.stack([1 - score, score], 1).numpy(), target.long().numpy())
        _, both = fitted.predict_proba(torch.stack([1 - at, at], 1).numpy(), p0_p1_output=True)
    low, high = torch.from_numpy(np.asarray(both, dtype=np.float64)).T
    return low, high
