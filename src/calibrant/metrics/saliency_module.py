"""The measures of saliency maps as a streaming metric."""

from typing import Any, Literal

from torch import Tensor
from torchmetrics import Metric

from calibrant.errors import InputError, check_choice
from calibrant.metrics.saliency import SaliencyScores, SaliencyState
from calibrant.metrics.saliency_image import Protocol


class Saliency(Metric):
    """MAE, F-, E- and S-measure of saliency maps; see `saliency.saliency_scores`.

    Args:
        inputs: "logits" or "probs": what `update` is given; never guessed.
        protocol: "standard" or "aslp".
        **settings: those of `torchmetrics.Metric`.

    Example:
        >>> import torch
        >>> metric = Saliency(inputs="probs")
        >>> labels = torch.eye(4).expand(2, 1, 4, 4)
        >>> metric.update(labels, labels)
        >>> float(metric.compute().max_f)
        1.0
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    def __init__(
        self, *, inputs: Literal["logits", "probs"], protocol: Protocol = "standard", **settings: Any
    ) -> None:
        super().__init__(**settings)
        check_choice("inputs", inputs, ("logits", "probs"))
        self.inputs, self.protocol = inputs, protocol
        for name, zeros in SaliencyState(protocol).sums.items():
            self.add_state(name, zeros, dist_reduce_fx="sum")

    def update(self, values: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            values: (N, 1, H, W) logits or probabilities, as `inputs` says; or uint8 maps.
            target: (N, 1, H, W) or (N, H, W) labels.
        """
        if values.dim() != 4 or values.shape[1] != 1:
            raise InputError(f"Saliency maps are (N, 1, H, W), not {tuple(values.shape)}.")
        if self.inputs == "logits":
            if not values.is_floating_point():
                raise InputError(f"Logits are real, not {values.dtype}; say inputs='probs' for 8-bit maps.")
            values = values.float().sigmoid()
        target = target.squeeze(1) if target.dim() == 4 else target
        if len(values) != len(target):
            raise InputError(f"{len(values)} maps do not fit {len(target)} labels.")
        state = self._state()
        for prediction, label in zip(values.squeeze(1), target, strict=True):
            state.update(prediction, label)
        for name, value in state.sums.items():
            setattr(self, name, value)

    def compute(self) -> SaliencyScores:
        """Return the measures of everything seen."""
        return self._state().scores()

    def _state(self) -> SaliencyState:
        names = SaliencyState.zeros(self.protocol)
        return SaliencyState(self.protocol, {name: getattr(self, name) for name in names})
