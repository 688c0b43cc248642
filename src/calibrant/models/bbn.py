"""The bilateral-branch network: one trunk, two last blocks, one classifier on both."""

from torch import Tensor, nn

from calibrant.errors import InputError
from calibrant.losses.mixing import bbn_features
from calibrant.models.base import Network
from calibrant.models.registry import register
from calibrant.models.resnet_cifar import BasicBlock, CifarResNet


class BilateralBranchNetwork(Network):
    r"""The CIFAR ResNet with its last block doubled: one for samples as they come, one for reversed classes.

    In training, with the share $\alpha$ of the epoch (`losses.mixing.bbn_lambda`), the classifier sees
    $[2 \alpha f_a; 2 (1 - \alpha) f_b]$, the features of two batches; in test $[f_a; f_b]$ of the same images.

    Args:
        num_classes: number of classes.
        depth: number of layers of the ResNet, 6n + 2 with n of at least 2.
        in_channels: channels of an image.

    Raises:
        InputError: the ResNet has no block besides the one that is doubled.

    Example:
        >>> import torch
        >>> net = BilateralBranchNetwork(num_classes=10, depth=14)
        >>> a, b = torch.rand(2, 3, 32, 32), torch.rand(2, 3, 32, 32)
        >>> net(a).shape, net(a, b, alpha=0.9).shape, net.features(a).shape
        (torch.Size([2, 10]), torch.Size([2, 10]), torch.Size([2, 128]))

    Zhou, Cui, Wei, Chen: "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual
    Recognition", CVPR 2020.
    """

    def __init__(self, num_classes: int, depth: int = 32, in_channels: int = 3) -> None:
        super().__init__()
        if depth < 14:
            raise InputError(f"depth must be at least 14, so that a stage has two blocks, not {depth}.")
        trunk = CifarResNet(num_classes, depth, in_channels)
        last = trunk.get_submodule("layer3")
        assert isinstance(last, nn.Sequential)
        self.branch_a = last.pop(-1)
        self.branch_b = BasicBlock(64, 64)
        self.classifier = nn.Linear(128, num_classes)
        for module in (*self.branch_b.modules(), self.classifier):
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
        trunk.classifier = nn.Identity()
        self.trunk = trunk

    def features(self, images: Tensor) -> Tensor:
        """Return the (N, 128) features of both branches, each with weight 1."""
        maps = self.trunk.maps(images)
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
        a = self.branch_a(self.trunk.maps(images)).mean((2, 3))
        b = self.branch_b(self.trunk.maps(reversed_images)).mean((2, 3))
        logits: Tensor = self.classifier(bbn_features(a, b, alpha))
        return logits


@register("bbn_resnet32")
def bbn_resnet32(num_classes: int, in_channels: int = 3) -> Network:
    """Bilateral-branch ResNet-32 for 32x32 images: its last block is doubled; 0.54 M parameters."""
    return BilateralBranchNetwork(num_classes, 32, in_channels)
