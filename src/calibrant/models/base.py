"""The contract of a network: features, then a classifier."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from calibrant.errors import InputError


class Network(nn.Module, ABC):
    """A network in two parts, so that the second can be replaced and trained again on the first.

    A subclass defines `features`, images (N, C, H, W) to (N, D), and the attribute `classifier`, a module from
    (N, D) to (N, K) logits.

    Attributes:
        inputs: what it takes, as the data call it: "image", or "tokens" of texts.
        classifier: the last layer.
    """

    inputs: ClassVar[str] = "image"
    classifier: nn.Module

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return what the classifier sees, (N, D)."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, (N, K)."""
        logits: Tensor = self.classifier(self.features(images))
        return logits


class Split(Network):
    """Any network that ends in a linear layer, seen as features and classifier.

    Args:
        body: a network whose last linear layer, in the order of its modules, makes the logits; it is moved
            from there to `classifier`.

    Raises:
        InputError: the network has no linear layer.

    Example:
        >>> import torch
        >>> net = Split(nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
        >>> net.features(torch.zeros(5, 1, 2, 2)).shape, net(torch.zeros(5, 1, 2, 2)).shape
        (torch.Size([5, 3]), torch.Size([5, 2]))
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        linear = [(name, module) for name, module in body.named_modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise InputError(f"{type(body).__name__} has no linear layer, so it cannot end in a classifier.")
        name, last = linear[-1]
        body.set_submodule(name, nn.Identity())
        self.body = body
        self.classifier = last

    def features(self, images: Tensor) -> Tensor:
        """Return what the last linear layer sees."""
        features: Tensor = self.body(images)
        return features
