"""A small convolutional network for images of 8x8."""

from torch import Tensor, nn

from calibrant.models.base import Network
from calibrant.models.registry import register


@register("digits_cnn")
class DigitsCNN(Network):
    """Two 3x3 convolutions, a hidden layer and a classifier, for digits of 8x8; 70 thousand parameters.

    Args:
        num_classes: number of classes.
        in_channels: channels of an image.
        width: channels of the first convolution; the second has twice as many, the hidden layer four times.
    """

    def __init__(self, num_classes: int, in_channels: int = 1, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(2 * width * 16, 4 * width),
            nn.ReLU(),
        )
        self.classifier = nn.Linear(4 * width, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """Return the hidden layer, (N, 4 width)."""
        features: Tensor = self.body(images)
        return features
