"""The stages of a run: each is trained, gone on with, or read when it is finished."""

from copy import deepcopy
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from calibrant import losses, models
from calibrant.data import Data, DenseData, DenseTask, SegmentationTask
from calibrant.data.label_transforms import IGNORED
from calibrant.data.order import epoch_seed
from calibrant.errors import InputError
from calibrant.losses import Loss
from calibrant.losses.adaptive_perturbation import AdaptiveScBCE
from calibrant.losses.base import Settings
from calibrant.losses.long_tailed import LDAM
from calibrant.losses.registry import LOSSES
from calibrant.models import Network
from calibrant.training.bilateral import module_kind
from calibrant.training.callbacks import Listener
from calibrant.training.decouple import DecoupledModule, replace_head, use_cosines
from calibrant.training.dense import DenseModule
from calibrant.training.levels import write_levels
from calibrant.training.maps import MapModule
from calibrant.training.module import TrainingModule
from calibrant.training.processes import is_first, wait_for_all
from calibrant.training.recipe import Recipe, StageConfig
from calibrant.training.recipe_files import load_recipe
from calibrant.training.run_folder import RunFolder, StageName
from calibrant.training.segmentation import SegmentationModule, refuse_unfit
from calibrant.training.stage import Stage, count_steps, refuse_impossible


def train(recipe: Recipe, target: RunFolder, images: Data, listener: Listener | None = None) -> TrainingModule:
    """Train what is not finished of a recipe's stages; return the module with the final weights.

    Raises:
        InputError: a stage that cannot be trained, or a first stage of another run that does not fit.
    """
    second = recipe.decouple
    progress = _Progress(recipe, images, listener)
    module = build(recipe, images)
    if second.method != "none":
        # Before hours are spent on the first stage: the second can be built and trained.
        tried = build_second(recipe, images, deepcopy(module.network))
        if second.method != "tau_norm":
            refuse_impossible(tried, images, recipe.trainer)
    if second.from_run is None:
        _finish("train", module, recipe, target, images, progress)
        source = target
    else:
        source = RunFolder(second.from_run)
        _refuse_misfit(source, recipe)
    if second.method == "none":
        return module
    module.network.load_state_dict(source.read_weights("train"))
    module = build_second(recipe, images, module.network)
    _finish("decouple", module, recipe, target, images, progress)
    return module


def restore(recipe: Recipe, source: RunFolder, images: Data) -> TrainingModule:
    """Return the module of a recipe with the final weights of a run of it, in evaluation mode.

    Args:
        recipe: of the run.
        source: the run.
        images: the data of the recipe.

    Raises:
        InputError: weights that are missing, damaged or of another network.
    """
    module: TrainingModule = build(recipe, images)
    last: StageName = "train"
    if recipe.decouple.method != "none":
        module, last = build_second(recipe, images, module.network), "decouple"
    weights = source.read_weights(last)
    try:
        module.network.load_state_dict(weights)
    except RuntimeError:
        raise InputError(
            f"The weights in {source.path} are not those of the network of its recipe on these data; check "
            "data.root, or run it again."
        ) from None
    return module.eval()


def build(recipe: Recipe, images: Data) -> TrainingModule:
    """Build the network and the loss of a recipe; the initial weights come from its seed.

    Raises:
        InputError: a name or an option that is not there.
    """
    torch.manual_seed(recipe.seed)
    loss = _loss(recipe.train, images)
    settings = {"seed": recipe.seed, **_settings(recipe, images)}
    config = recipe.model
    options = images.context | config.args
    if isinstance(images, DenseData):
        return _build_dense(recipe, images, loss, settings)
    network = models.create(config.name, num_classes=len(images.class_names), **options)
    if network.inputs != images.inputs:
        raise InputError(
            f"The network {config.name!r} does not take {images.samples}, such as those of "
            f"{recipe.data.name!r}; choose another model.name."
        )
    if isinstance(loss, LDAM) != (config.head == "cosine"):
        raise InputError(
            f"The loss {recipe.train.loss.name!r} does not go with model.head {config.head!r}: LDAM, and no "
            f"other loss, scales cosines; set model.head to {'cosine' if isinstance(loss, LDAM) else 'linear'}."
        )
    if isinstance(loss, LDAM):
        use_cosines(network, loss.scale)
    return module_kind(network, recipe)(network, loss, recipe.train, **settings)


def build_second(recipe: Recipe, images: Data, network: nn.Module) -> DecoupledModule:
    """Put the classifier of the second stage on a network, and build its loss.

    Raises:
        InputError: a network that has no linear classifier, a name or an option that is not there.
    """
    if not isinstance(network, Network):
        raise InputError(
            f"decouple.method {recipe.decouple.method!r} needs a classifier of images, not the dense network "
            f"{recipe.model.name!r}."
        )
    loss = _loss(recipe.decouple, images)
    if isinstance(loss, LDAM) or loss.binary or loss.spatial:
        raise InputError(
            f"The loss {recipe.decouple.loss.name!r} cannot train the linear classifier of a second stage; "
            "choose another decouple.loss.name."
        )
    torch.manual_seed(epoch_seed(recipe.seed, 0, "decouple"))
    replace_head(network, recipe.decouple)
    return DecoupledModule(
        network,
        loss,
        recipe.decouple,
        seed=epoch_seed(recipe.seed, 1, "decouple"),
        **_settings(recipe, images),
    )


