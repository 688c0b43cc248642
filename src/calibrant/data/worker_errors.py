"""Loaders whose worker processes report what a user did wrong in one sentence."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from calibrant.errors import InputError


class Samples(Protocol):
    """What is indexed by batches of positions."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class ErrorsAsValues(Dataset[Any]):
    """Samples of which a worker process hands on an `InputError` as a value, not as a traceback.

    Args:
        samples: indexed by batches of positions.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.samples[index]
        except InputError as error:
            return str(error)


class RaisingLoader(DataLoader[Any]):
    """A `DataLoader` of `ErrorsAsValues` that raises the `InputError` of a worker process as it was.

    Example:
        >>> [batch for batch in RaisingLoader(ErrorsAsValues([1, 2, 3]), sampler=[2, 0], batch_size=None)]
        [3, 1]
    """

    # Its arguments are those of a `DataLoader`, since Lightning builds loaders anew.
    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, str):
                raise InputError(batch)
            yield batch
