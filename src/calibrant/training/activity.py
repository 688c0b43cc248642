"""Where the regulariser of the loss was active in training: the share of the samples, and of their classes."""

import torch
from torch import Tensor

from calibrant.losses import Loss
from calibrant.losses.explanation.activity import has_condition, moved_targets
from calibrant.losses.multipliers import sum_over_processes

#: Rows of a batch, and batches of an epoch, that are looked at: so many, or fewer than twice as many, evenly
#: spread. Looking costs next to nothing then, however large maps and epochs are.
ROWS, BATCHES = 4096, 100
#: The columns of the table of the epochs.
SAMPLES, CLASSES = "active_samples", "active_classes"


class Activity:
    """Counts, over an epoch and all processes, where the regulariser of a loss moves a target.

    Of a loss without a condition, which acts on every sample or on none, it counts nothing.

    Args:
        loss: the loss. Nothing of it changes, and nothing is drawn.

    Example:
        >>> from calibrant.losses import MarginLoss
        >>> activity = Activity(MarginLoss(margin=6.0))
        >>> activity.start(1)
        >>> activity.note(torch.tensor([[8.0, 0.0, 3.0], [4.0, 0.0, 1.0]]), torch.tensor([0, 1]))
        >>> {name: round(float(share), 3) for name, share in activity.shares().items()}
        {'active_samples': 0.5, 'active_classes': 0.333}
    """

    def __init__(self, loss: Loss) -> None:
        self.loss, self._watches = loss, has_condition(loss)
        self.start(1)

    def start(self, batches: float) -> None:
        """Begin an epoch of so many batches."""
        self._every = max(int(min(batches, 2**31)) // BATCHES, 1)
        self._seen = 0
        self._sums: Tensor | None = None

    def note(self, logits: Tensor, target: Tensor, index: Tensor | None = None) -> None:
        """Look at a batch, if it is one of those that are looked at: the next in order."""
        self._seen += 1
        if not self._watches or (self._seen - 1) % self._every:
            return
        logits, target, index = _some(logits.detach(), target, index)
        found = moved_targets(self.loss, logits, target, index=index)
        # A loss of a whole batch has no closed form once deferred re-weighting has given it weights.
        if found is None:
            return
        moved, counted = found
        parts = (counted.sum(), moved.any(1).sum(), moved.sum() / moved.shape[1])
        sums = torch.stack([part.double() for part in parts])
        self._sums = sums if self._sums is None else self._sums + sums

    def shares(self) -> dict[str, Tensor]:
        """Return the shares of the epoch by column: nothing where there is nothing to tell.

        `active_samples` is the share of the samples (of maps: pixels) of which the regulariser moved a target,
        `active_classes` the share of the classes whose target it moved, averaged over all samples.
        """
        if self._sums is None:
            return {}
        sums = self._sums.clone()
        sum_over_processes(sums)
        samples, classes = sums[1:] / sums[0].clamp(min=1)
        return {SAMPLES: samples, CLASSES: classes}


def _some(logits: Tensor, target: Tensor, index: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the first rows of (N, C) logits, or all samples of (N, C, *) with one pixel in so many."""
    if logits.dim() == 2:
        return logits[:ROWS], target[:ROWS], None if index is None else index[:ROWS]
    pixels = logits.numel() // max(logits.shape[1], 1)
    step = max(pixels // ROWS, 1)
    channels = target.dim() == logits.dim()
    flat = target.flatten(2)[:, :, ::step] if channels else target.flatten(1)[:, ::step]
    return logits.flatten(2)[:, :, ::step], flat, index
