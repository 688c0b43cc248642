"""A loss explained: its closed form, its curve, and what they say."""

from dataclasses import dataclass

from calibrant.losses.base import Loss
from calibrant.losses.explanation.closed_forms import closed_form
from calibrant.losses.explanation.curves import SmoothingCurve, smoothing_curve
from calibrant.losses.explanation.verdicts import Verdict, verdict


@dataclass(frozen=True)
class Explanation:
    """What a loss does to its targets.

    Attributes:
        name: what the loss is called.
        formula: the implied target in closed form, one line; None where there is none.
        curve: the smoothing as a function of the logit of the predicted class.
        verdict: what the curve says.
    """

    name: str
    formula: str | None
    curve: SmoothingCurve
    verdict: Verdict


def explain(
    loss: Loss, name: str | None = None, *, num_classes: int = 10, upto: float = 20.0, points: int = 100
) -> Explanation:
    """Explain a loss.

    Args:
        loss: any loss; it stays as it is.
        name: what to call it; its class by default.
        num_classes: as in `smoothing_curve`, likewise `upto` and `points`.
        upto: the largest logit.
        points: how many logits.

    Raises:
        InputError: as `smoothing_curve`.

    Example:
        >>> from calibrant.losses import LabelSmoothing
        >>> said = explain(LabelSmoothing(alpha=0.1))
        >>> said.formula, said.verdict.effect
        ('(1 − α) y + α/C', 'smooths, by 0.09 throughout')

    Park, Noh, Oh, Baek, Ham: "ACLS: Adaptive and Conditional Label Smoothing for Network Calibration",
    ICCV 2023.
    """
    form = closed_form(loss)
    curve = smoothing_curve(loss, num_classes=num_classes, upto=upto, points=points)
    formula = None if form is None else form.formula
    return Explanation(name or type(loss).__name__, formula, curve, verdict(curve))
