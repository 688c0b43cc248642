"""Training of the bilateral-branch network: two batches a step, and a share that passes between them."""

from typing import Any

import torch
from torch import Tensor, nn

from calibrant.errors import InputError
from calibrant.losses import Loss
from calibrant.losses.mixing import MixedPair, bbn_lambda, mixed_loss
from calibrant.models.bbn import BilateralBranchNetwork
from calibrant.training.module import Batch, TrainingModule
from calibrant.training.recipe import Recipe, SamplerConfig, StageConfig


class BilateralModule(TrainingModule):
    r"""Trains both branches at once: $\alpha L(z, y_a) + (1 - \alpha) L(z, y_b)$.

    z are the logits of a batch of pairs, each of a sample that comes as it comes (a) and one that is drawn with
    the class frequencies reversed (b); the first half of what the sampler "bilateral" gives, and the second.
    The share falls from epoch to epoch, $\alpha = 1 - (e / E)^2$ with e from 0 and E the epochs of the stage,
    or `sampler.horizon`, with which the published code lets the share of a shorter training end above 0.

    Zhou, Cui, Wei, Chen: "BBN: Bilateral-Branch Network with Cumulative Learning for Long-Tailed Visual
    Recognition", CVPR 2020.

    Args:
        network: the network, with two branches.
        loss: any loss that does not learn from each image by itself.
        stage: optimizer, schedule, length.
        **settings: as in `TrainingModule`.

    Raises:
        InputError: a loss that learns from each image by itself.
    """

    def __init__(self, network: nn.Module, loss: Loss, stage: StageConfig, **settings: Any) -> None:
        if loss.needs_index or "train" in loss.observes:
            raise InputError(
                f"{type(loss).__name__} learns from each image by itself, which a bilateral-branch network "
                "trains in pairs; choose another loss or network."
            )
        super().__init__(network, loss, stage, **settings)

    def _loss_of(self, batch: Batch) -> Tensor:
        images, reversed_images = batch[self.inputs].contiguous(memory_format=self.layout).chunk(2)
        target, reversed_target = batch["target"].chunk(2)
        alpha = bbn_lambda(self.current_epoch, self.stage.sampler.horizon or self.stage.epochs)
        # A tensor, as a compiled network is compiled again for every new number.
        share = torch.tensor(alpha, dtype=torch.float32, device=self.device)
        logits = self.network(images, reversed_images, share)
        mixed = mixed_loss(self.loss, logits, MixedPair(target, reversed_target, alpha))
        self._activity.note(logits, target)
        return mixed


def module_kind(network: nn.Module, recipe: Recipe) -> type[TrainingModule]:
    """Return what trains a network in the first stage.

    Raises:
        InputError: one of the bilateral network and the bilateral sampler without the other, or both with
            what they cannot be combined with.
    """
    stage, name = recipe.train, recipe.model.name
    refuse_bilateral(recipe.decouple.sampler, "decouple")
    if not isinstance(network, BilateralBranchNetwork):
        refuse_bilateral(stage.sampler, "train", f", which the network {name!r} is not")
        return TrainingModule
    if stage.sampler.name != "bilateral":
        raise InputError(
            f"The network {name!r} trains on pairs of batches, which the sampler {stage.sampler.name!r} does "
            "not give; set train.sampler.name to 'bilateral'."
        )
    horizon = stage.sampler.horizon
    if horizon is not None and horizon < stage.epochs:
        raise InputError(
            f"train.sampler.horizon {horizon} is over before the {stage.epochs} epochs of the stage: raise it, "
            "or leave it out."
        )
    _refuse_combinations(stage, recipe.trainer.devices)
    return BilateralModule


def refuse_bilateral(sampler: SamplerConfig, stage: str, who: str = "") -> None:
    """Raise `InputError` if a stage has the bilateral sampler."""
    if sampler.name == "bilateral":
        raise InputError(
            f"{stage}.sampler.name 'bilateral' is for the first stage of a bilateral-branch network, such as "
            f"'bbn_resnet32'{who}; choose another sampler."
        )


def _refuse_combinations(stage: StageConfig, devices: int) -> None:
    if stage.mix.name != "none":
        raise InputError(
            "A bilateral-branch network mixes pairs of its own: set train.mix.name to 'none', not "
            f"{stage.mix.name!r}."
        )
    if devices > 1:
        raise InputError(
            f"A bilateral-branch network trains on one device, not {devices}: set trainer.devices to 1."
        )
