"""The choice among all calibrators by cross-validation, with the reasons."""

import json
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.posthoc.base import Calibrator, ConvergenceWarning
from calibrant.posthoc.registry import CALIBRATORS, create, list_calibrators, register

NONE = "none"
#: Classes above which methods with a number for each pair of them are not tried.
_MANY = 100
_PAIRWISE = ("matrix", "dirichlet")
#: Logits above which methods that go through them one by one are not tried.
_LONG = 100_000
_ONE_BY_ONE = ("venn_abers",)


class NoCalibration(Calibrator):
    """Leave the logits as they are."""

    keeps_argmax = True

    def __init__(self) -> None:
        # The arguments of a calibrator are read off its constructor, and that of a module takes anything.
        super().__init__()

    def fit_rows(self, logits: Tensor, labels: Tensor) -> None:
        """Do nothing."""
        self.converged_ = True

    def forward(self, logits: Tensor) -> Tensor:
        """Return the logits."""
        return logits


@register("auto")
class AutoCalibration(Calibrator):
    r"""Choose the calibrator whose cross-validated NLL is lowest, "none" included.

    $$\hat m = \arg\min_m \; \sum_{f} \sum_{i \in f} -\log \hat p^{(m, -f)}_{i, y_i}$$

    Rows are dealt to folds once, by the seed (whole maps, where logits have more axes); each candidate is
    fitted without a fold and judged on it. Since "none" is a candidate, the choice is never worse than no
    calibration on the held-out folds together. It is then fitted to all rows.

    Args:
        candidates: names; None for all that there are, without those that do not apply: `excluded_` says why.
        class_counts: training samples of each class, for the candidates that take them.
        folds: number of folds; fewer if there are fewer rows.
        seed: deals the rows to the folds.

    Attributes:
        chosen_: name of the choice.
        calibrator: the choice, fitted; what `forward` applies.
        nll_: NLL of all rows, each judged without its fold, by candidate: what the choice goes by.
        scores_: NLL of each fold, by candidate.
        excluded_: by candidate, why it was not tried.

    Shape:
        - logits: (N, C, *); the output keeps shape, type and device.

    Raises:
        InputError: fewer than 2 folds, candidates that do not exist; as `Calibrator.fit` says.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> logits = torch.randn(2000, 5, generator=generator)
        >>> target = torch.multinomial(logits.softmax(1), 1, generator=generator).squeeze(1)
        >>> auto = AutoCalibration(candidates=["temperature", "vector"]).fit(3 * logits, target)
        >>> auto.chosen_, list(auto.scores_)
        ('temperature', ['none', 'temperature', 'vector'])
    """

    improves_nll = False

    def __init__(
        self,
        candidates: Sequence[str] | None = None,
        *,
        class_counts: Sequence[int] | None = None,
        folds: int = 5,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(candidates, str):
            candidates = [candidates]
        if folds < 2:
            raise InputError(f"folds must be 2 or more, not {folds}.")
        for name in candidates or ():
            if name != NONE:
                CALIBRATORS.get(name)
        self.candidates = None if candidates is None else tuple(candidates)
        self.class_counts = None if class_counts is None else [int(n) for n in class_counts]
        self.folds, self.seed = folds, seed
        self.calibrator: Calibrator = NoCalibration()
        self.chosen_ = NONE
        self.nll_: dict[str, float] = {}
        self.scores_: dict[str, list[float]] = {}
        self.excluded_: dict[str, str] = {}

    @torch.no_grad()
    def fit(self, logits: Tensor, target: Tensor, ignore_index: int | Iterable[int] | None = None) -> Self:
        """Choose and fit; arguments, result and errors are those of `Calibrator.fit`."""
        self.checked(logits, target, ignore_index)
        names = list_calibrators() if self.candidates is None else self.candidates
        self.nll_, self.scores_, self.excluded_ = {}, {}, {}
        for name in (NONE, *(n for n in names if n not in (NONE, "auto"))):
            if self.candidates is None and (reason := _unfit(name, logits)):
                self.excluded_[name] = reason
                continue
            try:
                scores, pooled = self._judged(name, logits, target, ignore_index)
            except InputError as error:
                if name == NONE:
                    raise
                self.excluded_[name] = str(error)
                continue
            self.scores_[name], self.nll_[name] = scores, pooled
        self.chosen_ = min(self.nll_, key=lambda name: (self.nll_[name], name != NONE))
        chosen = _build(self.chosen_, logits.shape[1], class_counts=self.class_counts)
        self.calibrator = chosen.fit(logits, target, ignore_index)
        self.converged_ = self.calibrator.converged_
        return self

    def forward(self, logits: Tensor) -> Tensor:
        """Return what the choice makes of the logits; the logits before a fit."""
        result: Tensor = self.calibrator(logits)
        return result

    def build(self) -> Calibrator:
        """Return a calibrator like the choice, not fitted."""
        return _build(self.chosen_, None, **self.calibrator.arguments())

    def table(self) -> str:
        """Return, as text, each candidate with its NLL on all rows and on each fold, the lowest first."""
        width = max(len(name) for name in (*self.scores_, *self.excluded_, "method"))
        count = max(map(len, self.scores_.values()), default=0)
        lines = [f"{'method':{width}}  {'NLL':>8}" + "".join(f"  {f'fold {k + 1}':>8}" for k in range(count))]
        for name, nll in sorted(self.nll_.items(), key=lambda item: item[1]):
            values = (nll, *self.scores_[name])
            mark = "  chosen" if name == self.chosen_ else ""
            lines.append(f"{name:{width}}" + "".join(f"  {value:8.4f}" for value in values) + mark)
        lines += [f"{name:{width}}  not tried: {reason}" for name, reason in self.excluded_.items()]
        return "\n".join(lines)

    def get_extra_state(self) -> Tensor:
        """Return choice and reasons, as a tensor, so that any format can hold them."""
        facts = {
            "chosen": self.chosen_,
            "arguments": self.calibrator.arguments(),
            "nll": self.nll_,
            "scores": self.scores_,
            "excluded": self.excluded_,
        }
        return torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over choice and reasons; the state of the choice itself is loaded after them."""
        facts: dict[str, Any] = json.loads(bytes(state.tolist()))
        # Files of the first versions have no pooled values.
        self.chosen_, self.nll_ = facts["chosen"], facts.get("nll", {})
        self.scores_, self.excluded_ = facts["scores"], facts["excluded"]
        self.calibrator = _build(self.chosen_, None, **facts["arguments"])

    def extra_repr(self) -> str:
        """Show the choice."""
        return f"chosen={self.chosen_}"

    def _judged(
        self, name: str, logits: Tensor, target: Tensor, ignore_index: int | Iterable[int] | None
    ) -> tuple[list[float], float]:
        """Return the NLL of each fold that has labels, and that of all rows."""
        mended = cross_validated(
            lambda: _build(name, logits.shape[1], class_counts=self.class_counts),
            logits,
            target,
            ignore_index=ignore_index,
            folds=self.folds,
            seed=self.seed,
        )
        fold = deal(len(logits), self.folds, self.seed).to(logits.device)
        scores = []
        for k in range(int(fold.max()) + 1):
            try:
                scores.append(self._nll(mended[fold == k], target[fold == k], ignore_index))
            except InputError:
                # Every label of this fold is ignored.
                continue
        return scores, self._nll(mended, target, ignore_index)

    def _nll(self, logits: Tensor, target: Tensor, ignore_index: int | Iterable[int] | None) -> float:
        rows, labels = self.checked(logits, target, ignore_index)
        return float(torch.nn.functional.cross_entropy(rows.double(), labels))


def deal(rows: int, folds: int, seed: int) -> Tensor:
    """Return the (rows,) folds that rows are dealt to, of as equal a size as can be."""
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(seed))
    return torch.empty_like(order).scatter(0, order, torch.arange(rows) % min(folds, rows))


@torch.no_grad()
def cross_validated(
    make: Callable[[], Calibrator],
    logits: Tensor,
    target: Tensor,
    *,
    ignore_index: int | Iterable[int] | None = None,
    folds: int = 5,
    seed: int = 0,
) -> Tensor:
    """Return each row as a calibrator mends it that was fitted to the other folds.

    So all rows can be judged, though none was seen by what mends it. Conformal sets come as 0 and 1.

    Args:
        make: builds a calibrator that has not been fitted.
        logits: (N, C, *) real, N >= 2; a fold holds whole rows of the first axis.
        target: (N, *) integer labels.
        ignore_index: label, or labels, that count nowhere.
        folds: number of folds; fewer if there are fewer rows.
        seed: deals the rows to the folds.

    Raises:
        InputError: a single row; what a fit refuses.

    Example:
        >>> from calibrant.posthoc import TemperatureScaling
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 2.0], [1.0, 0.0], [0.0, 1.0], [3.0, 0.0], [0.0, 1.0]])
        >>> target = torch.tensor([0, 1, 1, 0, 0, 1])
        >>> cross_validated(TemperatureScaling, logits, target, folds=3).shape
        torch.Size([6, 2])
    """
    if len(logits) < 2:
        raise InputError(f"Cross-validation needs 2 rows or more, not {len(logits)}.")
    fold = deal(len(logits), folds, seed).to(logits.device)
    mended = torch.empty_like(logits)
    with warnings.catch_warnings():
        # What is judged says what a fit that did not converge is worth.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for k in range(int(fold.max()) + 1):
            kept, held = fold != k, fold == k
            mended[held] = make().fit(logits[kept], target[kept], ignore_index)(logits[held]).to(mended.dtype)
    return mended


def _unfit(name: str, logits: Tensor) -> str:
    """Return why a calibrator does not apply to such logits, or nothing."""
    if name == NONE:
        return ""
    if getattr(CALIBRATORS.get(name), "spatial", False) and logits.dim() != 4:
        return "It is for maps."
    if name in _PAIRWISE and logits.shape[1] > _MANY:
        return f"It has a number for each pair of {logits.shape[1]} classes; name it to try it."
    if name in _ONE_BY_ONE and logits.numel() > _LONG:
        return f"It would take long on {logits.numel():,} logits; name it to try it."
    return ""


def _build(name: str, classes: int | None, **arguments: Any) -> Calibrator:
    if name == NONE:
        return NoCalibration()
    return create(name, num_classes=classes, **arguments)
