"""Images with maps as a Lightning data module."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Sampler

from calibrant.data.label_set import LabelSet
from calibrant.data.label_transforms import IGNORED
from calibrant.data.loading import Loading, TaskData
from calibrant.data.map_set import MapSet
from calibrant.data.order import BatchOrder, Share
from calibrant.data.pair_set import Augmented, MapBatch, PairSet
from calibrant.data.worker_errors import ErrorsAsValues, RaisingLoader
from calibrant.errors import InputError


@dataclass(frozen=True)
class DenseTask:
    """A dense binary task: which pixels are part of the object.

    Attributes:
        train: images that train.
        val: images that choose and calibrate.
        test: images that judge.
        ood: images of another kind, by name: without any object, say.
        class_names: of the labels 0 and 1.
        note: one sentence for the reader of a result.
    """

    train: MapSet
    val: MapSet
    test: MapSet
    ood: dict[str, MapSet] = field(default_factory=dict)
    class_names: list[str] = field(default_factory=lambda: ["background", "object"])
    note: str = ""

    @cached_property
    def class_counts(self) -> Tensor:
        """(2,) number of training pixels of background and of object; all labels are read once."""
        return self.train.pixel_counts()

    @property
    def outputs(self) -> int:
        """The number of logits a pixel: 1."""
        return 1


@dataclass(frozen=True)
class SegmentationTask:
    """A task of semantic segmentation: which class each pixel belongs to; pixels labelled 255 count nowhere.

    Attributes:
        train: images that train.
        val: images that choose and calibrate; there may be none.
        test: images that judge.
        class_names: C names, in the order of the labels.
        background: whether class 0 is what belongs to nothing, so that scores without it are of interest.
        ood: images of another kind, by name.
        note: one sentence for the reader of a result.

    Raises:
        InputError: more classes than a map of 8 bits has levels.
    """

    train: LabelSet
    val: LabelSet
    test: LabelSet
    class_names: list[str]
    background: bool = False
    ood: dict[str, LabelSet] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not 2 <= len(self.class_names) <= IGNORED:
            raise InputError(
                f"A label map of 8 bits holds 2 to {IGNORED} classes, not {len(self.class_names)}: check their "
                "names."
            )

    @cached_property
    def class_counts(self) -> Tensor:
        """(C,) number of training pixels of each class; all labels are read once."""
        return self.train.pixel_counts()

    @property
    def outputs(self) -> int:
        """The number of logits a pixel: C."""
        return len(self.class_names)


class WithEpoch(Sampler[Augmented]):
    """An order of batches whose positions go to the data set together with seed and epoch.

    So that what is drawn for an image depends on neither the number of worker processes nor of processes.

    Args:
        order: the batches of positions.
        seed: seed of the augmentation.
    """

    def __init__(self, order: BatchOrder | Share, seed: int) -> None:
        self.order, self.seed = order, seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; Lightning calls it."""
        self.epoch = epoch
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[Augmented]:
        for positions in self.order:
            yield Augmented(self.seed, self.epoch, positions)


class DenseData(TaskData[PairSet]):
    """Loaders over a `DenseTask` or a `SegmentationTask`, whose sets read, augment and normalise the batches.

    What an epoch draws for an image depends on `loading.seed`, the epoch and the image alone.

    Args:
        task: the images.
        loading: how they are read; a stage sets its own before it trains.
        workers: processes that read ahead; what fits in memory is read before and shared.
    """

    inputs = "image"
    samples = "images"
    task: DenseTask | SegmentationTask

    def __init__(
        self, task: DenseTask | SegmentationTask, loading: Loading | None = None, *, workers: int = 0
    ) -> None:
        super().__init__(task, loading)
        self.workers = workers

    @property
    def train_targets(self) -> Tensor:
        """No image has a class of its own: raises `InputError`."""
        raise InputError(
            "A sampler chooses by the class of an image; one with a map has none. Set train.sampler.name to "
            "'shuffle' and its extra_batches to 0."
        )

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return 3

    @property
    def context(self) -> dict[str, Any]:
        """The number of channels, and of logits a pixel."""
        return {"in_channels": self.channels, "num_classes": self.task.outputs}

    def train_dataloader(self) -> DataLoader[MapBatch]:
        """Return the training batches, in the order of the epoch."""
        order = self.shared(self.train_order())
        augmented = WithEpoch(order, self.loading.seed) if self.loading.augment else order
        return self._loader(self.task.train, augmented)

    def plain(self, samples: PairSet) -> DataLoader[MapBatch]:
        """Return the batches of a set in its order, without augmentation."""
        return self._loader(samples, self.shared(self.plain_order(samples)))

    def _loader(self, images: PairSet, order: Sampler[Any]) -> DataLoader[MapBatch]:
        if self.workers:
            images.preload()
        return RaisingLoader(
            ErrorsAsValues(images),
            sampler=order,
            batch_size=None,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            generator=Generator(),
            pin_memory=torch.cuda.is_available(),
        )
