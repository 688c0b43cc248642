"""A Lightning module of your own: a loss that learns, streaming metrics, a temperature inside the checkpoint.

python examples/lightning_module.py
"""

import logging
import warnings

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from calibrant import losses, metrics, posthoc

Batch = tuple[Tensor, Tensor]
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
warnings.filterwarnings("ignore", ".*does not have many workers.*")


class Classifier(L.LightningModule):
    """A network, its loss, and the temperature that is fitted to the validation set when training ends.

    Args:
        loss: name of the loss.
        options: its arguments.
    """

    def __init__(self, loss: str, **options: float) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
        )
        # A loss is a module: what it learns is saved, resumed and moved with the network.
        self.criterion = losses.create(loss, num_classes=10, **options)
        self.temperature = posthoc.TemperatureScaling()
        self.measures = nn.ModuleDict(
            {name: metrics.create(name, num_classes=10, inputs="logits") for name in ("accuracy", "ece")}
        )
        self.validated: list[Batch] = []

    def forward(self, x: Tensor) -> Tensor:
        """Return calibrated logits: the temperature is 1 until it is fitted."""
        return self.temperature(self.network(x))

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """Return the loss."""
        x, y = batch
        return self.criterion(self.network(x), y)

    def on_validation_epoch_start(self) -> None:
        """Forget the validation of the epoch before."""
        self.validated.clear()

    def validation_step(self, batch: Batch, index: int) -> None:
        """Show the loss what it learns from."""
        x, y = batch
        logits = self.network(x)
        self.validated.append((logits, y))
        if not self.trainer.sanity_checking:
            self.criterion.observe(logits, y)

    def on_train_epoch_end(self) -> None:
        """End the epoch of the loss."""
        self.criterion.step_epoch()

    def on_train_end(self) -> None:
        """Fit the temperature to the last validation."""
        logits, target = (torch.cat(parts) for parts in zip(*self.validated, strict=True))
        self.temperature.fit(logits, target)

    def test_step(self, batch: Batch, index: int) -> None:
        """Measure; the metrics sum over batches and over processes."""
        x, y = batch
        for name, measure in self.measures.items():
            measure(self(x), y)
            self.log(name, measure)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.network.parameters(), lr=1e-2)


digits = load_digits()
data = TensorDataset(torch.as_tensor(digits.data / 16, dtype=torch.float32), torch.as_tensor(digits.target))
train, val, test = torch.utils.data.random_split(data, [200, 400, 1197], torch.Generator().manual_seed(0))

for name in ("ce", "cals_hr"):
    L.seed_everything(0, verbose=False)
    model = Classifier(name)
    trainer = L.Trainer(
        max_epochs=15,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, DataLoader(train, 32, shuffle=True), DataLoader(val, 400))
    fitted = float(model.temperature.temperature_)
    # The same network twice: with the temperature that was fitted, and without.
    [after] = trainer.test(model, DataLoader(test, 1197), verbose=False)
    model.temperature = posthoc.TemperatureScaling()
    [before] = trainer.test(model, DataLoader(test, 1197), verbose=False)
    for label, found in ((name, before), (f"{name} + temperature {fitted:.2f}", after)):
        print(f"{label:<32} accuracy {found['accuracy']:.3f}  ECE {found['ece']:.4f}")
