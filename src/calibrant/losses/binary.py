r"""The form of dense binary losses: one logit a pixel, and a map in [0, 1] as target."""

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.labels import check_labels, counted
from calibrant.losses.base import Batch, Loss, check_index


class BinaryLoss(Loss):
    r"""A loss on one logit z a row, with $\sigma(z)$ the probability of the object.

    Shape:
        - logits: (N, 1, *) real.
        - target: (N, 1, *) real in [0, 1]; or integer 0 and 1, (N, 1, *) or (N, *), where `ignore_index` works.
        - output: a scalar, or (N, 1, *) under reduction "none".

    `weight` is (2,): that of the background and of the object; a grey pixel weighs its expectation.

    A subclass writes `formula` as for `Loss`: `batch.logits` and `batch.target` are (N, 1, *) real, and the
    terms that it returns (N, *).

    Raises:
        InputError: as `Loss`, and a target outside [0, 1].
    """

    binary = True

    def prepare(self, logits: Tensor, target: Tensor, index: Tensor | None = None) -> Batch:
        """Check a batch and bring it into the form that `formula` sees."""
        self._check_shapes(logits, target)
        check_index(index, len(logits))
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        if target.is_floating_point():
            if self._looks_at(logits):
                _check_range(target)
            return Batch(logits, target.to(logits.dtype), None, index)
        labels = target.long()
        labels = labels.squeeze(1) if labels.dim() == logits.dim() else labels
        valid = counted(labels, self.ignored)
        if self._looks_at(logits):
            check_labels(labels, valid, 2)
        if valid is not None:
            labels = torch.where(valid, labels, torch.zeros_like(labels))
        return Batch(logits, labels.unsqueeze(1).to(logits.dtype), valid, index)

    def _check_shapes(self, logits: Tensor, target: Tensor) -> None:
        name = type(self).__name__
        if logits.dim() < 2 or logits.shape[1] != 1 or not logits.is_floating_point():
            got = f"{logits.dtype} of shape {tuple(logits.shape)}"
            raise InputError(f"{name} takes real logits of shape (N, 1, *), one a pixel, not {got}.")
        rows = logits.shape[:1] + logits.shape[2:]
        if target.shape != logits.shape and (target.is_floating_point() or target.shape != rows):
            raise InputError(
                f"Target of shape {tuple(target.shape)} fits no logits of shape {tuple(logits.shape)}: give a "
                "map in [0, 1] of the same shape, or integers 0 and 1."
            )
        if self.weight is not None and self.weight.shape != (2,):
            raise InputError(
                f"weight has shape {tuple(self.weight.shape)}, but {name} takes two: of background and object."
            )

    def _row_weight(self, batch: Batch) -> Tensor | None:
        if self.weight is None:
            return None
        background, thing = self.weight.to(batch.logits.dtype)
        return batch.keep(background + (thing - background) * batch.target.squeeze(1))

    def _combine(self, batch: Batch, terms: dict[str, Tensor]) -> Tensor:
        loss = super()._combine(batch, terms)
        return loss.unsqueeze(1) if self.reduction == "none" else loss


class DrawnLoss(BinaryLoss):
    """A binary loss that draws; where its draws have a generator of their own, the state dict keeps it."""

    generator: torch.Generator | None

    def get_extra_state(self) -> Tensor:
        """Return the state of the generator for the state dict; empty when the draws are PyTorch's own."""
        return torch.empty(0, dtype=torch.uint8) if self.generator is None else self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on drawing from a saved state."""
        if self.generator is not None and state.numel():
            self.generator.set_state(state.cpu())


def _check_range(target: Tensor) -> None:
    wrong = ~((target >= 0) & (target <= 1))
    if wrong.any():
        where = tuple(int(i) for i in wrong.nonzero()[0])
        raise InputError(
            f"The target is {float(target[where]):g} at position {where}: a binary map holds values in [0, 1]; "
            "divide an 8-bit map by 255."
        )
