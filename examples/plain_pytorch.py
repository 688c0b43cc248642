"""A loop of your own: a loss that learns in place of cross-entropy, then a temperature.

CALS learns a multiplier for each class from validation data, so the loop shows it the validation set
(`observe`) and tells it when an epoch ends (`step_epoch`). A loss that learns nothing
ignores both calls; CRL and ASLP also want to know which images they see (`index`).

    python examples/plain_pytorch.py
"""

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from calibrant import losses, posthoc
from calibrant.metrics import functional as metrics

digits = load_digits()
order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
images = torch.as_tensor(digits.data / 16, dtype=torch.float32)[order]
labels = torch.as_tensor(digits.target)[order]
# Few images train: a network that has seen all the others is nearly always right, and has nothing to mend.
(train_x, val_x, test_x), (train_y, val_y, test_y) = (t.split([200, 400, 1197]) for t in (images, labels))


def train(criterion: losses.Loss, epochs: int = 20) -> nn.Module:
    """Train a small network from the same start with any loss."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(epochs):
        for batch in torch.randperm(len(train_x)).split(32):
            optimizer.zero_grad()
            criterion(network(train_x[batch]), train_y[batch]).backward()
            optimizer.step()
        with torch.no_grad():
            criterion.observe(network(val_x), val_y)
        criterion.step_epoch()
    return network


def show(name: str, logits: Tensor) -> None:
    """Print how often the predictions are right, and how far confidence is from that."""
    accuracy = metrics.accuracy(logits, test_y, inputs="logits")
    ece = metrics.ece(logits, test_y, inputs="logits")
    print(f"{name:<32} accuracy {accuracy:.3f}  ECE {ece:.4f}")


for name in ("ce", "cals"):
    criterion = losses.create(name, num_classes=10)
    network = train(criterion)
    with torch.no_grad():
        val_logits, test_logits = network(val_x), network(test_x)
    show(name, test_logits)
    scaling = posthoc.TemperatureScaling().fit(val_logits, val_y)
    show(f"{name} + temperature {float(scaling.temperature_):.2f}", scaling(test_logits))

learned = criterion.class_state()["multipliers"]
print(f"multipliers that CALS learned: {learned.min():.1e} to {learned.max():.1e}")
