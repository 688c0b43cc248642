"""Where the regulariser was active in the epochs of finished runs, from their files."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from calibrant.compare.naming import method_names
from calibrant.errors import InputError
from calibrant.losses import create
from calibrant.losses.explanation.activity import has_condition
from calibrant.training.activity import CLASSES, SAMPLES
from calibrant.training.run_folder import RunFolder


@dataclass(frozen=True)
class ActivityCourse:
    """Where the regulariser of a run was active: a value an epoch, nan where the run does not tell.

    Attributes:
        run: the run. The epochs of a second stage follow those of the first, if it trained that itself.
        samples: share of the training samples (of maps: of the pixels) of which a target was moved.
        classes: share of the classes whose target was moved, averaged over all samples.
    """

    run: RunFolder
    samples: list[float]
    classes: list[float]


def activity_courses(runs: Sequence[RunFolder]) -> tuple[dict[str, list[ActivityCourse]], list[str]]:
    """Return by method where the regulariser was active in each run, and a sentence for each other run.

    Args:
        runs: finished runs, such as several seeds of several methods.

    Raises:
        InputError: a run that is not finished, or a file that cannot be read.
    """
    results = [run.result() for run in runs]
    found: dict[str, list[ActivityCourse]] = {}
    notices = []
    for name, run, result in zip(method_names(results), runs, results, strict=True):
        course = _read(run)
        if all(math.isnan(share) for share in course.samples):
            notices.append(f"{run.path} does not tell where its regulariser was active: {_why(result)}")
        else:
            found.setdefault(name, []).append(course)
    return found, notices


def _read(run: RunFolder) -> ActivityCourse:
    shares: dict[str, list[float]] = {SAMPLES: [], CLASSES: []}
    for history in (run.history("train"), run.history("decouple")):
        missing = [math.nan] * len(history.get("epoch", []))
        for column, values in shares.items():
            values += history.get(column, missing)
    return ActivityCourse(run, shares[SAMPLES], shares[CLASSES])


def _why(result: Mapping[str, object]) -> str:
    """Return why a run does not tell."""
    told, facts = result.get("loss"), result.get("data")
    loss = told if isinstance(told, dict) else {}
    data = facts if isinstance(facts, dict) else {}
    try:
        made = create(
            str(loss.get("name")),
            num_classes=data.get("classes"),
            class_counts=data.get("class_counts") or None,
            num_samples=data.get("train"),
            **(loss.get("args") or {}),
        )
    except (InputError, TypeError, ValueError):
        return "its table of the epochs has no column active_samples."
    if has_condition(made):
        return "it was trained before that was written down; delete the folder and run it again."
    return f"the loss {loss['name']!r} has no condition, and treats every sample alike."
