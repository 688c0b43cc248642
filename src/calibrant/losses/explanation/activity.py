"""Where the regulariser of a loss is active: which targets it moves away from the label."""

import torch
from torch import Tensor

from calibrant.losses.base import Loss
from calibrant.losses.explanation.closed_forms import closed_form


def has_condition(loss: Loss) -> bool:
    """Return whether it varies from row to row if a loss moves a target, and can be told of a row.

    It can where the loss has a closed form that says so, and does not look at the rows around.

    Example:
        >>> from calibrant.losses import LabelSmoothing, MarginLoss
        >>> has_condition(MarginLoss()), has_condition(LabelSmoothing())
        (True, False)
    """
    form = closed_form(loss)
    return form is not None and form.conditional and not loss.spatial


@torch.no_grad()
def moved_targets(
    loss: Loss, logits: Tensor, target: Tensor, *, index: Tensor | None = None
) -> tuple[Tensor, Tensor] | None:
    r"""Return which targets the regulariser of a loss moves: where it is active.

    Entry (n, j) is active where the implied target $\tilde t_{nj}$ is not the label's $y_{nj}$: for MbLS where
    the distance of class j exceeds the margin, and for the predicted class of such a row.

    Args:
        loss: any loss; nothing of it changes, and nothing is drawn.
        logits: (N, C, *) real.
        target: as the loss takes it.
        index: (N,) ids of the samples, for a loss that learns from each.

    Returns:
        (N, C, *) bool and (N, *) bool, False where a row is ignored and does not count; None for a loss without
        a condition.

    Example:
        >>> from calibrant.losses import MarginLoss
        >>> logits, target = torch.tensor([[8.0, 0.0, 3.0], [4.0, 0.0, 1.0]]), torch.tensor([0, 1])
        >>> moved, counted = moved_targets(MarginLoss(margin=6.0), logits, target)
        >>> moved
        tensor([[ True,  True, False],
                [False, False, False]])
    """
    form = closed_form(loss)
    if form is None or not has_condition(loss):
        return None
    with torch.autocast(logits.device.type, enabled=False):
        batch = loss.prepare(logits.detach(), target, index)
        label = batch.target if loss.binary else batch.onehot()
        moved = form.target(loss, batch) != label
    counted = torch.ones_like(moved[:, 0]) if batch.valid is None else batch.valid
    return moved & counted.unsqueeze(1), counted
