"""Which runs may stand side by side, and which of them are the seeds of one method."""

import json
from collections.abc import Sequence
from typing import Any

from calibrant.compare.naming import method_names
from calibrant.errors import InputError
from calibrant.training.run_folder import RunFolder

#: By method, in the order in which they first appear, the runs by seed, with their results.
Groups = dict[str, dict[int, tuple[RunFolder, dict[str, Any]]]]
_DATA = ("name", "train", "val", "test", "classes", "class_counts")


def refuse_mixed(runs: Sequence[RunFolder], results: Sequence[dict[str, Any]]) -> None:
    """Raise `InputError` for runs on different data."""
    first = results[0]["data"]
    for run, result in zip(runs, results, strict=True):
        for key in _DATA:
            if result["data"].get(key) != first.get(key):
                raise InputError(
                    f"{runs[0].path} and {run.path} were made on different data ({key}: "
                    f"{_short(first.get(key))} and {_short(result['data'].get(key))}); choose runs on the same "
                    "data."
                )


def grouped(runs: Sequence[RunFolder], results: Sequence[dict[str, Any]]) -> Groups:
    """Group runs by method and seed; raises `InputError` where two are of the same."""
    groups: Groups = {}
    for name, run, result in zip(method_names(results), runs, results, strict=True):
        group, seed = groups.setdefault(name, {}), int(result["seed"])
        if seed in group:
            raise InputError(
                f"{group[seed][0].path} and {run.path} are both {name!r} with seed {seed}: choose one of them."
            )
        group[seed] = (run, result)
    return groups


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
