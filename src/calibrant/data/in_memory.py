"""Samples in memory, each with a label, as a Lightning data module."""

from typing import Any, TypeVar

from torch import Generator, Tensor
from torch.utils.data import DataLoader

from calibrant.data.image_set import ImageSet
from calibrant.data.loading import TaskData
from calibrant.data.order import BatchOrder
from calibrant.data.text_set import TextSet

L = TypeVar("L", bound=ImageSet | TextSet)


class InMemoryData(TaskData[L]):
    """Loaders that index whole batches of a set on the CPU.

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

    def val_dataloader(self) -> DataLoader[Any]:
        """Return the batches that are watched in training: of validation, or of test."""
        return self._loader(self.watched, self.plain_order(self.watched))

    def predict_dataloader(self) -> list[DataLoader[Any]]:
        """Return the validation batches, where there are any, and the test batches."""
        splits = [samples for samples in (self.task.val, self.task.test) if len(samples)]
        return [self._loader(samples, self.plain_order(samples)) for samples in splits]

    def _loader(self, samples: L, order: BatchOrder) -> DataLoader[Any]:
        # A loader draws a seed for its workers even when it has none: from its own generator, not from the
        # one of the model.
        return DataLoader(samples, sampler=self.shared(order), batch_size=None, generator=Generator())
