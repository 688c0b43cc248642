"""Residual networks for images of 32x32: the narrow family of 16-32-64 channels, and the wide one."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock as WideBasicBlock
from torchvision.models.resnet import Bottleneck, ResNet

from calibrant.models.base import Network, Split
from calibrant.models.registry import register


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with the option-A shortcut, which has no parameters.

    Where the shape changes, the shortcut takes every second row and column and puts zero channels around
    those that there are: a quarter of the new width before and after, when the width doubles.

    Args:
        channels_in: channels of the input.
        channels: channels of the output.
        stride: stride of the first convolution.
    """

    def __init__(self, channels_in: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.stride, self.padding = stride, (channels - channels_in) // 2

    def shortcut(self, x: Tensor) -> Tensor:
        """Return the input in the shape of the output."""
        if self.stride == 1 and self.padding == 0:
            return x
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.padding, self.padding))

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H / stride, W / stride)."""
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class CifarResNet(Network):
    """The residual network of 6n + 2 layers: three stages of n blocks with 16, 32 and 64 channels.

    Convolutions and the classifier's weight are drawn by Kaiming's normal rule (fan-in, gain sqrt 2).

    Args:
        num_classes: number of classes.
        depth: number of layers, 6n + 2: 20, 32, 44, 56 or 110.
        in_channels: channels of an image.

    He, Zhang, Ren, Sun: "Deep Residual Learning for Image Recognition", CVPR 2016; the initialisation is that
    of Zhong, Cui, Liu, Jia: "Improving Calibration for Long-Tailed Recognition", CVPR 2021.
    """

    def __init__(self, num_classes: int, depth: int = 32, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        widths = (16, 16, 32, 64)
        for i, (before, width) in enumerate(pairwise(widths), start=1):
            first = BasicBlock(before, width, 1 if i == 1 else 2)
            rest = [BasicBlock(width, width) for _ in range((depth - 2) // 6 - 1)]
            self.add_module(f"layer{i}", nn.Sequential(first, *rest))
        self.classifier = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def features(self, images: Tensor) -> Tensor:
        """Return the (N, 64) means over the last maps."""
        x = F.relu(self.bn1(self.conv1(images)))
        for stage in ("layer1", "layer2", "layer3"):
            x = self.get_submodule(stage)(x)
        return x.mean((2, 3))


@register("resnet20")
def resnet20(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-20 for 32x32 images (16-32-64 channels, option-A shortcuts); 0.27 M parameters."""
    return CifarResNet(num_classes, 20, in_channels)


@register("resnet32")
def resnet32(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-32 for 32x32 images (16-32-64 channels, option-A shortcuts); 0.46 M parameters."""
    return CifarResNet(num_classes, 32, in_channels)


@register("resnet44")
def resnet44(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-44 for 32x32 images (16-32-64 channels, option-A shortcuts); 0.66 M parameters."""
    return CifarResNet(num_classes, 44, in_channels)


@register("resnet56")
def resnet56(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-56 for 32x32 images (16-32-64 channels, option-A shortcuts); 0.85 M parameters."""
    return CifarResNet(num_classes, 56, in_channels)


@register("resnet110")
def resnet110(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-110 for 32x32 images (16-32-64 channels, option-A shortcuts); 1.7 M parameters."""
    return CifarResNet(num_classes, 110, in_channels)


def wide_resnet(
    block: type[WideBasicBlock | Bottleneck],
    layers: list[int],
    num_classes: int,
    in_channels: int,
    pool: int = 1,
) -> Network:
    """Return torchvision's residual network with a stem for small images: 3x3, stride 1, no max-pooling.

    Args:
        block: the residual block.
        layers: blocks in each of the four stages of 64, 128, 256 and 512 planes.
        num_classes: number of classes.
        in_channels: channels of an image.
        pool: side of the average-pooled map that the classifier sees; 1 for images of 32x32, where it is the
            4x4 average pooling of the published code.
    """
    net = ResNet(block, layers, num_classes)
    net.conv1 = nn.Conv2d(in_channels, 64, 3, 1, 1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()
    net.avgpool = nn.AdaptiveAvgPool2d(pool)
    net.fc = nn.Linear(net.fc.in_features * pool**2, num_classes)
    return Split(net)


@register("resnet50_cifar")
def resnet50_cifar(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-50 for 32x32 images (3x3 stem, no max-pooling); 23.5 M parameters."""
    return wide_resnet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels)


@register("resnet101_cifar")
def resnet101_cifar(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-101 for 32x32 images (3x3 stem, no max-pooling); 42.5 M parameters."""
    return wide_resnet(Bottleneck, [3, 4, 23, 3], num_classes, in_channels)


@register("resnet18_tiny")
def resnet18_tiny(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-18 for the 64x64 images of Tiny-ImageNet (3x3 stem, a pooled map of 2x2); 11.6 M parameters."""
    return wide_resnet(WideBasicBlock, [2, 2, 2, 2], num_classes, in_channels, pool=2)


@register("resnet34_tiny")
def resnet34_tiny(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-34 for the 64x64 images of Tiny-ImageNet (3x3 stem, a pooled map of 2x2); 21.7 M parameters."""
    return wide_resnet(WideBasicBlock, [3, 4, 6, 3], num_classes, in_channels, pool=2)


@register("resnet50_tiny")
def resnet50_tiny(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-50 for the 64x64 images of Tiny-ImageNet (3x3 stem, a pooled map of 2x2); 25.1 M parameters."""
    return wide_resnet(Bottleneck, [3, 4, 6, 3], num_classes, in_channels, pool=2)


@register("resnet101_tiny")
def resnet101_tiny(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-101 for the 64x64 images of Tiny-ImageNet (3x3 stem, a pooled map of 2x2); 44.1 M parameters."""
    return wide_resnet(Bottleneck, [3, 4, 23, 3], num_classes, in_channels, pool=2)


@register("resnet110_tiny")
def resnet110_tiny(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-110 for the 64x64 images of Tiny-ImageNet (3x3 stem, a pooled map of 2x2); 47.5 M parameters."""
    return wide_resnet(Bottleneck, [3, 4, 26, 3], num_classes, in_channels, pool=2)


@register("resnet152_tiny")
def resnet152_tiny(num_classes: int, in_channels: int = 3) -> Network:
    """ResNet-152 for the 64x64 images of Tiny-ImageNet (3x3 stem, a pooled map of 2x2); 59.8 M parameters."""
    return wide_resnet(Bottleneck, [3, 8, 36, 3], num_classes, in_channels, pool=2)
