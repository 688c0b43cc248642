"""One stage of training: fit, or go on with what was interrupted."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from lightning.pytorch import Callback, Trainer

from calibrant.data import ImageData, Loading
from calibrant.errors import InputError
from calibrant.training.callbacks import (
    Checkpoints,
    History,
    Listen,
    Listener,
    LossProtocol,
    WholeCheckpointIO,
    read_checkpoint,
)
from calibrant.training.module import TrainingModule
from calibrant.training.recipe import StageConfig, TrainerConfig
from calibrant.training.run_folder import Predictions, Split


class Stage:
    """A stage at work on a module and data, in a folder.

    Args:
        module: what is trained; it holds the stage's configuration.
        data: what it is trained on.
        config: on what it runs.
        checkpoint: file of the last state; a stage that finds it goes on from there.
        history: CSV file, one row an epoch.
        listener: told of the progress.
    """

    def __init__(
        self,
        module: TrainingModule,
        data: ImageData,
        config: TrainerConfig,
        *,
        checkpoint: Path,
        history: Path,
        listener: Listener | None = None,
    ) -> None:
        self.module, self.data, self.checkpoint = module, data, checkpoint
        if config.compile:
            module.network.compile(dynamic=False)
        self.config, self.stage = config, module.stage
        self.history = History(history)
        best = checkpoint.with_name(f"{checkpoint.stem}-best.ckpt") if self.stage.select == "best" else None
        self._checkpoints = Checkpoints(checkpoint, config.checkpoint_every, best)
        callbacks: list[Callback] = [LossProtocol(), self.history, self._checkpoints]
        data.loading = loading(self.stage, config, module.seed)
        self._refuse_impossible()
        every = self.stage.validate_every
        with quiet():
            self._trainer = Trainer(
                accelerator="gpu" if config.accelerator == "cuda" else config.accelerator,
                devices=1,
                precision=config.precision,
                max_epochs=self.stage.epochs,
                gradient_clip_val=self.stage.clip,
                limit_val_batches=1.0 if self._validates else 0,
                check_val_every_n_epoch=1 if module.learns_from_validation else min(every, self.stage.epochs),
                callbacks=callbacks + ([Listen(listener)] if listener else []),
                plugins=[WholeCheckpointIO()],
                num_sanity_val_steps=0,
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                default_root_dir=checkpoint.parent,
            )

    @property
    def _validates(self) -> bool:
        return len(self.data.task.val) > 0

    def _refuse_impossible(self) -> None:
        if self.config.accelerator == "cuda" and not torch.cuda.is_available():
            raise InputError(
                "trainer.accelerator is 'cuda' but PyTorch sees no GPU; set it to 'auto' or 'cpu'."
            )
        if len(self.data.train_dataloader()) == 0:
            raise InputError(
                f"{len(self.data.task.train)} training images make no whole batch of {self.stage.batch_size}; "
                "lower train.batch_size, or set train.drop_last to false."
            )
        if self._validates:
            return
        for needs, what in (
            (self.stage.select == "best", "train.select 'best' chooses"),
            (self.module.learns_from_validation, f"The loss {self.stage.loss.name!r} learns"),
        ):
            if needs:
                raise InputError(f"{what} on validation images, of which there are none; set data.val.")

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

    def predict(self) -> dict[Split, Predictions]:
        """Return the predictions on the test images, and on those of validation where there are any."""
        with quiet(), repeatable():
            batches = self._trainer.predict(self.module, datamodule=self.data) or []
        splits: list[Split] = ["val", "test"] if self._validates else ["test"]
        joined = {}
        for split, parts in zip(splits, batches if self._validates else [batches], strict=True):
            columns = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
            joined[split] = Predictions(**columns, class_names=self.data.class_names)
        return joined


def loading(stage: StageConfig, config: TrainerConfig, seed: int) -> Loading:
    """Return how a stage reads its data."""
    return Loading(
        batch_size=stage.batch_size,
        eval_batch_size=config.eval_batch_size,
        drop_last=stage.drop_last,
        augment=stage.augment,
        seed=seed,
    )


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
