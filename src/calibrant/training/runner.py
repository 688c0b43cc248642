"""A run from its recipe to its result, resumable at any moment."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from calibrant import data, losses, metrics, models
from calibrant.errors import InputError
from calibrant.posthoc import ConvergenceWarning, TemperatureScaling
from calibrant.training.callbacks import Listener
from calibrant.training.files import write_text
from calibrant.training.module import TrainingModule
from calibrant.training.provenance import git_commit, versions
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import difference, to_yaml
from calibrant.training.run_folder import Predictions, RunFolder, Split
from calibrant.training.stage import Stage

SCHEMA = 1


def run(recipe: Recipe, folder: Path, *, listener: Listener | None = None) -> RunFolder:
    """Run a recipe in a folder, from where it stands: not begun, interrupted, or finished.

    On one device an interrupted run ends with the same numbers as an undisturbed one.

    Args:
        recipe: what to run.
        folder: where its files are.
        listener: told of the progress.

    Raises:
        InputError: the folder holds a run of another recipe, or is being written by another process, or the
            recipe cannot be run.
    """
    target = RunFolder(folder)
    with _locked(target):
        _claim(target, recipe)
        if target.finished:
            return target
        if recipe.trainer.threads:
            torch.set_num_threads(recipe.trainer.threads)
        images = read_data(recipe)
        stage = Stage(
            build(recipe, images),
            images,
            recipe.trainer,
            checkpoint=target.checkpoint_path,
            history=target.history_path,
            listener=listener,
        )
        stage.fit()
        predictions = stage.predict()
        for split, said in predictions.items():
            target.write_predictions(split, said)
        target.write_result(
            {
                "schema": SCHEMA,
                "recipe": recipe.name,
                "method": recipe.method,
                "loss": asdict(recipe.train.loss),
                "seed": recipe.seed,
                **judge(predictions, recipe.posthoc),
                "data": describe_data(recipe, images),
                "versions": versions(),
                "git_commit": git_commit(),
                "wall_seconds": round(stage.history.seconds, 3),
            }
        )
    return target


def read_data(recipe: Recipe) -> data.ImageData:
    """Read the data of a recipe; raises `InputError` for a name, an option or files that are not there."""
    config = recipe.data
    task = data.create(
        config.name,
        root=config.root,
        download=config.download,
        train=config.train,
        val=config.val,
        split_seed=config.split_seed,
        **config.args,
    )
    return data.ImageData(task)


def build(recipe: Recipe, images: data.ImageData) -> TrainingModule:
    """Build the network and the loss of a recipe; the initial weights come from its seed.

    Raises:
        InputError: a name or an option that is not there.
    """
    classes = len(images.class_names)
    torch.manual_seed(recipe.seed)
    network = models.create(
        recipe.model.name, num_classes=classes, in_channels=images.channels, **recipe.model.args
    )
    train = recipe.train
    loss = losses.create(
        train.loss.name, num_classes=classes, class_counts=images.class_counts, **train.loss.args
    )
    last = recipe.trainer.channels_last
    return TrainingModule(
        network, loss, train, seed=recipe.seed, channels_last=last, class_counts=images.class_counts
    )


def judge(predictions: Mapping[Split, Predictions], calibrators: Sequence[str]) -> dict[str, Any]:
    """Return the metrics of each split before and after each calibrator that validation could fit."""
    after = {split: {"none": _measure(p.logits, p, split)} for split, p in predictions.items()}
    fitted: dict[str, Any] = {}
    for name in calibrators if "val" in predictions else []:
        with warnings.catch_warnings():
            # The result says whether it converged.
            warnings.simplefilter("ignore", ConvergenceWarning)
            scaling = TemperatureScaling().fit(predictions["val"].logits, predictions["val"].targets)
        fitted[name] = {"temperature": float(scaling.temperature_), "converged": bool(scaling.converged_)}
        for split, p in predictions.items():
            after[split][name] = _measure(scaling(p.logits), p, split)
    return {"metrics": after, "posthoc": fitted}


def _measure(logits: torch.Tensor, predictions: Predictions, split: str) -> dict[str, dict[str, float | None]]:
    # Validation fits the calibrators: its values describe, they prove nothing that needs an interval.
    estimates = metrics.evaluate(logits, predictions.targets, inputs="logits", intervals=split == "test")
    return {
        name: {key: None if math.isnan(v) else v for key, v in estimate._asdict().items()}
        for name, estimate in estimates.items()
    }


def describe_data(recipe: Recipe, images: data.ImageData) -> dict[str, Any]:
    """Return what a result says about its data."""
    task = images.task
    return {
        "name": recipe.data.name,
        "train": len(task.train),
        "val": len(task.val),
        "test": len(task.test),
        "classes": len(task.class_names),
        "class_counts": images.class_counts.tolist(),
        "note": task.note,
    }


@contextmanager
def _locked(target: RunFolder) -> Iterator[None]:
    target.path.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target.lock_path, timeout=0):
            yield
    except Timeout:
        raise InputError(f"{target.path} is being written by another process; wait for it to end.") from None


def _claim(target: RunFolder, recipe: Recipe) -> None:
    refuse_other(target, recipe)
    if not target.recipe_path.is_file():
        write_text(target.recipe_path, to_yaml(recipe))


def refuse_other(target: RunFolder, recipe: Recipe) -> None:
    """Raise `InputError` if a folder holds a run of another recipe."""
    changes = difference(target.recipe_text(), recipe) if target.recipe_path.is_file() else []
    if changes:
        raise InputError(
            f"{target.path} holds a run of another recipe ({'; '.join(changes[:3])}): "
            "choose another folder, or delete that one."
        )
