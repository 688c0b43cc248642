"""A run is a folder; everything that a table or a report shows is computed from its files alone."""

import csv
import errno
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from calibrant.errors import InputError
from calibrant.training.files import replacing, write_text

Split = Literal["val", "test"]
#: What a run leaves beside its recipe, its last states and weights; maps and exports are written anew.
_LEFT = (
    "metrics*.csv", "classes*.csv", "levels.csv", "errors.csv", "images.safetensors", "gaps.safetensors",
    "checkpoints/*-best.ckpt", "predictions/*.safetensors", "calibrators/*.safetensors", "corruptions/*.json",
)  # fmt: skip
StageName = Literal["train", "decouple"]


@dataclass(frozen=True)
class StageFiles:
    """The files of one stage of a run.

    Attributes:
        checkpoint: the last state.
        history: the table of the epochs.
        weights: the network after the stage.
    """

    checkpoint: Path
    history: Path
    weights: Path

    @property
    def classes(self) -> Path:
        """The table of what the loss learned for each class."""
        return classes_beside(self.history)


@dataclass(frozen=True)
class Predictions:
    """What a model said about a split.

    Attributes:
        logits: (N, C) float32.
        targets: (N,) int64 labels.
        ids: (N,) int64 ids of the samples in their data set.
        class_names: C names, in the order of the labels.
    """

    logits: Tensor
    targets: Tensor
    ids: Tensor
    class_names: list[str]


def classes_beside(history: Path) -> Path:
    """Return where a stage with this table of epochs keeps that of what its loss learns for each class.

    Example:
        >>> classes_beside(Path("metrics.csv")).name, classes_beside(Path("metrics-decouple.csv")).name
        ('classes.csv', 'classes-decouple.csv')
    """
    return history.with_name(history.name.replace("metrics", "classes", 1))


@contextmanager
def reading(path: Path, remedy: str = "delete it") -> Iterator[None]:
    """Turn what goes wrong inside, where a file of a run is read, into one sentence.

    Raises:
        InputError: a file that is damaged, or lacks one that it names.
    """
    try:
        yield
    except InputError:
        raise
    except (csv.Error, SafetensorError, LookupError, OSError, TypeError, ValueError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
            # Nothing is known of the file: a disk that fails must not cost it.
            raise
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())}); {remedy}.") from None


