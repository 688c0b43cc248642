"""What makes a comparison less than fair, a sentence each."""

import re
from collections.abc import Iterator, Sequence

from calibrant.compare.stages import DEFAULT, RAW, calibration
from calibrant.report.method import Method
from calibrant.training.run_folder import RunFolder

#: Fields in which the runs of a comparison differ by its nature.
_EXPECTED = ("train.loss.", "decouple.loss.", "data.root", "losses", "seeds")


def doubts(methods: Sequence[Method], stages: Sequence[str]) -> list[str]:
    """Return what a reader must know before trusting a comparison."""
    found = []
    if len({tuple(method.seeds) for method in methods}) > 1:
        each = ", ".join(f"{method.name} {_listed(method.seeds)}" for method in methods)
        found.append(f"The methods were run with different seeds: {each}.")
    for name in ("calibrant", "torch", "python"):
        versions = {str(r.get("versions", {}).get(name, "unknown")) for m in methods for r in m.results}
        if len(versions) > 1:
            found.append(
                f"The runs were made with different versions of {name}: {', '.join(sorted(versions))}."
            )
    if len({result.get("git_commit") for method in methods for result in method.results}) > 1:
        found.append("The runs were made at different commits of the code.")
    for method in methods:
        found += _calibrators(method, [stage for stage in stages if stage != RAW] or [DEFAULT])
    recipes: dict[str, list[RunFolder]] = {}
    for method in methods:
        for run, result in zip(method.runs, method.results, strict=True):
            recipes.setdefault(str(result["recipe"]), []).append(run)
    for recipe, runs in recipes.items():
        differing = differing_settings(runs)
        if differing:
            which = "The recipes" if len(recipes) == 1 else f"The runs of {recipe}"
            found.append(f"{which} differ in more than the loss and the seed: {', '.join(differing)}.")
    return found


def _calibrators(method: Method, stages: Sequence[str]) -> Iterator[str]:
    """Yield which calibrators a method lacks, and which did not converge."""
    for stage in stages:
        fits = [result.get("posthoc", {}).get(stage) or {} for result in method.results]
        refused = next((fit["refused"] for fit in fits if "refused" in fit), None)
        if not method.has(stage):
            why = f": {refused}" if refused else "."
            yield f"{method.name} has no metrics after {calibration(stage)}{why}"
        bad = [seed for seed, fit in zip(method.seeds, fits, strict=True) if fit.get("converged") is False]
        if bad:
            what = calibration(stage)
            yield f"{what[:1].upper()}{what[1:]} did not converge for {method.name}, seed {_listed(bad)}."


def differing_settings(runs: Sequence[RunFolder]) -> list[str]:
    """Return the fields, but for loss and seed, that are not the same in the recipes of all runs."""
    texts = [run.recipe_text() for run in runs if run.recipe_path.is_file()]
    trees = [dict(_leaves(text)) for text in texts]
    keys = {key for tree in trees for key in tree}
    kept = sorted(
        k for k in keys if k not in ("name", "seed", "decouple.from_run") and not k.startswith(_EXPECTED)
    )
    return [key for key in kept if len({tree.get(key) for tree in trees}) > 1]


def _leaves(text: str) -> Iterator[tuple[str, str]]:
    """Yield dotted keys and values of the block YAML in which resolved recipes are written."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        match = re.match(r"( *)([\w.-]+):(?: +(.*))?$", line)
        if match:
            indent = len(match[1])
            path = [*(step for step in path if step[0] < indent), (indent, match[2])]
            if match[3]:
                yield ".".join(step[1] for step in path), match[3]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)
