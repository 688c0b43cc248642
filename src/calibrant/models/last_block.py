"""The last block of a torchvision ResNet, apart from the rest."""

from torch import nn
from torchvision.models.resnet import ResNet

from calibrant.errors import InputError


def without_last_block(net: ResNet) -> nn.Sequential:
    """Return a ResNet without its last block, its pooling and its classifier.

    Raises:
        InputError: its last stage has one block only.

    Example:
        >>> import torch
        >>> from torchvision.models import resnet18
        >>> without_last_block(resnet18())(torch.rand(1, 3, 64, 64)).shape
        torch.Size([1, 512, 2, 2])
    """
    if len(net.layer4) < 2:
        raise InputError("The last stage of the network has one block; the trunk needs one of its own.")
    stem = [net.conv1, net.bn1, net.relu, net.maxpool]
    return nn.Sequential(*stem, net.layer1, net.layer2, net.layer3, net.layer4[:-1])


def fresh_last_block(net: ResNet) -> nn.Module:
    """Return a block like the last one of a ResNet, with random weights."""
    width = net.fc.in_features
    last = type(net.layer4[-1])
    block: nn.Module = last(width, width // last.expansion)
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return block
