"""The saliency network of ASLP: a ResNet-50 encoder, and a decoder of dilated sums and residual fusions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck, ResNet

from calibrant.errors import InputError
from calibrant.models.dense import check_sides, register
from calibrant.models.weights import load_state, read_state

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
#: What the Keras weights expect to have been subtracted from 0 … 255, in the order red, green, blue.
_KERAS_MEAN = (123.68, 116.779, 103.939)
_UNUSED = ("layer3_2", "layer4_2", "path4.resConfUnit1")

Form = Literal["torchvision", "keras"]


class DilatedSum(nn.Module):
    """Four 3x3 convolutions with dilations 3, 6, 12 and 18, added up; (N, C, H, W) to (N, D, H, W).

    The weights are drawn from a normal of deviation 0.01.

    Args:
        channels_in: C.
        channels: D.
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels_in, channels, 3, padding=d, dilation=d) for d in (3, 6, 12, 18)
        )
        for convolution in self.convolutions:
            assert isinstance(convolution, nn.Conv2d)
            nn.init.normal_(convolution.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum."""
        first, *others = self.convolutions
        out: Tensor = first(x)
        for convolution in others:
            out = out + convolution(x)
        return out


class ResidualUnit(nn.Module):
    """Two 3x3 convolutions on relu(x), added to relu(x) itself; (N, C, H, W) to the same.

    A usual residual unit would add x. The published weights were trained with relu(x).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both paths."""
        rectified = x.relu()
        out: Tensor = self.conv2(self.conv1(rectified).relu()) + rectified
        return out


class Fusion(nn.Module):
    """Adds a feature map to a coarser one, refines the sum, and doubles its size.

    Args:
        channels: C.
        two: whether there are two maps; the deepest fusion refines one alone.
    """

    def __init__(self, channels: int, two: bool = True) -> None:
        super().__init__()
        self.side = ResidualUnit(channels) if two else None
        self.refine = ResidualUnit(channels)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """Return (N, C, 2H, 2W) of one or two (N, C, H, W)."""
        if self.side is not None and other is not None:
            x = x + self.side(other)
        return F.interpolate(self.refine(x), scale_factor=2, mode="bilinear", align_corners=True)


class SaliencyNet(nn.Module):
    """The network that ASLP is published with, (N, 3, H, W) to (N, K, H, W) logits; H and W divisible by 32.

    The parts of the published code that its forward pass never uses are left out: a second copy of two stages
    of the encoder, and one residual unit. 67.5 million parameters with one output.

    Args:
        num_classes: K; 1 for a saliency map.
        channels: width of the decoder.
        pretrained: True for torchvision's ImageNet weights of the encoder, which it downloads; the path of a
            file with a state dict of ResNet-50 under torchvision's names; or False.
        form: how the network of that file was built. "torchvision"; or "keras", where the first convolution of
            a stage has the stride, normalisation adds 1e-3 to the variance, and the image was blue, green, red
            in 0 … 255 less a mean (folded into the first layer, so that images come as for torchvision's).
        weights: path of a state dict of the whole network, of this class or of the published code.

    Raises:
        InputError: weights that cannot be read or do not fit; images whose sides are not divisible by 32.

    Example:
        >>> with torch.device("meta"):
        ...     net = SaliencyNet()
        ...     logits = net(torch.zeros(2, 3, 64, 96))
        >>> logits.shape, sum(p.numel() for p in net.parameters())
        (torch.Size([2, 1, 64, 96]), 67494657)

    Liu, Ye, Wang, Cui, Zhang, Zhang, Barnes: "Model Calibration in Dense Classification with Adaptive Label
    Perturbation", ICCV 2023.
    """

    def __init__(
        self,
        num_classes: int = 1,
        *,
        channels: int = 256,
        pretrained: bool | str | Path = False,
        form: Form = "torchvision",
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.encoder = _encoder(pretrained, form)
        self.sums = nn.ModuleList(DilatedSum(width, channels) for width in (256, 512, 1024, 2048))
        self.fusions = nn.ModuleList(Fusion(channels, two=stage < 3) for stage in range(4))
        self.head = nn.Sequential(
            nn.Conv2d(channels, 128, 3, padding=1),
            nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(128, 32, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, num_classes, 1),
        )
        if weights is not None:
            load_state(self, ours(read_state(weights)), weights)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits."""
        check_sides(images, 32, type(self).__name__)
        net = self.encoder
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        stages = []
        for stage, dilated in zip((net.layer1, net.layer2, net.layer3, net.layer4), self.sums, strict=True):
            x = stage(x)
            stages.append(dilated(x))
        out: Tensor = self.fusions[3](stages[3])
        for k in (2, 1, 0):
            out = self.fusions[k](out, stages[k])
        logits: Tensor = self.head(out)
        return logits


@register("aslp")
def aslp(
    num_classes: int = 1,
    *,
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    form: Form = "torchvision",
    weights: str | Path | None = None,
) -> SaliencyNet:
    """ASLP's saliency network: ResNet-50, dilated sums, residual fusions; see `SaliencyNet`.

    Args:
        num_classes: number of outputs a pixel.
        in_channels: 3; the encoder takes no other.
        pretrained: as in `SaliencyNet`.
        form: as in `SaliencyNet`.
        weights: as in `SaliencyNet`.
    """
    if in_channels != 3:
        raise InputError(f"The network 'aslp' takes images of 3 channels, not {in_channels}.")
    return SaliencyNet(num_classes, pretrained=pretrained, form=form, weights=weights)


def ours(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict of the published code under our names; one of ours as it is.

    Example:
        >>> list(ours({"resnet.layer3_1.0.conv1.weight": torch.zeros(1), "resnet.layer3_2.0.conv1.weight": 0}))
        ['encoder.layer3.0.conv1.weight']
    """
    if not any(key.startswith("resnet.") for key in state):
        return dict(state)
    renamed = {}
    for key, value in state.items():
        if any(unused in key for unused in _UNUSED):
            continue
        name = key.replace("_1.", ".", 1) if key.startswith("resnet.layer") else key
        for k in range(1, 5):
            name = name.replace(f"conv{k}.conv2d_list.", f"sums.{k - 1}.convolutions.")
            name = name.replace(f"path{k}.resConfUnit1.", f"fusions.{k - 1}.side.")
            name = name.replace(f"path{k}.resConfUnit2.", f"fusions.{k - 1}.refine.")
        renamed[name.replace("resnet.", "encoder.").replace("output_conv.", "head.")] = value
    return renamed


def _encoder(pretrained: bool | str | Path, form: Form) -> ResNet:
    if form not in ("torchvision", "keras"):
        raise InputError(f"form must be 'torchvision' or 'keras', not {form!r}.")
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V1 if pretrained is True else None
    try:
        net = torchvision.models.resnet50(weights=weights)
    except OSError as error:
        raise InputError(
            f"torchvision's weights of ResNet-50 could not be fetched ({error}); give the path of a file as "
            "pretrained."
        ) from None
    if not isinstance(pretrained, bool):
        state = {"fc.weight": net.fc.weight, "fc.bias": net.fc.bias} | read_state(pretrained)
        load_state(net, state, pretrained)
        if form == "keras":
            _adopt_keras(net)
    net.avgpool = net.fc = nn.Identity()
    return net


def _adopt_keras(net: ResNet) -> None:
    """Build the network as Keras does, and fold its preparation of images into the first layer."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
        if isinstance(module, Bottleneck) and module.conv2.stride == (2, 2):
            module.conv1.stride, module.conv2.stride = (2, 2), (1, 1)
    with torch.no_grad():
        kernel = net.conv1.weight.flip(1)
        # Normalised x stands for 255 (std x + mean) - keras mean, exactly but for the padding of the border.
        scale, shift = 255 * torch.tensor(_STD), 255 * torch.tensor(_MEAN) - torch.tensor(_KERAS_MEAN)
        assert net.bn1.running_mean is not None
        net.bn1.running_mean -= (kernel * shift.view(1, 3, 1, 1)).sum((1, 2, 3))
        net.conv1.weight.copy_(kernel * scale.view(1, 3, 1, 1))
