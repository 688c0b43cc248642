r"""Cross-entropy, the baseline of every method: $-\log p_y$, with $p$ the softmax of the logits."""

from torch import Tensor

from calibrant.losses.base import Batch, Loss
from calibrant.losses.registry import register


def cross_entropy(batch: Batch) -> Tensor:
    """Return the (N, *) cross-entropy of each row; the expectation under soft targets."""
    return -batch.at_target(batch.logits.log_softmax(1))


@register("ce")
class CrossEntropy(Loss):
    r"""Cross-entropy with class indices or soft labels, the baseline of every method.

    $$L = -\sum_k t_k \log p_k$$

    Equal to `torch.nn.CrossEntropyLoss` for class indices, whatever the options.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[2.0, 0.0], [0.0, 3.0]])
        >>> CrossEntropy()(logits, torch.tensor([0, -100]))
        tensor(0.1269)
    """

    def formula(self, batch: Batch) -> dict[str, Tensor]:
        """Return the cross-entropy of each row."""
        return {"ce": cross_entropy(batch)}
