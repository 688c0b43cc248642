"""Two processes at once, as training in several has them."""

import multiprocessing
import tempfile
from collections.abc import Callable
from typing import Any

import torch

# The processes come from one that has imported these already.
multiprocessing.set_forkserver_preload(["calibrant.losses", "calibrant.metrics"])


def in_two(work: Callable[..., Any], *args: Any) -> list[Any]:
    """Return what `work(rank, *args)` gives in each of two processes that share a gloo group."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(_one, (work, folder, args), nprocs=2, start_method="forkserver")
        return [torch.load(f"{folder}/{rank}.pt") for rank in (0, 1)]


def _one(rank: int, work: Callable[..., Any], folder: str, args: tuple[Any, ...]) -> None:
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    torch.save(work(rank, *args), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()