def _build_dense(recipe: Recipe, images: DenseData, loss: Loss, settings: dict[str, Any]) -> MapModule:
    task = images.task
    if recipe.model.head != "linear":
        raise InputError("A dense network has no classifier to replace: set model.head to 'linear'.")
    if isinstance(task, DenseTask):
        _refuse_classes(recipe, loss)
    else:
        refuse_unfit(recipe, loss)
    network = models.create_dense(recipe.model.name, **images.context | recipe.model.args)
    if isinstance(task, DenseTask):
        return DenseModule(network, loss, recipe.train, **settings)
    return SegmentationModule(network, loss, recipe.train, background=task.background, **settings)


def _refuse_classes(recipe: Recipe, loss: Loss) -> None:
    """Raise `InputError` for what is meant for classes and would leave a network of binary maps untrained."""
    if not loss.binary:
        known = [name for name in LOSSES.names() if getattr(LOSSES.get(name), "binary", False)]
        raise InputError(
            f"The loss {recipe.train.loss.name!r} is one for classes, and {recipe.data.name!r} holds binary "
            f"maps; set train.loss.name to one of {', '.join(known)}."
        )


def _settings(recipe: Recipe, images: Data) -> dict[str, Any]:
    return {
        "inputs": images.inputs,
        # Words have no channels.
        "channels_last": recipe.trainer.channels_last and images.inputs == "image",
        "class_counts": images.class_counts,
    }


def _loss(stage: StageConfig, images: Data) -> Loss:
    if stage.mix.name == "rank_mixup":
        return _rank_mixup(stage, images)
    ignoring = {"ignore_index": IGNORED} if isinstance(images.task, SegmentationTask) else {}
    return losses.create(
        stage.loss.name,
        num_classes=len(images.class_names),
        class_counts=images.class_counts,
        num_samples=len(images.task.train),
        **ignoring | stage.loss.args,
    )


def _rank_mixup(stage: StageConfig, images: Data) -> Loss:
    if isinstance(images, DenseData):
        raise InputError(
            f"{stage.key}.mix.name 'rank_mixup' ranks the confidences of images, and maps have none; set it to "
            "'mixup' or 'none'."
        )
    known = ("pairs", *Settings.__annotations__)
    if other := [name for name in stage.loss.args if name not in known]:
        raise InputError(
            f"{stage.key}.loss.args.{other[0]} is no option of RankMixup, which takes {', '.join(known)}; its "
            f"ranking, weight and margin are those of {stage.key}.mix."
        )
    if stage.loss.name != "ce":
        raise InputError(
            f"{stage.key}.mix.name 'rank_mixup' adds a ranking to cross-entropy: set {stage.key}.loss.name to "
            f"'ce', not {stage.loss.name!r}."
        )
    mix = stage.mix
    return losses.RankMixup(mix.ranking, mix.weight, mix.margin, **stage.loss.args)


class _Progress:
    """Tells a listener how far the stages together are."""

    def __init__(self, recipe: Recipe, images: Data, listener: Listener | None) -> None:
        self.listener = listener
        stages: dict[StageName, StageConfig] = {}
        if recipe.decouple.from_run is None:
            stages["train"] = recipe.train
        if recipe.decouple.method not in ("none", "tau_norm"):
            stages["decouple"] = recipe.decouple
        self.steps = {name: count_steps(stage, images, recipe.trainer) for name, stage in stages.items()}
        self.epochs = {name: stage.epochs for name, stage in stages.items()}

    def of(self, name: StageName) -> Listener | None:
        """Return what a stage tells of its own progress to."""
        listener = self.listener
        if listener is None:
            return None
        before, epochs = 0, 0
        for stage in self.steps:
            if stage == name:
                break
            before, epochs = before + self.steps[stage], epochs + self.epochs[stage]
        total = sum(self.steps.values())
        return lambda done, _, epoch: listener(before + done, total, epochs + epoch)


def _finish(
    name: StageName,
    module: TrainingModule,
    recipe: Recipe,
    target: RunFolder,
    images: Data,
    progress: _Progress,
) -> None:
    files = target.stage(name)
    finished = files.weights.is_file()
    # None writes before all have looked.
    wait_for_all()
    if finished:
        module.network.load_state_dict(target.read_weights(name))
        return
    seconds = 0.0
    if not (isinstance(module, DecoupledModule) and module.stage.method == "tau_norm"):
        stage = Stage(module, images, recipe.trainer, files=files, listener=progress.of(name))
        stage.fit()
        seconds = stage.history.seconds
    if is_first(recipe.trainer.devices):
        if isinstance(module.loss, AdaptiveScBCE):
            assert isinstance(images, DenseData)
            write_levels(target, module.loss, images.task.train)
        target.write_weights(name, module.network.state_dict(), seconds)
    wait_for_all()


def _refuse_misfit(source: RunFolder, recipe: Recipe) -> None:
    other = load_recipe(str(source.recipe_path))
    places = {"root", "download", "workers"}
    for part in ("data", "model"):
        ours, theirs = (
            {key: value for key, value in asdict(getattr(r, part)).items() if key not in places}
            for r in (recipe, other)
        )
        for key in ours:
            if ours[key] != theirs[key]:
                raise InputError(
                    f"The first stage in {source.path} has {part}.{key} {theirs[key]!r}, but this recipe has "
                    f"{ours[key]!r}: start from a run with the same {part}."
                )
