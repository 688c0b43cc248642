"""A network with what comes before and after it in one module: normalisation, calibrator, softmax."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from calibrant.posthoc import Calibrator
from calibrant.training.dense import mended


class FoldedNetwork(nn.Module):
    """From samples to calibrated probabilities.

    Args:
        network: gives logits (N, C, *), or (N, 1, *) of binary maps.
        calibrator: fitted; None for none.
        mean: of each channel, subtracted from images before the network; None where they come normalised.
        std: of each channel, by which they are divided then.
        binary: whether the network gives one logit, that of class 1 of two; a calibrator takes it as those of
            both.

    Shape:
        - samples: what the network takes, the batch first; images that are normalised here of any type.
        - output: probabilities and logits, calibrated, float32, of the shape of the network's own logits; the
          softmax of the logits over the classes, or their sigmoid where there is one, are the probabilities.

    Example:
        >>> from calibrant.posthoc import TemperatureScaling
        >>> scaling = TemperatureScaling()
        >>> _ = scaling.temperature_.fill_(2.0)
        >>> folded = FoldedNetwork(nn.Flatten(), scaling, mean=[10.0], std=[5.0])
        >>> probs, logits = folded(torch.tensor([[[[10, 20]]]], dtype=torch.uint8))
        >>> logits, probs
        (tensor([[0., 1.]]), tensor([[0.2689, 0.7311]]))
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        calibrator: Calibrator | None,
        *,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        binary: bool = False,
    ) -> None:
        super().__init__()
        self.network, self.binary = network, binary
        self.calibrator = None if calibrator is None else settled(calibrator)
        self.normalises = mean is not None
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(list(values or ())).view(-1, 1, 1))

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and logits."""
        if self.normalises:
            samples = (samples.float() - self.mean) / self.std
        logits: Tensor = self.network(samples).float()
        if self.binary:
            logits = mended(logits, self.calibrator)
            return logits.sigmoid(), logits
        if self.calibrator is not None:
            logits = self.calibrator(logits)
        return logits.softmax(1), logits


def settled(calibrator: Calibrator) -> Calibrator:
    """Return a copy whose counts, such as the number of classes, are numbers instead of tensors.

    An export follows tensors without their values, so that nothing may be decided by what one holds.
    """
    copy = deepcopy(calibrator)
    for module in copy.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            if not buffer.is_floating_point():
                delattr(module, name)
                setattr(module, name, buffer.cpu().numpy())
    return copy
