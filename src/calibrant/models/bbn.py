"""The bilateral-branch network: one trunk, two last blocks, one classifier on both."""

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from calibrant.errors import InputError
from calibrant.losses.mixing import bbn_features
from calibrant.models.base import Network
from calibrant.models.last_block import fresh_last_block, without_last_block
from calibrant.models.registry import register
from calibrant.models.resnet_cifar import BasicBlock, CifarResNet


class BilateralBranchNetwork(Network):
    r"""A network with its last block doubled: one for samples as they come, one for reversed classes.

    In training, with the share $\alpha$ of the epoch (`losses.mixing.bbn_lambda`), the classifier sees
    $[2 \alpha f_a; 2 (1 - \alpha) f_b]$, the features of two batches; in test $[f_a; f_b]$ of the same images.

    Args:
        trunk: gives the maps (N, D, H, W) of images.
        branch_a: the last block for samples as they come, from maps to maps.
        branch_b: that for samples drawn with the class frequencies reversed.
        classifier: linear, of 2 D features.

    Example:
        >>> import torch
        >>> net = bilateral_cifar(num_classes=10, depth=14)
        >>> a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
        >>> net(a).shape, net(a, b, alpha=0.9).shape, net.features(a).shape
        (torch.Size([2, 10]), torch.Size([2, 10]), torch.Size([2, 128]))

    Zhou, Cui, Wei, Chen: "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual
    Recognition", CVPR 2020.
    """

    def __init__(
        self, trunk: nn.Module, branch_a: nn.Module, branch_b: nn.Module, classifier: nn.Linear
    ) -> None:
        super().__init__()
        self.trunk, self.branch_a, self.branch_b, self.classifier = trunk, branch_a, branch_b, classifier

    def features(self, images: Tensor) -> Tensor:
        """Return the (N, 2 D) features of both branches, each with weight 1."""
        maps = self.trunk(images)
        return bbn_features(self.branch_a(maps).mean((2, 3)), self.branch_b(maps).mean((2, 3)))

    def forward(
        self, images: Tensor, reversed_images: Tensor | None = None, alpha: float | Tensor = 0.5
    ) -> Tensor:
        """Return the logits, (N, K).

        Args:
            images: (N, C, H, W); in training, drawn as they come.
            reversed_images: (N, C, H, W) drawn with the class frequencies reversed, in training.
            alpha: share of the first branch, in training; as a tensor a compiled network takes any without
                being compiled again.
        """
        if reversed_images is None:
            return super().forward(images)
        a = self.branch_a(self.trunk(images)).mean((2, 3))
        b = self.branch_b(self.trunk(reversed_images)).mean((2, 3))
        logits: Tensor = self.classifier(bbn_features(a, b, alpha))
        return logits


def bilateral_cifar(num_classes: int, depth: int = 32, in_channels: int = 3) -> BilateralBranchNetwork:
    """Return the CIFAR ResNet with its last block doubled.

    Args:
        num_classes: number of classes.
        depth: number of layers of the ResNet, 6n + 2 with n of at least 2.
        in_channels: channels of an image.

    Raises:
        InputError: the ResNet has no block besides the one that is doubled.
    """
    if depth < 14:
        raise InputError(f"depth must be at least 14, so that a stage has two blocks, not {depth}.")
    net = CifarResNet(num_classes, depth, in_channels)
    last = net.get_submodule("layer3")
    assert isinstance(last, nn.Sequential)
    branch_a, branch_b, classifier = last.pop(-1), BasicBlock(64, 64), nn.Linear(128, num_classes)
    for module in (*branch_b.modules(), classifier):
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight)
    stages = [net.get_submodule(name) for name in ("conv1", "bn1", "layer1", "layer2", "layer3")]
    trunk = nn.Sequential(*stages[:2], nn.ReLU(), *stages[2:])
    return BilateralBranchNetwork(trunk, branch_a, branch_b, classifier)


@register("bbn_resnet32")
def bbn_resnet32(num_classes: int, in_channels: int = 3) -> Network:
    """Bilateral-branch ResNet-32 for 32x32 images: its last block is doubled; 0.54 M parameters."""
    return bilateral_cifar(num_classes, 32, in_channels)


@register("bbn_resnet50")
def bbn_resnet50(num_classes: int) -> Network:
    """Bilateral-branch ResNet-50 for photographs: its last block is doubled; 28 M parameters, 4,096 a class."""
    net = ResNet(Bottleneck, [3, 4, 6, 3])
    classifier = nn.Linear(2 * net.fc.in_features, num_classes)
    return BilateralBranchNetwork(without_last_block(net), net.layer4[-1], fresh_last_block(net), classifier)
