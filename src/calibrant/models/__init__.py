"""Networks that torchvision and timm do not have, and theirs by name."""

from calibrant.models.base import Network, Split
from calibrant.models.digits_cnn import DigitsCNN
from calibrant.models.registry import create, list_models, register
from calibrant.models.resnet_cifar import CifarResNet

__all__ = ["CifarResNet", "DigitsCNN", "Network", "Split", "create", "list_models", "register"]
