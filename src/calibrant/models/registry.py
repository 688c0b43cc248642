"""Networks by name: ours, timm's as `timm:NAME`, torchvision's as `torchvision:NAME`, or of a folder."""

from typing import Any

import torchvision
from torch import Tensor, nn

from calibrant.errors import InputError
from calibrant.models.base import Network, Split
from calibrant.models.huggingface import from_folder
from calibrant.registry import Registry

MODELS: Registry[Network] = Registry("model", "calibrant.models")
register = MODELS.register


def create(
    name: str,
    *,
    num_classes: int,
    in_channels: int = 3,
    vectors: Tensor | None = None,
    padding: int | None = None,
    **options: Any,
) -> Network:
    """Build a network by its name.

    Args:
        name: one of `list_models()`, or `timm:NAME`, `torchvision:NAME` or `hf:FOLDER`.
        num_classes: number of classes.
        in_channels: channels of an image; torchvision's networks take 3.
        vectors: (V, D) vectors of the words of texts.
        padding: number of the padding token, of texts that a tokenizer cut.
        **options: the network's own arguments.

    Raises:
        InputError: no such network, or an option that it does not take.

    Example:
        >>> net = create("resnet32", num_classes=10)
        >>> sum(p.numel() for p in net.parameters())
        464154
    """
    source, _, rest = name.partition(":")
    if rest and source == "hf":
        return from_folder(rest, num_classes, padding, options)
    if rest and source in _SOURCES:
        return Split(_SOURCES[source](rest, num_classes, in_channels, options))
    known = {"num_classes": num_classes, "in_channels": in_channels, "vectors": vectors}
    return MODELS.create(name, known, **options)


def list_models() -> list[str]:
    """Return the names of our networks, those of other packages included."""
    return MODELS.names()


def _from_timm(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise InputError(f"timm has no model {name!r}; timm.list_models() names all.")
    try:
        net: nn.Module = timm.create_model(name, num_classes=num_classes, in_chans=in_channels, **options)
    except TypeError as error:
        raise InputError(f"timm's {name!r} cannot be built: {error}.") from None
    return net


def _from_torchvision(name: str, num_classes: int, in_channels: int, options: dict[str, Any]) -> nn.Module:
    if name not in torchvision.models.list_models(module=torchvision.models):
        raise InputError(f"torchvision has no classifier {name!r}; torchvision.models.list_models() names all.")
    if in_channels != 3:
        raise InputError(f"torchvision's {name!r} takes images of 3 channels, not {in_channels}.")
    try:
        net: nn.Module = torchvision.models.get_model(name, num_classes=num_classes, **options)
    except (TypeError, ValueError) as error:
        raise InputError(f"torchvision's {name!r} cannot be built: {error}.") from None
    return net


_SOURCES = {"timm": _from_timm, "torchvision": _from_torchvision}
