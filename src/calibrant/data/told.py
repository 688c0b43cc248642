"""Loaders whose worker processes report what a user did wrong in one sentence."""

from collections.abc import Iterator
from typing import Any, Protocol

from torch.utils.data import DataLoader, Dataset

from calibrant.errors import InputError


class Samples(Protocol):
    """What is indexed by batches of positions."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Any, /) -> Any: ...


class _Told(Dataset[Any]):
    """Samples of which a worker process hands on an `InputError` as a value, not as a traceback."""

    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        try:
            return self.samples[index]
        except InputError as error:
            return str(error)


class ToldLoader(DataLoader[Any]):
    """A `DataLoader` of whole batches that raises the `InputError` of a worker process as it was.

    Args:
        samples: indexed by what the sampler gives.
        **options: as of `torch.utils.data.DataLoader`.

    Example:
        >>> [batch for batch in ToldLoader([1, 2, 3], sampler=[2, 0])]
        [3, 1]
    """

    def __init__(self, samples: Samples, **options: Any) -> None:
        super().__init__(_Told(samples), batch_size=None, **options)

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        for batch in super().__iter__():
            if isinstance(batch, str):
                raise InputError(batch)
            yield batch
