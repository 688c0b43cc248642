"""segmentation_models_pytorch with a dense loss of Calibrant and pixels that do not count.

The maps are composed: real handwritten digits on a canvas, each pixel labelled with its digit or as background.
Faint pixels at the border of a stroke belong to neither and are labelled 255, which loss and metrics ignore.

    python examples/segmentation_models.py
"""

import segmentation_models_pytorch as smp
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from calibrant import losses, posthoc
from calibrant.metrics import functional as metrics

BACKGROUND, IGNORED = 10, 255
digits = load_digits()
strokes, kinds = torch.as_tensor(digits.images, dtype=torch.float32), torch.as_tensor(digits.target)


def compose(chosen: range, maps: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return (maps, 1, 32, 32) images of twelve digits each and their (maps, 32, 32) labels."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = torch.zeros(maps, 1, 32, 32), torch.full((maps, 32, 32), BACKGROUND)
    for image, label in zip(images, labels, strict=True):
        for cell in torch.randperm(16, generator=generator)[:12].tolist():
            which = chosen[int(torch.randint(len(chosen), (1,), generator=generator))]
            at = slice(cell // 4 * 8, cell // 4 * 8 + 8), slice(cell % 4 * 8, cell % 4 * 8 + 8)
            ink = strokes[which]
            image[0][at] = ink / 16
            label[at] = torch.where(ink > 8, kinds[which], torch.where(ink > 2, IGNORED, BACKGROUND))
    return images, labels


def train(criterion: losses.Loss, epochs: int = 24) -> nn.Module:
    """Train a small U-Net from the same start with any loss."""
    torch.manual_seed(0)
    network = smp.Unet(
        "tu-test_byobnet",
        encoder_weights=None,
        encoder_depth=3,
        decoder_channels=(32, 16, 8),
        in_channels=1,
        classes=11,
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(epochs):
        for batch in torch.randperm(len(train_x)).split(8):
            optimizer.zero_grad()
            criterion(network(train_x[batch]), train_y[batch]).backward()
            optimizer.step()
    return network.eval()


def show(name: str, logits: Tensor) -> None:
    """Print how often the pixels are right, and how far confidence is from that, over all that count."""
    accuracy = metrics.accuracy(logits, test_y, inputs="logits", ignore_index=IGNORED)
    ece = metrics.ece(logits, test_y, inputs="logits", ignore_index=IGNORED)
    print(f"{name:<32} accuracy {accuracy:.3f}  ECE {ece:.4f}")


train_x, train_y = compose(range(500), 32, seed=0)
val_x, val_y = compose(range(500, 900), 12, seed=1)
test_x, test_y = compose(range(900, 1797), 30, seed=2)

for name in ("ce", "mbls"):
    network = train(losses.create(name, ignore_index=IGNORED))
    with torch.no_grad():
        val_logits, test_logits = network(val_x), network(test_x)
    show(name, test_logits)
    # One temperature serves easy background and hard strokes badly; a scale for each class does better.
    for method in ("temperature", "vector"):
        calibrator = posthoc.create(method, num_classes=11).fit(val_logits, val_y, ignore_index=IGNORED)
        show(f"{name} + {method}", calibrator(test_logits))
