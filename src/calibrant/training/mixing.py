"""Pairs of mixed images: what is random about them comes from the seed and the epoch alone."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from calibrant.data.order import epoch_seed
from calibrant.errors import InputError
from calibrant.losses import Loss, RankMixup
from calibrant.losses.mixing import MixedPair, draw_lambda, mixed_loss, mixup, remix_lambda
from calibrant.training.recipe import MixConfig


class Mixer:
    """Mixes each batch with a permutation of itself; in several processes, each its part.

    One share is drawn for a batch, as in MiSLAS; of binary maps one for each image, as in ASLP's baseline.

    The published code of MiSLAS draws the shares from NumPy's global generator, after the long tail; here they
    come from the seed and the epoch, so that a resumed run repeats them.

    Args:
        config: how; not "none".
        seed: seed of the run.
        class_counts: (C,) training images of each class, which Remix compares.
        by_image: draw a share for each image.

    Raises:
        InputError: an alpha that is not above 0.

    Example:
        >>> mixer = Mixer(MixConfig("mixup"), seed=0, class_counts=torch.ones(4))
        >>> images, pair = mixer.mix(torch.rand(4, 3, 8, 8), torch.tensor([0, 1, 2, 3]), epoch=0)
        >>> images.shape, sorted(pair.b.tolist())
        (torch.Size([4, 3, 8, 8]), [0, 1, 2, 3])
    """

    def __init__(self, config: MixConfig, seed: int, class_counts: Tensor, *, by_image: bool = False) -> None:
        if config.alpha <= 0:
            raise InputError(f"mix.alpha must be above 0, not {config.alpha}; 'none' mixes nothing.")
        self.config, self.seed, self.class_counts, self.by_image = config, seed, class_counts, by_image
        self._epoch, self._generator = -1, Generator()

    def mix(self, images: Tensor, target: Tensor, epoch: int) -> tuple[Tensor, MixedPair]:
        """Return the mixed images of a batch, and their targets with shares."""
        if epoch != self._epoch:
            self._epoch = epoch
            self._generator.manual_seed(epoch_seed(self.seed, epoch, "mix"))
        shares = [
            draw_lambda(self.config.alpha, generator=self._generator)
            for _ in range(len(images) if self.by_image else 1)
        ]
        order = torch.randperm(len(images), generator=self._generator).to(images.device)
        lam = torch.tensor(shares, device=images.device) if self.by_image else shares[0]
        mixed, pair = mixup(images, target, lam, order)
        if self.config.name != "remix":
            return mixed, pair
        kept = remix_lambda(
            self.class_counts, pair.a, pair.b, shares[0], kappa=self.config.kappa, tau=self.config.tau
        )
        return mixed, MixedPair(pair.a, pair.b, kept)

    def loss(
        self, loss: Loss, network: Callable[[Tensor], Tensor], images: Tensor, target: Tensor, epoch: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss of a batch and its mixtures, with logits and labels of rows.

        The rows are the mixtures, labelled as the first of each pair. With "regmixup" and "rank_mixup", whose
        mixtures go through the network in one batch with the images, they are the images.

        Args:
            loss: of the run; for "rank_mixup" a `RankMixup`.
            network: maps images to logits.
            images: (N, 3, H, W).
            target: their labels.
            epoch: the epoch.
        """
        if self.config.name in ("mixup", "remix"):
            mixed, pair = self.mix(images, target, epoch)
            logits = network(mixed)
            return loss_of_pair(loss, logits, pair), logits, pair.a
        copies = self.config.copies if self.config.name == "rank_mixup" else 1
        drawn = [self.mix(images, target, epoch) for _ in range(copies)]
        logits = network(torch.cat([images, *(mixed for mixed, _ in drawn)]))
        plain, mixed = logits[: len(images)], logits[len(images) :]
        if isinstance(loss, RankMixup):
            classes = logits.shape[1]
            soft = torch.cat([pair.soft_target(classes) for _, pair in drawn])
            return loss(plain, target, mixed_logits=mixed, mixed_target=soft), plain, target
        own = loss(plain, target)
        terms = dict(loss.terms)
        beside = loss_of_pair(loss, mixed, drawn[0][1])
        loss.terms = {name: (terms[name] + value) / 2 for name, value in loss.terms.items()}
        return (own + beside) / 2, plain, target


def loss_of_pair(loss: Loss, logits: Tensor, pair: MixedPair) -> Tensor:
    """Return the loss of mixed images."""
    # Two binary maps make a grey one, which every loss of maps takes.
    mixed: Tensor = loss(logits, pair.soft_target()) if loss.binary else mixed_loss(loss, logits, pair)
    return mixed
