"""What happens at the end of an epoch: the loss learns, the history grows, the state is saved."""

import csv
import errno
import hashlib
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins import TorchCheckpointIO

from calibrant.errors import InputError
from calibrant.training.files import replacing
from calibrant.training.module import TrainingModule
from calibrant.training.run_folder import classes_beside

#: Told after a step: steps done, steps in all, the 1-based epoch.
Listener = Callable[[int, int, int], None]
#: Seconds from one telling to the next.
PAUSE = 0.2


class LossProtocol(Callback):
    """Ends the epoch of a loss that learns, before the checkpoint is written."""

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the loss update its state."""
        assert isinstance(pl_module, TrainingModule)
        pl_module.loss.step_epoch()


class Listen(Callback):
    """Tells a listener of the steps, now and then.

    Args:
        listener: who is told.
    """

    def __init__(self, listener: Listener) -> None:
        self.listener, self._next = listener, 0.0

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        """Tell the listener, if it is time."""
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + PAUSE
            steps = int(trainer.num_training_batches) * (trainer.max_epochs or 1)
            self.listener(trainer.global_step, steps, trainer.current_epoch + 1)


class History(Checkpoint):
    """Keeps one row an epoch, in the checkpoint and as a CSV file; and what the loss learns for each class.

    A subclass of `Checkpoint`, because Lightning calls those last, when everything of the epoch is logged.

    Args:
        path: the CSV file, written anew after each epoch; beside it is that of the classes, if there is any.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []
        self.class_rows: list[tuple[int, str, list[float]]] = []
        self._seconds, self._started = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall-clock time of the stage, the parts before an interruption included."""
        return self._seconds + time.monotonic() - self._started

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add a row, and one for each quantity that the loss learns for the classes."""
        assert isinstance(pl_module, TrainingModule)
        validated = (trainer.current_epoch + 1) % (trainer.check_val_every_n_epoch or 1) == 0
        values = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if validated or not name.startswith(("val_", "test_"))
        }
        self.rows.append({"epoch": trainer.current_epoch, **values})
        for name, learned in pl_module.loss.class_state().items():
            self.class_rows.append((trainer.current_epoch, name, learned.detach().cpu().tolist()))
        if trainer.is_global_zero:
            self._write()
            if self.class_rows:
                self._write_classes()

    def _write_classes(self) -> None:
        classes = range(len(self.class_rows[0][2]))
        with replacing(classes_beside(self.path)) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", "name", *classes])
            writer.writerows([epoch, name, *values] for epoch, name, values in self.class_rows)

    def _write(self) -> None:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with replacing(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows and the time."""
        return {
            "rows": [dict(row) for row in self.rows],
            "class_rows": list(self.class_rows),
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from saved rows."""
        self.rows, self._seconds = list(state_dict["rows"]), state_dict["seconds"]
        # A checkpoint that is older than this table has none of it.
        self.class_rows = list(state_dict.get("class_rows", []))


class Checkpoints(Checkpoint):
    """Writes the last state, and the weights that are best on the images that are watched.

    Args:
        last: file of the last state.
        every: epochs from one to the next; the final epoch is always written.
        best: file of the best weights, or None to keep none.
    """

    def __init__(self, last: Path, every: int = 1, best: Path | None = None) -> None:
        self.last, self.every, self.best = last, every, best
        self.best_accuracy = -1.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what is due; the best first, so that the last state knows of it."""
        assert isinstance(pl_module, TrainingModule)
        epoch = trainer.current_epoch + 1
        accuracy = float(trainer.callback_metrics.get(f"{pl_module.watched}_{pl_module.chosen_by}", -1.0))
        if self.best is not None and accuracy > self.best_accuracy:
            self.best_accuracy = accuracy
            if trainer.is_global_zero:
                with replacing(self.best) as temporary:
                    torch.save(pl_module.state_dict(), temporary)
        if epoch % self.every == 0 or epoch == trainer.max_epochs:
            trainer.save_checkpoint(self.last)

    def state_dict(self) -> dict[str, Any]:
        """Return the best accuracy so far."""
        return {"best_accuracy": self.best_accuracy}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved best accuracy."""
        self.best_accuracy = state_dict["best_accuracy"]


class SameSamples(Callback):
    """Refuses to go on with training samples other than those that a state was learned for, one by one.

    Args:
        names: what tells a sample from others, by position.
    """

    def __init__(self, names: Iterable[object]) -> None:
        self._digest = hashlib.sha256("\n".join(map(str, names)).encode()).hexdigest()

    def state_dict(self) -> dict[str, Any]:
        """Return what tells the samples from others."""
        return {"digest": self._digest}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Raise `InputError` where the state is one of other samples."""
        if state_dict["digest"] != self._digest:
            raise InputError(
                "What the interrupted run had learned for each training sample is not for these samples, or "
                "not for their order: point data.root to those that it was trained on, or start a new run in "
                "another folder."
            )


class WholeCheckpointIO(TorchCheckpointIO):
    """Checkpoints that are whole or absent, and a clear word about one that is damaged all the same."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write under another name, then rename."""
        with replacing(Path(path)) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(
        self, path: Any, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; raises `InputError` when it is damaged."""
        return read_checkpoint(Path(path))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a file of tensors and plain values; raises `InputError` when it is missing or damaged."""
    if not path.is_file():
        raise InputError(f"{path} is missing; delete {path.parent} to train from the start.")
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    # What a damaged file does is whatever its bytes happen to say.
    except Exception as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            # Nothing is known of the file: a disk that fails must not cost it.
            raise
        raise InputError(
            f"{path} is truncated or damaged; delete {path.parent} to train from the start."
        ) from None
    return state
