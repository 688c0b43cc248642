"""One stage of training: fit, or go on with what was interrupted."""

import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from calibrant.data import Data, LabelledData, Loading, PairSet
from calibrant.data.order import BatchOrder
from calibrant.data.samplers import (
    ClassBalancedOrder,
    PairedOrder,
    WeightedOrder,
    balanced_length,
    effective_number,
    inverse_frequency,
)
from calibrant.errors import InputError
from calibrant.training.callbacks import (
    Checkpoints,
    History,
    Listen,
    Listener,
    LossProtocol,
    SameSamples,
    WholeCheckpointIO,
    read_checkpoint,
)
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import StageConfig, TrainerConfig
from calibrant.training.run_folder import Predictions, Split, StageFiles


class Stage:
    """A stage at work on a module and data, in a folder.

    Args:
        module: what is trained; it holds the stage's configuration.
        data: what it is trained on.
        config: on what it runs.
        files: where the last state, from which the stage goes on, and the table of the epochs are.
        listener: told of the progress.
    """

    def __init__(
        self,
        module: TrainingModule,
        data: Data,
        config: TrainerConfig,
        files: StageFiles,
        listener: Listener | None = None,
    ) -> None:
        self.module, self.data, self.checkpoint = module, data, files.checkpoint
        self.config, self.stage = config, module.stage
        module.taught_apart = data.teaching is not None
        if config.compile:
            module.network.compile(dynamic=False)
        refuse_impossible(module, data, config)
        self.history = History(files.history)
        best = self.checkpoint.with_name(f"{self.checkpoint.stem}-best.ckpt")
        chosen = self.stage.select != "last" and _watches(module, data)
        self._checkpoints = Checkpoints(self.checkpoint, config.checkpoint_every, best if chosen else None)
        callbacks: list[Callback] = [LossProtocol(), self.history, self._checkpoints]
        if module.loss.needs_index:
            callbacks.append(SameSamples(_names(data)))
        every = 1 if module.learns_from_validation else self.stage.validate_every
        with quiet():
            self._trainer = Trainer(
                **_hardware(config),
                devices=config.devices,
                strategy=_together(module) if config.devices > 1 else "auto",
                # Every batch is divided between the processes where it is drawn.
                use_distributed_sampler=False,
                max_epochs=self.stage.epochs,
                gradient_clip_val=self.stage.clip,
                limit_val_batches=1.0 if _watches(module, data) else 0,
                check_val_every_n_epoch=min(every, self.stage.epochs),
                callbacks=callbacks + ([Listen(listener)] if listener else []),
                plugins=[WholeCheckpointIO()],
                default_root_dir=self.checkpoint.parent,
            )

    def fit(self) -> None:
        """Train to the end, and leave the selected weights in the module."""
        found = str(self.checkpoint) if self.checkpoint.is_file() else None
        try:
            with quiet(), repeatable():
                self._trainer.fit(self.module, datamodule=self.data, ckpt_path=found)
        except SystemExit:
            # What Lightning makes of Ctrl-C.
            raise KeyboardInterrupt from None
        if self._checkpoints.best is not None:
            self.module.load_state_dict(read_checkpoint(self._checkpoints.best))


def refuse_hardware(config: TrainerConfig) -> None:
    """Raise `InputError` for devices that this machine has not."""
    gpus = torch.cuda.device_count()
    if config.accelerator == "cuda" and not gpus:
        raise InputError("trainer.accelerator is 'cuda' but PyTorch sees no GPU; set it to 'auto' or 'cpu'.")
    there, what = (
        (gpus, "GPUs") if gpus and config.accelerator != "cpu" else (os.cpu_count() or 1, "processors")
    )
    if config.devices > max(there, 1):
        raise InputError(f"trainer.devices is {config.devices}, but this machine has {there} {what}.")


def refuse_impossible(module: TrainingModule, data: Data, config: TrainerConfig) -> None:
    """Raise `InputError` for a stage that cannot be trained; the data are then loaded as the stage says."""
    stage, samples = module.stage, data.samples
    data.loading = loading(stage, config, module.seed)
    if len(data.train_order()) == 0:
        raise InputError(
            f"{len(data.task.train)} training {samples} make no whole batch of {stage.batch_size}; lower "
            f"{stage.key}.batch_size, or set {stage.key}.drop_last to false."
        )
    if module.watched == "test" and module.learns_from_validation and data.teaching is None:
        raise InputError(
            f"The loss {stage.loss.name!r} learns from the {samples} that are watched, and select 'test_best' "
            f"makes those the test {samples}: choose 'best' or 'last', or give it others with data.teach."
        )
    if _watches(module, data):
        return
    for needs, what in (
        (stage.select == "best", f"{stage.key}.select 'best' chooses"),
        (module.learns_from_validation, f"The loss {stage.loss.name!r} learns"),
    ):
        if needs:
            raise InputError(f"{what} on validation {samples}, of which there are none; set data.val.")


