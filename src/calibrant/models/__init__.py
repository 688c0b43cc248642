"""Networks that torchvision and timm do not have, and theirs by name."""

from calibrant.models.base import Network, Split
from calibrant.models.bbn import BilateralBranchNetwork
from calibrant.models.dense import create_dense, list_dense_models
from calibrant.models.digits_cnn import DigitsCNN
from calibrant.models.heads import NormedLinear, ScaledLinear, tau_normalise
from calibrant.models.places import FrozenTrunk
from calibrant.models.registry import create, list_models, register
from calibrant.models.resnet_cifar import CifarResNet
from calibrant.models.saliency import SaliencyNet
from calibrant.models.text_cnn import GlobalPoolingCNN, TextCNN

__all__ = [
    "BilateralBranchNetwork",
    "CifarResNet",
    "DigitsCNN",
    "FrozenTrunk",
    "GlobalPoolingCNN",
    "Network",
    "NormedLinear",
    "SaliencyNet",
    "ScaledLinear",
    "Split",
    "TextCNN",
    "create",
    "create_dense",
    "list_dense_models",
    "list_models",
    "register",
    "tau_normalise",
]
