"""What every data module of a task shares: how it is read, in which order, and by how many processes."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader

from calibrant.data.order import BatchOrder, EpochOrder, Share

S = TypeVar("S", bound=Sized)
S_co = TypeVar("S_co", bound=Sized, covariant=True)


@dataclass(frozen=True)
class Loading:
    """How a stage reads its data.

    Attributes:
        batch_size: samples a step, of all processes together.
        eval_batch_size: the same in validation and test.
        drop_last: leave out the last, incomplete batch of an epoch.
        augment: use the training augmentation.
        seed: seed of the order and of the augmentation.
        order: makes the order of the training batches of the (N,) labels; None shuffles.
        watch_test: give the test samples where a stage validates.
    """

    batch_size: int = 128
    eval_batch_size: int = 500
    drop_last: bool = False
    augment: bool = True
    seed: int = 0
    order: Callable[[Tensor], BatchOrder] | None = None
    watch_test: bool = False


class Task(Protocol[S_co]):
    """Samples that train, validate and test, and the classes of their labels."""

    @property
    def train(self) -> S_co:
        """Samples that train."""

    @property
    def val(self) -> S_co:
        """Samples that choose and calibrate; there may be none."""

    @property
    def test(self) -> S_co:
        """Samples that judge."""

    @property
    def class_names(self) -> list[str]:
        """C names, in the order of the labels."""

    @property
    def class_counts(self) -> Tensor:
        """(C,) number of training labels of each class."""


class TaskData(LightningDataModule, ABC, Generic[S]):
    """Loaders over the splits of a task.

    Args:
        task: the samples.
        loading: how they are read; a stage sets its own before it trains.

    Attributes:
        inputs: key of a batch under which stands what the network takes.
        samples: what a message calls the samples, in the plural.
        teaching: validation samples that teach a loss and do nothing else; None where all of validation does.
    """

    inputs: ClassVar[str]
    samples: ClassVar[str]
    task: Task[S]
    teaching: S | None = None

    def __init__(self, task: Task[S], loading: Loading | None = None) -> None:
        super().__init__()
        self.task, self.loading = task, loading or Loading()

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of the labels."""
        return self.task.class_names

    @property
    def class_counts(self) -> Tensor:
        """(C,) number of training labels of each class."""
        return self.task.class_counts

    @property
    @abstractmethod
    def context(self) -> dict[str, Any]:
        """What a network may need to know of the samples: arguments of `models.create`."""

    @property
    @abstractmethod
    def train_targets(self) -> Tensor:
        """The (N,) labels of the training samples, for a sampler."""

    @property
    def watched(self) -> S:
        """The samples that are watched in training: of validation, or of test."""
        return self.task.test if self.loading.watch_test else self.task.val

    def val_dataloader(self) -> DataLoader[Any] | list[DataLoader[Any]]:
        """Return the batches that are watched in training; where some samples only teach, theirs as well."""
        watched = self.plain(self.watched)
        return watched if self.teaching is None else [watched, self.plain(self.teaching)]

    @abstractmethod
    def plain(self, samples: S) -> DataLoader[Any]:
        """Return the batches of a set in its own order, of which this process takes its share."""

    def train_order(self) -> BatchOrder:
        """Return the order of the training batches."""
        o = self.loading
        if o.order is not None:
            return o.order(self.train_targets)
        return EpochOrder(len(self.task.train), o.batch_size, seed=o.seed, drop_last=o.drop_last)

    def plain_order(self, samples: S) -> BatchOrder:
        """Return the batches of a split in its own order."""
        return EpochOrder(len(samples), self.loading.eval_batch_size)

    def shared(self, order: BatchOrder) -> BatchOrder | Share:
        """Return what this process takes of the batches."""
        if self.trainer is not None and self.trainer.world_size > 1:
            return Share(order, self.trainer.global_rank, self.trainer.world_size)
        return order
