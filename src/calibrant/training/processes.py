"""Several processes that train together: which one speaks and writes."""

import os

import torch


def is_first(processes: int) -> bool:
    """Whether this process writes the files: the only one, or the first of those that train together.

    Args:
        processes: how many train together. One alone is the first, whatever number a cluster gave it.

    Example:
        >>> is_first(1)
        True
    """
    return processes == 1 or int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def wait_for_all() -> None:
    """Wait until every process has come to this place."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
