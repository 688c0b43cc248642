"""Samples in memory, each with a label, as a Lightning data module."""

from typing import Any, TypeVar

from torch import Generator
from torch.utils.data import DataLoader

from calibrant.data.image_set import ImageSet
from calibrant.data.labelled import LabelledData
from calibrant.data.order import BatchOrder
from calibrant.data.text_set import TextSet

L = TypeVar("L", ImageSet, TextSet)


class InMemoryData(LabelledData[L]):
    """Loaders that index whole batches of a set on the CPU.

    Args:
        task: the samples.
        loading: how they are read; a stage sets its own before it trains.
    """

    def _loader(self, samples: L, order: BatchOrder) -> DataLoader[Any]:
        # A loader draws a seed for its workers even when it has none: from its own generator, not from the
        # one of the model.
        return DataLoader(samples, sampler=self.shared(order), batch_size=None, generator=Generator())
