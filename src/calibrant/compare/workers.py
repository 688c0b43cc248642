"""Runs side by side in worker processes, which end with the process that started them."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from calibrant.errors import InputError
from calibrant.training.recipe import Recipe
from calibrant.training.run_folder import RunFolder

#: The done fraction of each run, in memory that all workers share; set in a worker when it starts.
_fractions: Any = None


def run_all(
    runs: Sequence[tuple[Recipe, Path]],
    *,
    jobs: int | None = None,
    watch: Callable[[Sequence[float]], None] = lambda fractions: None,
) -> dict[Path, str]:
    """Run what is not finished, several at a time.

    Args:
        runs: recipes with their folders.
        jobs: worker processes; None for as many as cores, or one where there is a GPU.
        watch: told, several times a second, which fraction of each run is done.

    Returns:
        Why each run that failed did so, by folder; the others are finished.

    Raises:
        Exception: an error that is not the user's, once the other runs have ended.
    """
    if jobs is not None and jobs < 1:
        raise InputError(f"jobs must be at least 1, not {jobs}.")
    if not runs:
        return {}
    jobs = min(jobs or _default_jobs(runs), len(runs))
    context = multiprocessing.get_context("spawn")
    fractions = context.Array("d", len(runs), lock=False)
    pool = ProcessPoolExecutor(
        jobs, mp_context=context, initializer=_begin, initargs=(fractions, max(1, _cores() // jobs))
    )
    try:
        futures = [pool.submit(_work, i, *run) for i, run in enumerate(runs)]
        pending: set[Future[None]] = set(futures)
        while pending:
            watch(list(fractions))
            _, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
        watch(list(fractions))
    except BaseException:
        # Workers that are busy would be waited for at exit.
        for child in multiprocessing.active_children():
            child.kill()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return failures(runs, futures)


def failures(runs: Sequence[tuple[Recipe, Path]], futures: list[Future[None]]) -> dict[Path, str]:
    """Return why runs failed, by folder; raises an error that is not the user's."""
    reasons: dict[Path, str] = {}
    for (_, folder), future in zip(runs, futures, strict=True):
        error = future.exception()
        if isinstance(error, InputError):
            reasons[folder] = str(error)
        elif isinstance(error, BrokenProcessPool):
            raise InputError(
                "A worker process was killed, perhaps for want of memory; the same command goes on from here, "
                "with --jobs 1 if need be."
            )
        elif error is not None:
            raise error
    return reasons


def _default_jobs(runs: Sequence[tuple[Recipe, Path]]) -> int:
    import torch

    on_gpu = torch.cuda.is_available() and any(recipe.trainer.accelerator != "cpu" for recipe, _ in runs)
    return 1 if on_gpu else _cores()


def _cores() -> int:
    # What this process may use, where the system can tell; a container may have fewer than the machine.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(fractions: Any, threads: int) -> None:
    global _fractions
    _fractions = fractions
    # Ctrl-C reaches every process of the terminal; the parent alone answers it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    import torch

    # OMP_NUM_THREADS, where it is set, is the most that a process may have.
    torch.set_num_threads(min(threads, torch.get_num_threads()))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for([parent.sentinel])
    os._exit(1)


def _work(position: int, recipe: Recipe, folder: Path) -> None:
    from calibrant.training.runner import run

    def note(done: int, steps: int, epoch: int) -> None:
        # What follows the last step takes time too.
        _fractions[position] = 0.98 * done / max(steps, 1)

    if not RunFolder(folder).finished:
        run(recipe, folder, listener=note)
    _fractions[position] = 1.0
