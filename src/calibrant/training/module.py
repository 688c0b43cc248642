"""A network and a loss as a Lightning module."""

from collections.abc import Iterable
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler
from torchmetrics import MetricCollection

from calibrant.data.order import epoch_seed
from calibrant.errors import InputError
from calibrant.losses import Loss
from calibrant.losses.class_balanced import deferred_weights
from calibrant.losses.multipliers import sum_over_processes
from calibrant.metrics import modules as metrics
from calibrant.training.activity import Activity
from calibrant.training.mixing import Mixer
from calibrant.training.recipe import OptimizerConfig, StageConfig
from calibrant.training.schedules import rate_factor

#: What a loader gives: "target", "id", "index", and the inputs of the network under a name of their own.
Batch = dict[str, Tensor]
#: What is measured once an epoch.
WATCHED = {"accuracy": metrics.Accuracy, "ece": metrics.ECE, "nll": metrics.NLL}


class TrainingModule(LightningModule):
    """What one stage trains.

    Everything random in an epoch (dropout, a sampled loss) comes from the seed and the epoch alone. Logged
    once an epoch: `train_loss`, `train_<term>` for each part of the loss, `lr`, and where there was a
    validation `val_accuracy`, `val_ece` and `val_nll` (`test_…` where the stage selects on test); of a loss
    that regularises on condition also `active_samples` and `active_classes`, see `Activity`.

    Args:
        network: the network.
        loss: the loss.
        stage: optimizer, schedule, length.
        seed: seed of the run.
        inputs: key of a batch under which stands what the network takes.
        channels_last: whether images are brought into that memory layout.
        class_counts: (C,) training samples of each class.

    Attributes:
        chosen_by: the watched metric with which the best weights are chosen.
        taught_apart: whether a second validation loader teaches the loss, and the first one does not.

    Raises:
        InputError: samples that cannot be mixed are to be, or a loss that learns from each by itself.
    """

    chosen_by: ClassVar[str] = "accuracy"

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        stage: StageConfig,
        *,
        seed: int = 0,
        inputs: str = "image",
        channels_last: bool = False,
        class_counts: Tensor,
    ) -> None:
        super().__init__()
        self.network, self.loss, self.stage, self.seed = network, loss, stage, seed
        self.inputs, self.taught_apart = inputs, False
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.network.to(memory_format=self.layout)
        self._mixer = (
            Mixer(stage.mix, seed, class_counts, by_image=loss.binary) if stage.mix.name != "none" else None
        )
        mixing = f"{stage.key}.mix.name {stage.mix.name!r}"
        if loss.reduction == "none":
            raise InputError(
                f"{stage.key}.loss.args.reduction must be 'mean' or 'sum' in training, not 'none'."
            )
        if self._mixer is not None and inputs == "tokens":
            raise InputError(f"{mixing} mixes images, and words cannot be mixed; set it to 'none'.")
        if stage.mix.name == "remix" and loss.binary:
            raise InputError(f"{mixing} compares the classes of images, and maps have none; set it to 'mixup'.")
        if stage.reweight_from is not None and loss.weighs_classes:
            raise InputError(
                f"The loss {stage.loss.name!r} weighs the classes already; set {stage.key}.reweight_from to "
                "null."
            )
        if self._mixer is not None and loss.needs_index:
            raise InputError(
                f"{type(loss).__name__} learns from each image by itself, which {mixing} mixes with another; "
                "set it to 'none'."
            )
        self._activity = Activity(loss)
        self._counts = class_counts
        self._sums: dict[str, Tensor] = {}
        self._steps = 0
        self._first_bad: Tensor | None = None
        self.watched = "test" if stage.select == "test_best" else "val"
        self.watch = self.watched_metrics(len(class_counts))

    @property
    def learns_from_validation(self) -> bool:
        """Whether the loss keeps state that it updates from validation batches."""
        return type(self.loss).observe is not Loss.observe and "validation" in self.loss.observes

    def watched_metrics(self, num_classes: int) -> MetricCollection:
        """Return what is measured once an epoch."""
        common: dict[str, Any] = {"inputs": "logits", "num_classes": num_classes}
        kinds: dict[str, Any] = {name: metric(**common) for name, metric in WATCHED.items()}
        return MetricCollection(kinds, prefix=f"{self.watched}_")

    def watched_values(self) -> dict[str, Tensor]:
        """Return the values of what is measured once an epoch."""
        values: dict[str, Tensor] = self.watch.compute()
        return values

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.network(inputs.contiguous(memory_format=self.layout))
        return logits

    def trained(self) -> list[nn.Parameter] | list[dict[str, Any]]:
        """Return what the optimizer moves: parameters, or groups with rates of their own."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def configure_optimizers(self) -> tuple[list[Optimizer], list[LRScheduler]]:
        """Return the stage's optimizer and schedule."""
        optimizer = make_optimizer(self.trained(), self.stage.optimizer)
        schedule = LambdaLR(optimizer, lambda e: rate_factor(self.stage.schedule, e, self.stage.epochs))
        return [optimizer], [schedule]

    def _start_epoch(self) -> None:
        # Not the hook of that name, which Lightning leaves out when it resumes.
        # Each process draws for samples of its own.
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch, "step") + self.global_rank)
        self._sums, self._steps, self._first_bad = {}, 0, None
        self._activity.start(self.trainer.num_training_batches)
        if (start := self.stage.reweight_from) is not None:
            weights = deferred_weights(
                self._counts, self.stage.reweight_beta, epoch=self.current_epoch, start=start
            )
            self.loss.reweight(weights.float().to(self.device))
        self._rate = max(group["lr"] for group in self.trainer.optimizers[0].param_groups)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch."""
        if batch_idx == 0:
            self._start_epoch()
        try:
            loss = self._loss_of(batch)
        except InputError as error:
            raise InputError(f"In epoch {self.current_epoch}, batch {batch_idx}: {error}") from None
        loss, rows = self._shared(loss, batch["target"])
        self._note(loss.detach(), rows, batch_idx)
        return loss

    def _shared(self, loss: Tensor, target: Tensor) -> tuple[Tensor, float | Tensor]:
        """Return the loss and the factor of a mean of rows with which means over processes are those over all.

        Each process divides by the rows of its own part, or by the sum of their weights. Lightning averages the
        gradients of the processes.
        """
        if self.trainer.world_size == 1:
            return loss, 1.0
        rows, weight = float(len(target)), self.loss.weight
        if not target.is_floating_point():
            target = target[~torch.isin(target, target.new_tensor(self.loss.ignored))]
            rows = float(len(target))
        mass = rows if weight is None else float(self._mass(target, weight))
        own = torch.tensor([mass, rows], dtype=torch.float64, device=self.device)
        together = own.clone()
        sum_over_processes(together)
        # Nothing counts where all labels are ignored.
        shares = own * self.trainer.world_size / together.clamp(min=torch.finfo(torch.float64).tiny)
        if self.loss.reduction == "sum":
            return loss * self.trainer.world_size, shares[1]
        return loss * shares[0].to(loss.dtype), shares[1]

    def _mass(self, target: Tensor, weight: Tensor) -> Tensor:
        if not target.is_floating_point():
            return weight[target].sum()
        if self.loss.binary:
            return weight[0] * (1 - target).sum() + weight[1] * target.sum()
        return (target.movedim(1, -1) @ weight.to(target.dtype)).sum()

    def _loss_of(self, batch: Batch) -> Tensor:
        inputs, target = batch[self.inputs], batch["target"]
        if self._mixer is not None:
            mixed, logits, labels = self._mixer.loss(self.loss, self, inputs, target, self.current_epoch)
            self._activity.note(logits, labels)
            return mixed
        index = batch["index"] if self.loss.needs_index else None
        logits = self(inputs)
        loss: Tensor = self.loss(logits, target, index=index)
        if "train" in self.loss.observes:
            self.loss.observe(logits.detach(), target, index=index)
        self._activity.note(logits, target, index)
        return loss

    def on_train_epoch_end(self) -> None:
        """Log the means over the epoch."""
        self._refuse_bad()
        sums = {name: total.clone() for name, total in self._sums.items()}
        steps = torch.tensor(float(self._steps), dtype=torch.float64, device=self.device)
        sum_over_processes(*sums.values(), steps)
        means = {f"train_{name}": total / steps for name, total in sums.items()}
        means |= self._activity.shares()
        self.log_dict({**means, "lr": torch.tensor(self._rate, dtype=torch.float64)})

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Measure the predictions, and show them to a loss that learns; or only that, if they only teach."""
        teaching = dataloader_idx == 1
        if teaching and not self.learns_from_validation:
            return
        logits = self(batch[self.inputs]).float()
        if self.learns_from_validation and teaching == self.taught_apart:
            self.loss.observe(logits, batch["target"])
        if not teaching:
            self.watch.update(logits, self.labels_of(batch["target"]))

    def labels_of(self, target: Tensor) -> Tensor:
        """Return what the metrics take for labels."""
        return target

    def on_validation_epoch_end(self) -> None:
        """Log accuracy, calibration and likelihood, over all processes."""
        self.log_dict(self.watched_values())
        self.watch.reset()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return logits, targets and ids, on the CPU."""
        return {
            "logits": self(batch[self.inputs]).float().cpu(),
            "targets": batch["target"].cpu(),
            "ids": batch["id"].cpu(),
        }

    def _note(self, loss: Tensor, share: float | Tensor, batch_idx: int) -> None:
        terms = {name: value.double() * share for name, value in self.loss.terms.items()}
        for name, part in {"loss": loss.double(), **terms}.items():
            old = self._sums.get(name)
            self._sums[name] = part if old is None else old + part
        self._steps += 1
        # Looking at the value stops an accelerator until it is there: note the first bad batch on the device
        # and look once an epoch.
        finite = torch.isfinite(loss)
        if self._first_bad is None:
            self._first_bad = torch.full_like(loss, -1.0)
        self._first_bad = torch.where(finite | (self._first_bad >= 0), self._first_bad, float(batch_idx))
        if loss.device.type == "cpu" and not finite and self.trainer.world_size == 1:
            self._refuse_bad()

    def _refuse_bad(self) -> None:
        if self._first_bad is None:
            return
        # All processes stop, or none: one that waits for the others would wait for ever.
        bad = (self._first_bad >= 0).double()
        sum_over_processes(bad)
        if bad > 0:
            own = int(self._first_bad)
            where = f"batch {own}" if own >= 0 else "in another process"
            raise InputError(
                f"The loss is no longer finite in epoch {self.current_epoch}, {where}; lower "
                f"{self.stage.key}.optimizer.lr, or clip the gradient with {self.stage.key}.clip."
            )


def make_optimizer(
    parameters: Iterable[nn.Parameter] | list[dict[str, Any]], config: OptimizerConfig
) -> Optimizer:
    """Build the optimizer of parameters, or of groups of them."""
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.name == "sgd":
        return SGD(parameters, momentum=config.momentum, nesterov=config.nesterov, **common)
    return (Adam if config.name == "adam" else AdamW)(parameters, betas=config.betas, **common)
