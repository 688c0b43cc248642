"""What makes a comparison less than fair, a sentence each."""

from collections.abc import Iterator, Sequence
from typing import Any

from calibrant.compare.collapse import collapsed
from calibrant.compare.stages import DEFAULT, RAW, calibration
from calibrant.report.method import Method
from calibrant.training.recipe_files import fields_of
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
    found += filter(None, (collapsed(method.name, method.results) for method in methods))
    for stage in [stage for stage in stages if stage != RAW] or [DEFAULT]:
        found += _lacking(methods, stage)
        for method in methods:
            found += _unconverged(method, stage)
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


def _lacking(methods: Sequence[Method], stage: str) -> Iterator[str]:
    """Yield which methods have no metrics after a calibrator, those with the same reason in one sentence."""
    names: dict[str, list[str]] = {}
    for method in methods:
        if not method.has(stage):
            refused = next((fit["refused"] for fit in _fits(method, stage) if "refused" in fit), None)
            names.setdefault(f": {refused}" if refused else ".", []).append(method.name)
    for why, lacking in names.items():
        verb = "has" if len(lacking) == 1 else "have"
        yield f"{', '.join(lacking)} {verb} no metrics after {calibration(stage)}{why}"


def _unconverged(method: Method, stage: str) -> Iterator[str]:
    """Yield with which seeds a calibrator did not converge."""
    fits = zip(method.seeds, _fits(method, stage), strict=True)
    bad = [seed for seed, fit in fits if fit.get("converged") is False]
    if bad:
        what = calibration(stage)
        yield f"{what[:1].upper()}{what[1:]} did not converge for {method.name}, seed {_listed(bad)}."


def _fits(method: Method, stage: str) -> list[dict[str, Any]]:
    return [result.get("posthoc", {}).get(stage) or {} for result in method.results]


def differing_settings(runs: Sequence[RunFolder]) -> list[str]:
    """Return the fields, but for loss and seed, that are not the same in the recipes of all runs."""
    trees = [fields_of(run.recipe_text(), str(run.recipe_path)) for run in runs if run.recipe_path.is_file()]
    keys = {key for tree in trees for key in tree}
    kept = sorted(
        k for k in keys if k not in ("name", "seed", "decouple.from_run") and not k.startswith(_EXPECTED)
    )
    return [key for key in kept if len({repr(tree.get(key)) for tree in trees}) > 1]


def _listed(values: Sequence[int]) -> str:
    return ", ".join(str(value) for value in values)
