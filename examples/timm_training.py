"""timm's own pieces of training with a loss of Calibrant in place of its criterion.

Network, optimizer, schedule and mixup are made by timm; its mixup gives soft targets, which the losses take.
Mixup leaves a network less sure than it could be, so the loss here is one that sharpens: inverse focal.

    python examples/timm_training.py
"""

import timm
import torch
from sklearn.datasets import load_digits
from timm.data import Mixup
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn
from torch.nn.functional import interpolate

from calibrant import losses, posthoc
from calibrant.metrics import functional as metrics

EPOCHS = 12

digits = load_digits()
order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
images = torch.as_tensor(digits.images / 8 - 1, dtype=torch.float32)[order].unsqueeze(1)
images = interpolate(images, scale_factor=2.0, mode="bilinear")
labels = torch.as_tensor(digits.target)[order]
(train_x, val_x, test_x), (train_y, val_y, test_y) = (t.split([200, 400, 1197]) for t in (images, labels))


def train(criterion: nn.Module) -> nn.Module:
    """Train as timm's script does, with any criterion."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=10, in_chans=1)
    optimizer = create_optimizer_v2(network, opt="adamw", lr=5e-3, weight_decay=0.05)
    scheduler, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=EPOCHS, min_lr=1e-5)
    # Mixup would smooth the labels too: what the target is like is left to the loss.
    mixup = Mixup(mixup_alpha=0.2, label_smoothing=0.0, num_classes=10)
    for epoch in range(EPOCHS):
        network.train()
        for batch in torch.randperm(len(train_x)).split(50):
            x, y = mixup(train_x[batch], train_y[batch])
            optimizer.zero_grad()
            criterion(network(x), y).backward()
            optimizer.step()
        scheduler.step(epoch + 1)
    return network.eval()


def show(name: str, logits: Tensor) -> None:
    """Print how often the predictions are right, and how far confidence is from that."""
    accuracy = metrics.accuracy(logits, test_y, inputs="logits")
    ece = metrics.ece(logits, test_y, inputs="logits")
    print(f"{name:<32} accuracy {accuracy:.3f}  ECE {ece:.4f}")


criteria: dict[str, nn.Module] = {
    "cross-entropy of timm": SoftTargetCrossEntropy(),
    "inverse focal": losses.create("inverse_focal"),
}
for name, criterion in criteria.items():
    network = train(criterion)
    with torch.no_grad():
        val_logits, test_logits = network(val_x), network(test_x)
    show(name, test_logits)
    scaling = posthoc.TemperatureScaling().fit(val_logits, val_y)
    show(f"{name} + temperature {float(scaling.temperature_):.2f}", scaling(test_logits))
