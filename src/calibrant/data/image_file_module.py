"""Image files as a Lightning data module."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from calibrant.data.augment import normalise
from calibrant.data.image_files import FileImageSet, FileImageTask
from calibrant.data.image_set import ImageBatch
from calibrant.data.labelled import LabelledData
from calibrant.data.loading import Loading
from calibrant.data.order import BatchOrder, epoch_seed
from calibrant.data.worker_errors import ErrorsAsValues, RaisingLoader


class SeededOrder(BatchOrder):
    """An order of batches in which each position comes with the seed of its augmentation, as (B, 2).

    The seed depends on the seed of the stage, the epoch and the position alone, and, where a sampler visits an
    image more than once an epoch, on how often it has come before: not on the number of worker processes, nor
    on that of the processes that share a batch.

    Args:
        order: the batches of positions.
        seed: seed of the stage.

    Example:
        >>> from calibrant.data.order import EpochOrder
        >>> order = SeededOrder(EpochOrder(3, 2), seed=0)
        >>> [batch[:, 0].tolist() for batch in order]
        [[0, 1], [2]]
    """

    def __init__(self, order: BatchOrder, seed: int) -> None:
        super().__init__(order.count, order.batch_size, drop_last=order.drop_last)
        self.order, self.seed = order, seed

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        super().set_epoch(epoch)
        self.order.set_epoch(epoch)

    def positions(self) -> Tensor:
        """Return the positions of the epoch."""
        return self.order.positions()

    def __iter__(self) -> Iterator[Tensor]:
        base = epoch_seed(self.seed, self.epoch, "augmentation")
        before: Counter[int] = Counter()
        for batch in self.order:
            seeds = []
            for position in batch.tolist():
                seeds.append(epoch_seed(epoch_seed(base, position, "augmentation"), before[position], "step"))
                before[position] += 1
            yield torch.stack([batch, torch.tensor(seeds)], 1)


class FileImageData(LabelledData[FileImageSet]):
    """Loaders over a `FileImageTask`: worker processes read and augment the files, the device normalises.

    What an epoch draws for an image depends on `loading.seed`, the epoch and the image alone.

    Args:
        task: the images.
        loading: how they are read; a stage sets its own before it trains.
        workers: processes that read ahead.
    """

    inputs = "image"
    samples = "images"
    task: FileImageTask

    def __init__(self, task: FileImageTask, loading: Loading | None = None, *, workers: int = 0) -> None:
        super().__init__(task, loading)
        self.workers = workers

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return 3

    @property
    def context(self) -> dict[str, Any]:
        """The number of channels."""
        return {"in_channels": self.channels}

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches, in the order of the epoch, augmented if the stage says so."""
        order = self.train_order()
        return self._loader(
            self.task.train, SeededOrder(order, self.loading.seed) if self.loading.augment else order
        )

    def on_after_batch_transfer(self, batch: ImageBatch, dataloader_idx: int) -> ImageBatch:
        """Normalise."""
        views = self.task.train.views
        mean, std = ([255 * value for value in values] for values in (views.mean, views.std))
        return {**batch, "image": normalise(batch["image"], mean, std)}

    def _loader(self, samples: FileImageSet, order: BatchOrder) -> DataLoader[Any]:
        return RaisingLoader(
            ErrorsAsValues(samples),
            sampler=self.shared(order),
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            generator=Generator(),
            pin_memory=torch.cuda.is_available(),
        )
