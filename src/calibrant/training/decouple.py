"""The second stage of two: the features stay as they are, the classifier is trained anew or goes on."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from calibrant.errors import InputError
from calibrant.losses import Loss
from calibrant.models import Network
from calibrant.models.heads import NormedLinear, ScaledLinear, tau_normalise
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import DecoupleConfig


def replace_head(network: Network, config: DecoupleConfig) -> None:
    """Put the classifier of the second stage in the place of that of the first.

    Raises:
        InputError: the network does not end in a linear layer.
    """
    first = _linear(network, f"decouple.method {config.method!r}")
    if config.method == "tau_norm":
        network.classifier = tau_normalise(first, config.tau, keep_bias=config.keep_bias)
    else:
        make = {"crt": ScaledLinear.crt, "lws": ScaledLinear.lws, "mislas": ScaledLinear.mislas}
        network.classifier = make[config.method](first, decay=config.decay)


def use_cosines(network: Network, factor: float) -> None:
    """Put a cosine classifier in the place of a linear one.

    Args:
        network: the network.
        factor: what multiplies the cosines outside training: the scale of the loss.

    Raises:
        InputError: the network does not end in a linear layer.
    """
    first = _linear(network, "model.head 'cosine'")
    network.classifier = NormedLinear(first.in_features, first.out_features, factor)


def _linear(network: Network, who: str) -> nn.Linear:
    first = network.classifier
    if not isinstance(first, nn.Linear):
        raise InputError(f"{who} needs a network that ends in a linear layer, not in {type(first).__name__}.")
    return first


class DecoupledModule(TrainingModule):
    """Trains a classifier on features that stay.

    The features are computed without gradient and in evaluation mode (no dropout). With `shift_bn`, the batch
    norms that the first stage trained normalise by the batch and let their running statistics move.

    Args:
        network: the network, with the classifier of this stage.
        loss: the loss.
        stage: optimizer, schedule, length, and what moves.
        **settings: as in `TrainingModule`.
    """

    network: Network
    stage: DecoupleConfig

    def __init__(self, network: Network, loss: Loss, stage: DecoupleConfig, **settings: Any) -> None:
        # Those of a trunk that was frozen from the start have never moved, and do not now.
        shifting = [
            module
            for module in network.modules()
            if isinstance(module, _BatchNorm) and all(p.requires_grad for p in module.parameters())
        ]
        network.requires_grad_(False)
        network.classifier.requires_grad_(True)
        super().__init__(network, loss, stage, **settings)
        self._shifting = shifting if stage.shift_bn else []
        # The trainer takes the modes as they are.
        self.train()

    def train(self, mode: bool = True) -> "DecoupledModule":
        """Set the mode of the classifier, and of the batch norms that shift."""
        super().train(mode)
        self.network.eval()
        for module in [self.network.classifier, *self._shifting]:
            module.train(mode)
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        with torch.no_grad():
            features = self.network.features(inputs.contiguous(memory_format=self.layout))
        logits: Tensor = self.network.classifier(features)
        return logits

    def trained(self) -> list[dict[str, Any]]:
        """Return the parts of the classifier; the rate of all but the scale is multiplied by `lr_factor`."""
        head, rate = self.network.classifier, self.stage.optimizer.lr
        assert isinstance(head, ScaledLinear)
        groups = head.parameter_groups()
        return [
            {**group, "lr": rate * (1.0 if group["name"] == "scale" else self.stage.lr_factor)}
            for group in groups
        ]
