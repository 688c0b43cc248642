"""What data modules of samples with one label each share: their loaders."""

from abc import abstractmethod
from typing import Any, Protocol, TypeVar

from torch import Tensor
from torch.utils.data import DataLoader

from calibrant.data.loading import TaskData
from calibrant.data.order import BatchOrder


class Labelled(Protocol):
    """Samples with a label each."""

    @property
    def targets(self) -> Tensor:
        """(N,) int64 labels."""

    def __len__(self) -> int: ...


L = TypeVar("L", bound=Labelled)


class LabelledData(TaskData[L]):
    """Loaders over samples with a label each; a subclass says how the batches of an order are read.

    `predict_dataloader` gives the validation and the test samples, in the order of their splits.

    Args:
        task: the samples.
        loading: how they are read; a stage sets its own before it trains.
    """

    @property
    def train_targets(self) -> Tensor:
        """The (N,) labels of the training samples."""
        return self.task.train.targets

    def train_dataloader(self) -> DataLoader[Any]:
        """Return the training batches, in the order of the epoch."""
        return self._loader(self.task.train, self.train_order())

    def plain(self, samples: L) -> DataLoader[Any]:
        """Return the batches of a set in its own order, of which this process takes its share."""
        return self._loader(samples, self.plain_order(samples))

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Return the validation batches, where there are any, and the test batches."""
        splits = [samples for samples in (self.task.val, self.task.test) if len(samples)]
        return [self.plain(samples) for samples in splits]

    @abstractmethod
    def _loader(self, samples: L, order: BatchOrder) -> DataLoader[Any]:
        """Return a loader of the batches of an order, of which this process takes its share."""
