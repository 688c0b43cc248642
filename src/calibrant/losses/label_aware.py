r"""Label-aware smoothing (LAS): the more samples a class has, the more its label is smoothed."""

import math
from typing import Literal, Unpack

import torch
from torch import Tensor

from calibrant.errors import InputError, check_choice
from calibrant.losses.base import Batch, Loss, Settings
from calibrant.losses.counts import Counts, check_counts, of_label
from calibrant.losses.label_smoothing import smoothed_cross_entropy
from calibrant.losses.multipliers import along_classes
from calibrant.losses.registry import register

Shape = Literal["concave", "linear", "convex", "exponential"]


def smoothing_by_count(
    class_counts: Counts,
    eps_head: float,
    eps_tail: float,
    shape: Shape = "concave",
    power: float | None = None,
) -> Tensor:
    r"""Return the smoothing $\epsilon_y$ of each class, (C,) float64.

    With $u_y = (n_y - n_{min}) / (n_{max} - n_{min})$:

    | shape | $\epsilon_y$ |
    |---|---|
    | concave | $\epsilon_t + (\epsilon_h - \epsilon_t) \sin(\pi u_y / 2)$ |
    | linear | $\epsilon_t + (\epsilon_h - \epsilon_t) \, u_y$ |
    | convex | $\epsilon_h + (\epsilon_h - \epsilon_t) \sin(3\pi/2 + \pi u_y / 2)$ |
    | exponential | $\epsilon_t + (\epsilon_h - \epsilon_t) \, u_y^p$ |

    Args:
        class_counts: (C,) training samples of each class, in the order of the labels; 0 is admitted.
        eps_head: $\epsilon_h$, the smoothing of the largest class; of every class when all are equal.
        eps_tail: $\epsilon_t$, the smoothing of the smallest.
        shape: how it falls in between.
        power: p > 0, for "exponential" alone.

    Raises:
        InputError: a smoothing outside [0, 1), an unknown shape, a power that is missing or not wanted.

    Example:
        >>> smoothing_by_count([100, 55, 10], 0.3, 0.1, "linear")
        tensor([0.3000, 0.2000, 0.1000], dtype=torch.float64)
    """
    for name, eps in (("eps_head", eps_head), ("eps_tail", eps_tail)):
        if not 0 <= eps < 1:
            raise InputError(f"{name} is a share of the label's mass, at least 0 and below 1, not {eps}.")
    check_choice("shape", shape, ("concave", "linear", "convex", "exponential"))
    if (shape == "exponential") != (power is not None):
        raise InputError(f"power belongs to shape='exponential' alone: shape is {shape!r}, power {power}.")
    counts = check_counts(class_counts, positive=False)
    span = counts.max() - counts.min()
    if span == 0:
        return torch.full_like(counts, eps_head)
    u, gap = (counts - counts.min()) / span, eps_head - eps_tail
    if shape == "concave":
        return eps_tail + gap * (u * math.pi / 2).sin()
    if shape == "linear":
        return eps_tail + gap * u
    if shape == "convex":
        return eps_head + gap * (1.5 * math.pi + u * math.pi / 2).sin()
    assert power is not None
    if not power > 0:
        raise InputError(f"power must be above 0, not {power}.")
    return eps_tail + gap * u**power


@register("las")
class LabelAwareSmoothing(Loss):
    r"""Cross-entropy whose label smoothing grows with the number of training samples of the label.

    $$L = -(1 - \epsilon_y) \log p_y - \epsilon_y \, \frac{1}{C} \sum_k \log p_k$$

    A network trained on many samples of a class becomes over-confident in it; $\epsilon_y$ runs from
    `eps_head` for the largest class to `eps_tail` for the smallest (`smoothing_by_count`). Meant for the second
    stage of long-tailed training, on class-balanced batches.

    Args:
        class_counts: (C,) training samples of each class, in the order of the labels.
        eps_head: smoothing of the largest class. Published: 0.3 (CIFAR-10-LT with imbalance 100, ImageNet-LT,
            iNaturalist), 0.4 (CIFAR-100-LT with imbalance 100, Places-LT).
        eps_tail: smoothing of the smallest class. Published: 0, or 0.1 with the 0.4.
        shape: "concave" in every published result; "linear", "convex" or "exponential".
        power: the exponent of the exponential shape.
        form: "code" spreads the mass over all C classes, as above and as the published code does; "paper" over
            the C - 1 others. A paper's eps equals a code's eps C/(C-1).
        **settings: `weight`, `ignore_index` and `reduction` of `Loss`.

    The loss is linear in the target: under a soft target it is the expectation over the label, and so equals
    `mixed_loss` of a pair.

    Example:
        >>> import torch
        >>> loss = LabelAwareSmoothing([100, 10], eps_head=0.2)
        >>> loss(torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
        tensor(0.2269)

    Zhong, Cui, Liu, Jia: "Improving Calibration for Long-Tailed Recognition", CVPR 2021.
    """

    eps: Tensor

    def __init__(
        self,
        class_counts: Counts,
        eps_head: float = 0.3,
        eps_tail: float = 0.0,
        *,
        shape: Shape = "concave",
        power: float | None = None,
        form: Literal["code", "paper"] = "code",
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(**settings)
        check_choice("form", form, ("code", "paper"))
        eps = smoothing_by_count(class_counts, eps_head, eps_tail, shape, power)
        self.eps_head, self.eps_tail, self.shape, self.form = eps_head, eps_tail, shape, form
        self.register_buffer("eps", eps, persistent=False)

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the smoothed cross-entropy of each row."""
        over: Literal["all", "others"] = "all" if self.form == "code" else "others"
        eps = of_label(batch, self.eps)
        if not batch.soft:
            return {"las": smoothed_cross_entropy(batch, eps, over)}
        # Each class of a soft target is smoothed by its own eps, so that eps cannot be averaged first.
        classes = batch.logits.shape[1]
        scale = classes / (classes - 1) if over == "others" else 1.0
        log_p = batch.logits.log_softmax(1)
        label = batch.at_target((1 - scale * along_classes(self.eps, batch.logits)) * log_p)
        return {"las": -label - scale * eps * log_p.mean(1)}
