"""A finished run as files that other programs run: traced, written, checked, and only then put in place."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from calibrant.data import Data, DenseTask
from calibrant.errors import InputError
from calibrant.export.calibrators import Folded, calibrator_of
from calibrant.export.checking import OVER_STEPS, TOLERANCE, Checked, Difference, check
from calibrant.export.folding import FoldedNetwork
from calibrant.export.formats import FORMATS, OUTPUTS, traced
from calibrant.export.samples import Samples, samples_of, take
from calibrant.training.files import replacing
from calibrant.training.provenance import versions
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_files import load_recipe
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import read_data
from calibrant.training.stages import restore

#: Samples of the example that a network is traced with.
_EXAMPLE = 2


@dataclass(frozen=True)
class Exported:
    """What was written, and what its check found.

    Attributes:
        files: by format.
        facts: the metadata that each file holds.
        checked: what the check found.
        run: by metric, what the run says of this calibrator on the same test samples; nothing where it does
            not, or not all of them were checked.
    """

    files: dict[str, Path]
    facts: dict[str, Any]
    checked: Checked
    run: dict[str, float | None]


def export_run(
    run: RunFolder,
    folder: Path | None = None,
    formats: Sequence[str] = ("onnx", "torch"),
    *,
    calibrator: str | None = None,
    root: str | None = None,
    samples: int | None = None,
) -> Exported:
    """Write the network of a finished run, its calibrator folded in, and check it on the run's test samples.

    The network takes what the data module gives it, images that the device normalises before normalisation,
    and gives calibrated `probs` and `logits`, float32 whatever the precision of the run, for batches of any
    size. Each file holds metadata: the names of the classes, the calibrator, the input in words, versions. It
    appears whole, and only if its probabilities are within 1e-5 of those of PyTorch; of a calibrator with
    steps, rounding may move 1 % of the samples over one. Label maps are calibrated in the size of the network's
    input, which for temperature, vector and matrix scaling is the same as in that of the file, where a run does
    it; for others nearly so.

    Args:
        run: the run.
        folder: where the files are written, as network.onnx and network.pt2; `export` in the run by default.
        formats: "onnx", "torch" or both.
        calibrator: name of one that the run fitted, a file that `calibrant calibrate` wrote, or "none"; by
            default the one of the run's recipe.
        root: folder of the data sets now, where that of the recipe no longer holds.
        samples: how many test samples are checked, evenly spaced; None for all.

    Returns:
        The files and what the check found.

    Raises:
        InputError: a run that is not finished or lacks weights, data that are not there, a calibrator that
            does not fit, a network that the format cannot hold, or outputs that differ.
        ModuleNotFoundError: a package of the format is not installed.
    """
    for name in formats:
        FORMATS[name].require()
    result = run.result()
    recipe = load_recipe(str(run.recipe_path), {"data": {"root": root}} if root else {})
    data = read_data(recipe)
    if not len(data.task.test):
        raise InputError(f"{recipe.data.name!r} has no test {data.samples} to check an export with.")
    folded = calibrator_of(run, recipe.posthoc, data.class_names, calibrator)
    module = restore(recipe, run, data)
    taken = samples_of(data)
    network = FoldedNetwork(
        module.network,
        folded.calibrator,
        mean=taken.mean,
        std=taken.std,
        binary=isinstance(data.task, DenseTask),
    ).eval()
    # Whoever runs the file gets outputs without a gradient.
    network.requires_grad_(False)
    example = take(data, torch.zeros(_EXAMPLE, dtype=torch.int64))
    with torch.no_grad():
        shape = [*network(example)[0].shape[1:]]
    facts = _facts(recipe, result, data, folded, taken, example.shape[1:], str(example.dtype), shape)
    program = traced(network, example)
    folder = run.path / "export" if folder is None else folder
    files = {name: folder / f"network{FORMATS[name].suffix}" for name in formats}
    with ExitStack() as stack:
        written = {name: stack.enter_context(replacing(path)) for name, path in files.items()}
        for name, path in written.items():
            FORMATS[name].write(program, facts, taken.name, path)
        loaded = {name: FORMATS[name].load(path) for name, path in written.items()}
        checked = check(network, loaded, data, module, samples)
        for name, difference in checked.differences.items():
            _refuse_other(FORMATS[name].title, difference, folded)
    whole = checked.samples == len(data.task.test)
    return Exported(files, facts, checked, _said(result, folded.stage) if whole else {})


def find_run(path: Path) -> RunFolder:
    """Return the finished run in a folder, or the only one below it.

    Raises:
        InputError: there is none, or more than one.
    """
    run = RunFolder(path)
    if run.finished:
        return run
    below = [result.parent for result in sorted(path.rglob("result.json"))]
    if len(below) > 1:
        raise InputError(f"{path} holds {len(below)} finished runs; name one of them, such as {below[0]}.")
    return RunFolder(below[0]) if below else run


def _refuse_other(title: str, difference: Difference, folded: Folded) -> None:
    allowed = OVER_STEPS * difference.samples if folded.jumps else 0
    if difference.apart > allowed:
        raise InputError(
            f"The probabilities of the {title} network differ from PyTorch's by up to {difference.probs:.2g}, "
            f"by more than {TOLERANCE:g} on {difference.apart:,} of {difference.samples:,} test samples; "
            "nothing was written."
        )


def _said(result: dict[str, Any], stage: str | None) -> dict[str, float | None]:
    """Return what a run says of a calibrator on its test samples."""
    found = result["metrics"]["test"].get(stage, {})
    return {name: estimate["value"] for name, estimate in found.items()}


def _facts(
    recipe: Recipe,
    result: dict[str, Any],
    data: Data,
    folded: Folded,
    taken: Samples,
    sides: Sequence[int],
    kind: str,
    shape: list[int],
) -> dict[str, Any]:
    """Return the metadata of an export."""
    one = isinstance(data.task, DenseTask)
    meanings = (
        "calibrated probability of class 1" if one else "calibrated probabilities of the classes",
        "log-odds of them" if one else "calibrated logits, whose softmax over the classes they are",
    )
    words = {"words": taken.words} if taken.words else {}
    return {
        "class_names": data.class_names,
        "calibrator": folded.facts,
        "input": {
            "name": taken.name,
            "type": kind.removeprefix("torch."),
            "shape": ["batch", *sides],
            "meaning": taken.meaning,
        },
        "outputs": {
            name: {"type": "float32", "shape": ["batch", *shape], "meaning": meaning}
            for name, meaning in zip(OUTPUTS, meanings, strict=True)
        },
        "run": {
            "model": _named(recipe.model.name),
            **{key: result[key] for key in ("recipe", "method", "seed")},
        },
        "versions": versions(),
        **words,
    }


def _named(model: str) -> str:
    """Return the name of a network; of one from a folder without where on this machine it is."""
    source, colon, folder = model.partition(":")
    return f"{source}:{Path(folder).name}" if source == "hf" and colon else model
