"""A pretrained network of which only the last block and the classifier are trained, as for Places-LT."""

from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from calibrant.errors import InputError
from calibrant.models.base import Network
from calibrant.models.last_block import fresh_last_block, without_last_block
from calibrant.models.registry import register
from calibrant.models.weights import read_state


class FrozenTrunk(Network):
    """A torchvision ResNet whose last block is replaced by a fresh one, the rest frozen.

    The trunk takes no gradient and stays in evaluation mode, so that its batch norms use, and keep, the
    statistics that they came with; those of the block move in training mode as usual.

    Args:
        net: a ResNet of torchvision, pretrained, with at least two blocks in its last stage.
        num_classes: number of classes.

    Attributes:
        trunk: the network without its last block, its pooling and its classifier.
        block: the fresh block.

    Raises:
        InputError: the last stage has one block only.

    Example:
        >>> net = FrozenTrunk(torchvision.models.resnet18(), num_classes=5)
        >>> net(torch.rand(2, 3, 64, 64)).shape, net.train().trunk.training
        (torch.Size([2, 5]), False)

    Zhong, Cui, Liu, Jia: "Improving Calibration for Long-Tailed Recognition", CVPR 2021.
    """

    def __init__(self, net: ResNet, num_classes: int) -> None:
        super().__init__()
        self.trunk = without_last_block(net).requires_grad_(False)
        self.block = fresh_last_block(net)
        self.classifier = nn.Linear(net.fc.in_features, num_classes)
        self.train()

    def train(self, mode: bool = True) -> "FrozenTrunk":
        """Set the mode of the block and the classifier; the trunk stays in evaluation mode."""
        super().train(mode)
        self.trunk.eval()
        return self

    def features(self, images: Tensor) -> Tensor:
        """Return the means over the maps of the block, (N, D)."""
        with torch.no_grad():
            maps = self.trunk(images)
        features: Tensor = self.block(maps).mean((2, 3))
        return features


@register("places_resnet152")
def places_resnet152(num_classes: int, weights: str | None = None) -> Network:
    """ResNet-152 with a frozen trunk and a fresh last block, for Places-LT; 4.5 M parameters are trained.

    Args:
        num_classes: number of classes.
        weights: the pretrained weights: a file of torchvision's state dict, or the name of torchvision's own,
            such as "IMAGENET1K_V1", which it downloads. None leaves the trunk at random, which is of use only
            when a checkpoint of the whole is loaded afterwards.
    """
    return FrozenTrunk(pretrained(ResNet(Bottleneck, [3, 8, 36, 3]), "resnet152", weights), num_classes)


def pretrained(net: ResNet, name: str, weights: str | None) -> ResNet:
    """Load weights into a ResNet from a file, or those of torchvision's network `name`.

    Raises:
        InputError: neither a file nor a name of torchvision's, or weights of another network.
    """
    if weights is None:
        return net
    state: dict[str, Any]
    if Path(weights).is_file():
        state = read_state(weights)
    else:
        known = torchvision.models.get_model_weights(name).__members__
        if weights not in known:
            raise InputError(
                f"weights must be a file or one of {', '.join(known)}, not {weights!r}; there is no such file."
            )
        state = known[weights].get_state_dict(progress=True)
    # The classifier of the pretrained classes is thrown away.
    kept = {key: value for key, value in state.items() if not key.startswith("fc.")}
    try:
        unknown = [key for key in net.load_state_dict(kept, strict=False).missing_keys if key[:3] != "fc."]
    except RuntimeError as error:
        raise InputError(f"{weights} does not fit {name}: {str(error).splitlines()[-1].strip()}") from None
    if unknown:
        raise InputError(f"{weights} lacks {unknown[0]} and {len(unknown) - 1} others of {name}.")
    return net