def _names(data: Data) -> Iterable[object]:
    """Return what tells the training samples from others: names, or places on disk with labels."""
    samples = data.task.train
    if isinstance(samples, PairSet):
        return samples.names
    return zip(samples.ids.tolist(), samples.targets.tolist(), strict=True)


def _watches(module: TrainingModule, data: Data) -> bool:
    return module.watched == "test" or len(data.task.val) > 0


def predict(module: TrainingModule, data: LabelledData[Any], config: TrainerConfig) -> dict[Split, Predictions]:
    """Return the predictions on the test samples, and on those of validation where there are any.

    One process makes them, so that each sample comes once.
    """
    with one_process(config) as trainer:
        batches = trainer.predict(module, datamodule=data) or []
    splits: list[Split] = ["val", "test"] if len(data.task.val) else ["test"]
    joined = {}
    for split, parts in zip(splits, batches if len(splits) > 1 else [batches], strict=True):
        columns = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
        joined[split] = Predictions(**columns, class_names=data.class_names)
    return joined


@contextmanager
def one_process(config: TrainerConfig) -> Iterator[Trainer]:
    """Give a trainer of one process, for predictions."""
    with quiet(), repeatable():
        yield Trainer(**_hardware(config), devices=1)


def count_steps(stage: StageConfig, data: Data, config: TrainerConfig) -> int:
    """Return the steps of a whole stage."""
    data.loading = loading(stage, config, 0)
    return len(data.train_order()) * stage.epochs


def loading(stage: StageConfig, config: TrainerConfig, seed: int) -> Loading:
    """Return how a stage reads its data."""
    return Loading(
        batch_size=stage.batch_size,
        eval_batch_size=config.eval_batch_size,
        drop_last=stage.drop_last,
        augment=stage.augment,
        seed=seed,
        order=_order(stage, seed),
        watch_test=stage.select == "test_best",
    )


def _order(stage: StageConfig, seed: int) -> Callable[[Tensor], BatchOrder] | None:
    """Return what makes the order of the batches of the labels; None for a shuffle."""
    config, size = stage.sampler, stage.batch_size
    if config.name == "shuffle" and not config.extra_batches:
        return None
    if config.name in ("shuffle", "bilateral") and config.extra_batches:
        raise InputError("A shuffle visits each image once: extra_batches must be 0 for it.")

    def make(targets: Tensor) -> BatchOrder:
        if config.name == "bilateral":
            return PairedOrder(targets, size, seed, drop_last=stage.drop_last)
        length = balanced_length(len(targets), size) + config.extra_batches * size
        if config.name == "class_balanced":
            return ClassBalancedOrder(targets, length, size, seed, per_class=config.per_class)
        weights = (
            inverse_frequency(targets)
            if config.name == "inverse_frequency"
            else effective_number(targets, config.beta)
        )
        return WeightedOrder(weights, length, size, seed)

    return make


def _hardware(config: TrainerConfig) -> dict[str, Any]:
    return {
        "accelerator": "gpu" if config.accelerator == "cuda" else config.accelerator,
        "precision": config.precision,
        "num_sanity_val_steps": 0,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }


def _together(module: TrainingModule) -> DDPStrategy:
    # What a loss learns is added up over the processes by the loss itself; a broadcast before each step would
    # put the first process's part in the place of all others.
    mine = [f"loss.{name}" for name, _ in module.loss.named_buffers()]
    ignore: Callable[..., None] = DistributedDataParallel._set_params_and_buffers_to_ignore_for_model
    ignore(module, mine)
    return DDPStrategy(find_unused_parameters=False)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what Lightning says about itself, and what its user can do nothing about."""
    loggers = [logging.getLogger(name) for name in ("lightning", "lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"lightning\.")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def repeatable() -> Iterator[None]:
    """Let cuDNN choose only algorithms that repeat themselves to the last bit."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
        yield
