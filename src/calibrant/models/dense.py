"""Dense networks by name: (N, C, H, W) images to (N, K, H, W) logits of the same size.

Ours by their names; torchvision's as `torchvision:NAME`, those of segmentation_models_pytorch as
`smp:ARCHITECTURE/ENCODER`, and a trained network from an ONNX file as `onnx:PATH`.
"""

from inspect import signature
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn

from calibrant.errors import InputError
from calibrant.models.weights import ENDINGS, load_backbone
from calibrant.registry import Registry

DENSE_MODELS: Registry[nn.Module] = Registry("dense model", "calibrant.dense_models")
register = DENSE_MODELS.register


def create_dense(name: str, *, num_classes: int = 1, in_channels: int = 3, **options: Any) -> nn.Module:
    """Build a dense network by its name.

    Args:
        name: one of `list_dense_models()`, `torchvision:fcn_resnet50`, `smp:Unet/resnet18`, `onnx:u2netp.onnx`.
        num_classes: K, outputs a pixel; 1 for a binary map.
        in_channels: channels of an image; torchvision's and ONNX networks have their own number.
        **options: the network's own arguments. Without any, nothing is downloaded. `weights_backbone` of a
            network of torchvision and `encoder_weights` of smp may also be a file, `*.pt` or `*.pth`: the state
            dict of a classifier of images.

    Raises:
        InputError: no such network, an option that it does not take, or a package that is not installed.

    Example:
        >>> import torch
        >>> net = create_dense("torchvision:lraspp_mobilenet_v3_large")
        >>> net(torch.zeros(2, 3, 40, 64)).shape
        torch.Size([2, 1, 40, 64])
    """
    source, _, rest = name.partition(":")
    if rest and source in _SOURCES:
        return _SOURCES[source](rest, num_classes, in_channels, options)
    return DENSE_MODELS.create(name, {"num_classes": num_classes, "in_channels": in_channels}, **options)


def list_dense_models() -> list[str]:
    """Return the names of our dense networks, those of other packages included.

    Example:
        >>> "aslp" in list_dense_models()
        True
    """
    return DENSE_MODELS.names()


def check_sides(images: Tensor, divisor: int, name: str) -> None:
    """Raise `InputError` when the sides of (N, C, H, W) images are not multiples of `divisor`."""
    height, width = images.shape[-2:]
    if height % divisor or width % divisor:
        raise InputError(
            f"{name} takes images whose sides are divisible by {divisor}, not {height}x{width}; resize them."
        )


class _Output(nn.Module):
    """One of torchvision's segmentation networks, giving its main output alone."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.net(images)["out"]
        return logits


class _Divisible(nn.Module):
    """A network that halves its images so and so often."""

    def __init__(self, net: nn.Module, divisor: int, name: str) -> None:
        super().__init__()
        self.net, self.divisor, self.name = net, divisor, name

    def forward(self, images: Tensor) -> Tensor:
        check_sides(images, self.divisor, self.name)
        logits: Tensor = self.net(images)
        return logits


def _from_torchvision(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    known = torchvision.models.list_models(module=torchvision.models.segmentation)
    if name not in known:
        raise InputError(f"torchvision has no segmentation network {name!r}; known: {', '.join(known)}.")
    if in_channels != 3:
        raise InputError(f"torchvision's {name!r} takes images of 3 channels, not {in_channels}.")
    # torchvision swallows what it does not know.
    build = torchvision.models.get_model_builder(name)
    accepted = [p.name for p in signature(build).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for option in options:
        if option not in accepted:
            raise InputError(
                f"torchvision's {name!r} has no option {option!r}; it takes {', '.join(accepted)}."
            )
    file = _file(options, "weights_backbone")
    try:
        net = build(**{"num_classes": num_classes, "weights_backbone": None} | options)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise InputError(f"torchvision's {name!r} cannot be built: {error}.") from None
    if file:
        load_backbone(net.backbone, file)
    return _Output(net)


def _from_smp(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        raise InputError(
            f"The network 'smp:{name}' needs a package: pip install segmentation-models-pytorch."
        ) from None
    architecture, _, encoder = name.partition("/")
    file = _file(options, "encoder_weights")
    settings = {"encoder_weights": None, "in_channels": in_channels, "classes": num_classes} | options
    if encoder:
        settings["encoder_name"] = encoder
    try:
        net = smp.create_model(architecture, **settings)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error.args[0]) if error.args else str(error)
        raise InputError(f"segmentation_models_pytorch cannot build {name!r}: {reason.rstrip('.')}.") from None
    if file:
        load_backbone(net.encoder, file)
    return _Divisible(net, int(getattr(net.encoder, "output_stride", 32)), f"smp:{name}")


def _file(options: dict[str, Any], key: str) -> str | None:
    """Take the path of a file out of the options; None where they name weights otherwise, or none."""
    return options.pop(key) if str(options.get(key)).endswith(ENDINGS) else None


def _from_onnx(path: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    from calibrant.models.onnx_network import load_onnx

    if options:
        raise InputError(f"A network from an ONNX file has no option {next(iter(options))!r}.")
    if num_classes != 1:
        raise InputError(
            f"{path} gives one map, not {num_classes}: a network from an ONNX file stays as it is."
        )
    return load_onnx(Path(path))


_SOURCES = {"torchvision": _from_torchvision, "smp": _from_smp, "onnx": _from_onnx}