class RunFolder:
    """The folder of one run, by its files.

    ======================================== ==================================================
    `recipe.yaml`                            the resolved recipe, replayable
    `checkpoints/last.ckpt`                  where a killed run goes on; `decouple.ckpt`, in its second stage
    `checkpoints/last-best.ckpt`             the best so far, where a stage selects; `decouple-best.ckpt`
    `metrics.csv`                            one row an epoch; `metrics-decouple.csv`, of the second stage
    `classes.csv`                            what a loss such as CALS learned for each class, a row an epoch;
                                             `classes-decouple.csv`
    `levels.csv`, `levels/`                  what a loss such as ASLP learned for each image; pictures of some
    `weights/{train,decouple}.safetensors`   the network after a stage; its presence ends the stage
    `predictions/{val,test}.safetensors`     logits, targets, ids
    `predictions/test/NAME.png`              instead, of a dense run: the map of each test image
    `calibrators/NAME.safetensors`           what was fitted on validation
    `errors.csv`, `errors/`                  test errors made with most confidence; pictures, if of images
    `images.safetensors`                     of a dense run: what each test image adds to the metrics
    `gaps.safetensors`, `gaps/`              of a dense run: where in the image confidence and truth part
    `corruptions/`                           what `calibrant corrupt` found
    `export/`                                what `calibrant export` wrote
    `result.json`                            every metric; written last: its presence ends the run
    ======================================== ==================================================

    Args:
        path: the folder; it need not exist yet.

    Example:
        >>> import tempfile
        >>> run = RunFolder(tempfile.mkdtemp())
        >>> run.finished
        False
        >>> run.write_result({"recipe": "r", "method": "ce", "seed": 0, "metrics": {}, "data": {}})
        >>> run.finished, run.result()["method"]
        (True, 'ce')
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    @property
    def recipe_path(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.yaml"

    @property
    def checkpoint_path(self) -> Path:
        """The last checkpoint."""
        return self.path / "checkpoints" / "last.ckpt"

    @property
    def history_path(self) -> Path:
        """The table of the epochs."""
        return self.path / "metrics.csv"

    def stage(self, name: StageName) -> StageFiles:
        """Return the files of a stage."""
        weights = self.path / "weights" / f"{name}.safetensors"
        if name == "train":
            return StageFiles(self.checkpoint_path, self.history_path, weights)
        checkpoint = self.checkpoint_path.with_name(f"{name}.ckpt")
        return StageFiles(checkpoint, self.path / f"metrics-{name}.csv", weights)

    @property
    def result_path(self) -> Path:
        """The result; it exists when the run is finished."""
        return self.path / "result.json"

    @property
    def lock_path(self) -> Path:
        """What a process locks while it writes the run."""
        return self.path / ".lock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from writing the run; raises `InputError` where one is at it."""
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.lock_path, timeout=0):
                yield
        except Timeout:
            raise InputError(f"{self.path} is being written by another process; wait for it to end.") from None

    def predictions_path(self, split: Split) -> Path:
        """Return the file of the predictions on a split."""
        return self.path / "predictions" / f"{split}.safetensors"

    def calibrator_path(self, name: str) -> Path:
        """Return the file of a calibrator that was fitted on validation."""
        return self.path / "calibrators" / f"{name}.safetensors"

    @property
    def begun(self) -> bool:
        """Whether anything was computed: a recipe alone may be that of a mistake that was noticed."""
        stages = (self.stage("train"), self.stage("decouple"))
        return self.finished or any(s.checkpoint.is_file() or s.weights.is_file() for s in stages)

    @property
    def finished(self) -> bool:
        """Whether the run went through to its end."""
        return self.result_path.is_file()

    def forget(self) -> None:
        """Delete what an earlier run left in the folder, so that none of it is taken for that of the next."""
        if self.recipe_path.is_file():
            for pattern in _LEFT:
                for path in self.path.glob(pattern):
                    path.unlink()

    def result(self) -> dict[str, Any]:
        """Return the result of a finished run; raises `InputError` when there is none."""
        try:
            result = json.loads(self._read(self.result_path))
        except json.JSONDecodeError as error:
            raise InputError(f"{self.result_path} is no JSON ({error}); delete it to run again.") from None
        if not isinstance(result, dict):
            raise InputError(f"{self.result_path} holds no result; delete it to run again.")
        for key, kind in (("recipe", str), ("method", str), ("seed", int), ("metrics", dict), ("data", dict)):
            if not isinstance(result.get(key), kind):
                raise InputError(f"{self.result_path} says nothing of {key!r}; delete it to run again.")
        return result

    def recipe_text(self) -> str:
        """Return the resolved recipe as it was written, YAML."""
        return self._read(self.recipe_path)

    def predictions(self, split: Split) -> Predictions:
        """Return the predictions on a split; raises `InputError` when they are missing or damaged."""
        path = self.predictions_path(split)
        if not path.is_file():
            raise InputError(f"{self.path} holds no predictions on {split!r}: the run is not finished.")
        with (
            reading(path, "delete the run's result.json to run again"),
            safe_open(path, framework="pt") as file,
        ):
            names = json.loads((file.metadata() or {}).get("class_names", "[]"))
            logits, targets, ids = (file.get_tensor(name) for name in ("logits", "targets", "ids"))
        return Predictions(logits, targets, ids, names or [str(c) for c in range(logits.shape[1])])

    def history(self, stage: StageName = "train") -> dict[str, list[float]]:
        """Return the columns of a stage's table by name, one value an epoch, nan where a row has none."""
        path = self.stage(stage).history
        if not path.is_file():
            return {}
        names, *rows = _table(path) or [[]]
        try:
            return {name: [_number(row[at]) for row in rows] for at, name in enumerate(names)}
        except (IndexError, ValueError):
            raise InputError(f"{path} is damaged: a row lacks a number; delete the file.") from None

    def class_history(self, stage: StageName = "train") -> dict[str, list[list[float]]]:
        """Return by name what the loss of a stage learned: for each epoch, one value a class."""
        path = self.stage(stage).classes
        if not path.is_file():
            return {}
        names, *rows = _table(path) or [[]]
        course: dict[str, list[list[float]]] = {}
        try:
            for row in rows:
                _, name, *values = row
                course.setdefault(name, []).append([float(value) for value in values])
                if len(row) != len(names):
                    raise ValueError
        except ValueError:
            raise InputError(f"{path} is damaged: a row lacks a number; delete the file.") from None
        return course

    def read_weights(self, stage: StageName) -> dict[str, Tensor]:
        """Return the state of the network after a stage; raises `InputError` when missing or damaged."""
        path = self.stage(stage).weights
        if not path.is_file():
            raise InputError(f"{self.path} holds no {path.relative_to(self.path)}: that stage is not finished.")
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is damaged ({error}); delete it and run again.") from None

    def write_weights(self, stage: StageName, state: dict[str, Tensor], seconds: float) -> None:
        """Write the state of the network and the time that the stage took, and thereby finish the stage."""
        tensors = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
        with replacing(self.stage(stage).weights) as temporary:
            save_file(tensors, temporary, metadata={"seconds": repr(seconds)})

    @property
    def levels_path(self) -> Path:
        """The perturbation level of each training image, of the losses that learn them."""
        return self.path / "levels.csv"

    @property
    def errors_path(self) -> Path:
        """The test errors made with most confidence."""
        return self.path / "errors.csv"

    @property
    def image_sums_path(self) -> Path:
        """What each test image adds to the metrics, of a dense run."""
        return self.path / "images.safetensors"

    @property
    def gaps_path(self) -> Path:
        """Where in the image confidence and truth part, of a dense run."""
        return self.path / "gaps.safetensors"

    def seconds(self) -> float:
        """Return the wall-clock time of the stages that are finished, without interruptions."""
        total = 0.0
        for path in (self.stage("train").weights, self.stage("decouple").weights):
            if path.is_file():
                with safe_open(path, framework="pt") as file:
                    total += float((file.metadata() or {})["seconds"])
        return total

    def write_result(self, result: dict[str, Any]) -> None:
        """Write `result.json`, and thereby finish the run."""
        write_text(self.result_path, json.dumps(result, indent=1) + "\n")

    def write_predictions(self, split: Split, predictions: Predictions) -> None:
        """Write the predictions on a split."""
        with replacing(self.predictions_path(split)) as temporary:
            save_file(
                {
                    "logits": predictions.logits.float().contiguous(),
                    "targets": predictions.targets.contiguous(),
                    "ids": predictions.ids.contiguous(),
                },
                temporary,
                metadata={"class_names": json.dumps(predictions.class_names)},
            )

    def _read(self, path: Path) -> str:
        if not path.is_file():
            raise InputError(f"{self.path} is no finished run: it holds no {path.name}.")
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"{path} is damaged ({error}); delete it to run again.") from None


def find_runs(paths: list[Path]) -> list[RunFolder]:
    """Return the finished runs at or below `paths`, sorted; raises `InputError` if a path holds none."""
    runs: dict[Path, RunFolder] = {}
    for path in paths:
        found = sorted(result.parent for result in path.rglob("result.json"))
        if not found:
            raise InputError(f"{path} holds no finished run (a folder with a result.json).")
        runs |= {folder: RunFolder(folder) for folder in found}
    return list(runs.values())


def _table(path: Path) -> list[list[str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.reader(file))
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({error}); delete the file.") from None


def _number(text: str | None) -> float:
    return float(text) if text else math.nan
