"""The text network of the calibration papers: three convolutions over word vectors, the maximum over time."""

import math

import torch
from torch import Tensor, nn

from calibrant.errors import InputError
from calibrant.models.base import Network
from calibrant.models.registry import register

# Steps that the output of the last convolution sees: 5, and 4 more for each of the other four windows of 5.
SPAN = 21
# Groups of texts of similar length in a batch, each padded to a multiple of so many steps: a convolution of a
# size that has occurred need not be prepared again, which is worth more than the padding costs.
_GROUPS, _STEPS = 16, 32


class GlobalPoolingCNN(Network):
    """Three convolutions of width 5 over a sequence of vectors, the maximum over time, a hidden layer.

    Between the convolutions a maximum over 5 neighbouring steps, with stride 1. A sequence needs 21 steps.

    Args:
        num_classes: K.
        dim: D, length of a vector.
        width: channels of the convolutions and of the hidden layer.

    Shape:
        - vectors: (N, T, D); logits: (N, K).

    Example:
        >>> net = GlobalPoolingCNN(num_classes=20)
        >>> sum(p.numel() for p in net.parameters()), net(torch.zeros(2, 30, 100)).shape
        (247316, torch.Size([2, 20]))

    Liu, Ben Ayed, Galdran, Dolz: "The Devil is in the Margin: Margin-based Label Smoothing for Network
    Calibration", CVPR 2022.
    """

    def __init__(self, num_classes: int, dim: int = 100, width: int = 128) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(dim, width, (1, 5)),
            nn.ReLU(),
            nn.MaxPool2d((1, 5), stride=1),
            nn.Conv2d(width, width, (1, 5)),
            nn.ReLU(),
            nn.MaxPool2d((1, 5), stride=1),
            nn.Conv2d(width, width, (1, 5)),
            nn.ReLU(),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(width, width),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the hidden layer, (N, width), of (N, T, D) vectors."""
        # As images of one row, (N, D, 1, T): the channels of each step stay side by side in memory, which takes
        # two thirds of the time of operations on (N, D, T).
        features: Tensor = self.body(images.transpose(1, 2).unsqueeze(2))
        return features


class TextCNN(Network):
    """`GlobalPoolingCNN` on the vectors of the words of a text.

    Texts of similar length are computed together, without the padding that they have in common but for a
    window or more: windows of padding alone are all alike, so that the maximum over time is the same.

    Args:
        num_classes: K.
        vectors: (V, D) vector of each word; row 0 is padding.
        freeze: keep the vectors as they are, as published; else they are trained too, but for the padding.
        width: channels of the convolutions and of the hidden layer.

    Shape:
        - tokens: (N, T) integers in [0, V); logits: (N, K).

    Example:
        >>> net = TextCNN(num_classes=3, vectors=torch.randn(50, 8))
        >>> net(torch.randint(0, 50, (2, 40))).shape
        torch.Size([2, 3])
    """

    inputs = "tokens"

    def __init__(self, num_classes: int, vectors: Tensor, freeze: bool = True, width: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vectors.shape[0], vectors.shape[1], padding_idx=0)
        self.embedding.weight = nn.Parameter(vectors.clone(), requires_grad=not freeze)
        self.net = GlobalPoolingCNN(num_classes, vectors.shape[1], width)
        self.classifier = self.net.classifier
        self.net.classifier = nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """Return the hidden layer, (N, width), of (N, T) numbers of words."""
        if torch.compiler.is_exporting():
            # The order of the texts and their padding are values, which a graph cannot look at.
            whole: Tensor = self.net.features(self.embedding(images))
            return whole
        steps = images.shape[1]
        padding = (images != 0).int().argmax(1).where((images != 0).any(1), steps)
        order = padding.argsort(stable=True)
        parts = []
        for part in order.tensor_split(min(_GROUPS, max(len(order), 1))):
            length = steps - int(padding[part].min()) + SPAN if len(part) else steps
            length = _STEPS * math.ceil(length / _STEPS)
            parts.append(self.net.features(self.embedding(images[part, -length:])))
        return torch.cat(parts)[order.argsort()]


@register("text_cnn")
def text_cnn(num_classes: int, vectors: Tensor | None = None, freeze: bool = True, width: int = 128) -> Network:
    """Global-pooling CNN on word vectors, for texts; 0.25 M parameters beside the vectors."""
    if vectors is None:
        raise InputError(
            "The network 'text_cnn' takes texts whose words have vectors; another network takes images, or "
            "texts that a tokenizer cut."
        )
    return TextCNN(num_classes, vectors, freeze, width)
