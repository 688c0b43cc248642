"""Runs tiny recipes one after the other, and dies where it is told to.

`python -m tests.training.run_jobs FILE`; the file is JSON: a list of
{"changes": …, "folder": …, "die": null or ["training" | "validation", epoch]}.
"""

import json
import os
import signal
import sys
from pathlib import Path

from calibrant.training.module import TrainingModule
from calibrant.training.runner import run
from tests.training.tiny import tiny_recipe


def die_in(step: str, epoch: int) -> None:
    """Let this process be killed without warning in the second batch of a pass."""
    name = f"{step}_step"
    honest = getattr(TrainingModule, name)

    def deadly(module: TrainingModule, batch: object, batch_idx: int) -> object:
        if module.current_epoch == epoch and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return honest(module, batch, batch_idx)

    setattr(TrainingModule, name, deadly)


if __name__ == "__main__":
    for job in json.loads(Path(sys.argv[1]).read_text()):
        if job.get("die"):
            die_in(*job["die"])
        run(tiny_recipe(**job["changes"]), Path(job["folder"]))
