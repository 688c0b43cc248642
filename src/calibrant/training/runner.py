"""A run from its recipe to its result, resumable at any moment."""

from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from calibrant import data
from calibrant.data import (
    Data,
    DenseData,
    DenseTask,
    FileImageData,
    FileImageTask,
    ImageData,
    SegmentationTask,
    TextData,
    TextTask,
)
from calibrant.data.teaching import set_apart
from calibrant.errors import InputError
from calibrant.metrics.definitions import class_groups
from calibrant.training.callbacks import Listener
from calibrant.training.errors import write_errors
from calibrant.training.files import remove_unfinished, write_text
from calibrant.training.judging import judge
from calibrant.training.maps import MapModule, judge_maps
from calibrant.training.module import TrainingModule
from calibrant.training.processes import is_first
from calibrant.training.provenance import git_commit, versions
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import difference, load_recipe, to_yaml
from calibrant.training.run_folder import RunFolder
from calibrant.training.stage import one_process, predict, refuse_hardware
from calibrant.training.stages import train

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
    target, first = RunFolder(folder), is_first(recipe.trainer.devices)
    refuse_other(target, recipe)
    # What is finished may lie where nothing can be written.
    if target.finished:
        return target
    refuse_hardware(recipe.trainer)
    with target.locked() if first else nullcontext():
        # Another process may have been at it until now.
        refuse_other(target, recipe)
        if target.finished:
            return target
        if first:
            remove_unfinished(target.path)
            if not target.begun:
                target.forget()
                write_text(target.recipe_path, to_yaml(recipe))
        if recipe.trainer.threads:
            torch.set_num_threads(recipe.trainer.threads)
        images = read_data(recipe)
        if groups := getattr(images.task, "groups", None):
            # Said now, not after the training, when they are needed.
            class_groups(len(images.class_names), images.class_counts.tolist(), groups)
        module = train(recipe, target, images, listener)
        if first:
            judged = judge_run(recipe, target, images, module)
            target.write_result(
                {
                    "schema": SCHEMA,
                    "recipe": recipe.name,
                    "method": recipe.method,
                    "loss": asdict(recipe.last_stage.loss),
                    "seed": recipe.seed,
                    **judged,
                    "data": describe_data(recipe, images),
                    **first_stage(recipe),
                    "versions": versions(),
                    "git_commit": git_commit(),
                    "wall_seconds": round(target.seconds(), 3),
                }
            )
    return target


def first_stage(recipe: Recipe) -> dict[str, Any]:
    """Return what a result says of a first stage of another run, and whether test images chose an epoch."""
    second = recipe.decouple
    taken: dict[str, Any] = {}
    first = recipe.train
    if second.from_run is not None:
        source = RunFolder(second.from_run)
        first = load_recipe(str(source.recipe_path)).train
        taken = {"first_stage": {"run": str(source.path), "train": asdict(first)}}
    chosen = [first.select] + ([second.select] if second.method not in ("none", "tau_norm") else [])
    return {**taken, "selected_on_test": "test_best" in chosen}


def judge_run(recipe: Recipe, target: RunFolder, images: Data, module: TrainingModule) -> dict[str, Any]:
    """Predict, keep the predictions, and return their metrics."""
    if isinstance(images, DenseData):
        assert isinstance(module, MapModule)
        with one_process(recipe.trainer) as trainer:
            return judge_maps(module, images, trainer, recipe.posthoc, target.path)
    predictions = predict(module, images, recipe.trainer)
    for split, said in predictions.items():
        target.write_predictions(split, said)
    write_errors(target, predictions["test"], images.task)
    return judge(predictions, recipe.posthoc, images.task, target.path / "calibrators")


def read_data(recipe: Recipe) -> Data:
    """Read the data of a recipe; raises `InputError` for a name, an option or files that are not there."""
    config = recipe.data
    options = {
        key: getattr(config, key) for key in ("root", "download", "train", "val", "imbalance", "split_seed")
    }
    for key in config.args:
        if options.get(key) is not None:
            raise InputError(
                f"data.{key} {options[key]!r} and data.args.{key} {config.args[key]!r} are the same option: "
                "leave out one of them."
            )
    if recipe.model.name.startswith("hf:"):
        # A network that was trained before knows its own tokens alone.
        options["tokenizer"] = recipe.model.name.removeprefix("hf:")
    task, teaching = data.create(config.name, **options | config.args), None
    if config.teach is not None:
        task, teaching = set_apart(task, config.teach, config.split_seed)
    module = _module_of(task, config.workers)
    module.teaching = teaching
    return module


def _module_of(task: Any, workers: int) -> Data:
    if isinstance(task, DenseTask | SegmentationTask):
        return DenseData(task, workers=workers)
    if isinstance(task, FileImageTask):
        return FileImageData(task, workers=workers)
    return TextData(task) if isinstance(task, TextTask) else ImageData(task)


def describe_data(recipe: Recipe, images: Data) -> dict[str, Any]:
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


def refuse_other(target: RunFolder, recipe: Recipe) -> None:
    """Raise `InputError` if a folder holds a run of another recipe."""
    changes = difference(target.recipe_text(), recipe, str(target.recipe_path)) if target.begun else []
    if changes:
        raise InputError(
            f"{target.path} holds a run of another recipe ({'; '.join(changes[:3])}): "
            "choose another folder, or delete that one."
        )
