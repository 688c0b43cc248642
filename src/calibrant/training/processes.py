"""Several processes that train together: which one speaks and writes."""

import os

import torch


def is_first() -> bool:
    """Whether this process writes the files: the only one, or the first of those that train together.

    Example:
        >>> is_first()
        True
    """
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0"))) == 0


def wait_for_all() -> None:
    """Wait until every process has come to this place."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.barrier()
