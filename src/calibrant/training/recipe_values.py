"""What the values of a recipe can be: found out before anything is computed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from calibrant.errors import InputError
from calibrant.training.recipe import DecoupleConfig, Recipe, StageConfig

_RULES: dict[str, Callable[[float], bool]] = {
    "at least 1": lambda value: value >= 1,
    "at least 0": lambda value: value >= 0,
    "above 0": lambda value: value > 0,
    "at least 0 and below 1": lambda value: 0 <= value < 1,
    # What every library that is seeded takes.
    "at least 0 and below 2**32": lambda value: 0 <= value < 2**32,
}
_STAGE = {
    "at least 1": (
        "epochs",
        "batch_size",
        "validate_every",
        "schedule.every",
        "sampler.per_class",
        "mix.copies",
    ),
    "at least 0": (
        "optimizer.weight_decay",
        "schedule.final",
        "schedule.warmup",
        "schedule.warmup_start",
        "schedule.milestones",
        "sampler.extra_batches",
        "reweight_from",
        "mix.weight",
    ),
    "above 0": ("optimizer.lr", "schedule.gamma", "mix.alpha", "clip"),
    "at least 0 and below 1": ("optimizer.momentum", "optimizer.betas", "sampler.beta", "reweight_beta"),
}
_LIMITS = {
    **{
        f"{stage}.{key}": rule
        for stage in ("train", "decouple")
        for rule, keys in _STAGE.items()
        for key in keys
    },
    **dict.fromkeys(
        ("trainer.devices", "trainer.threads", "trainer.checkpoint_every", "trainer.eval_batch_size"),
        "at least 1",
    ),
    "data.workers": "at least 0",
    "data.train": "at least 1",
    "seed": "at least 0 and below 2**32",
    "seeds": "at least 0 and below 2**32",
    "decouple.lr_factor": "at least 0",
}
#: The methods of a second stage that an option of it is for.
_READ_BY = {
    "shift_bn": ("crt", "lws", "mislas"),
    "lr_factor": ("crt", "mislas"),
    "decay": ("mislas",),
    "tau": ("tau_norm",),
    "keep_bias": ("tau_norm",),
}


def check_values(recipe: Recipe, leaves: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first value that cannot be, or that would silently undo what the recipe says.

    Args:
        recipe: the recipe.
        leaves: its values by dotted key.
    """
    for key, rule in _LIMITS.items():
        values = leaves[key] if isinstance(leaves[key], list | tuple) else [leaves[key]]
        for value in values:
            if value is not None and not _RULES[rule](value):
                raise InputError(f"{key} must be {rule}, not {value}.")
    if not recipe.seeds:
        raise InputError("seeds must list at least one, such as [0].")
    parts = recipe.name.split("/")
    if recipe.name and (not recipe.name.strip(".") or "" in parts or ".." in parts):
        raise InputError(f"name must be that of a folder, such as 'mine' or 'mine/ce', not {recipe.name!r}.")
    _check_calibrators(recipe.posthoc)
    _check_stage("train", recipe.train)
    if recipe.decouple.method != "none":
        _check_second(recipe.decouple)
    elif recipe.decouple.from_run is not None:
        raise InputError(
            "decouple.from names a first stage, but decouple.method is 'none': set that to 'crt', 'lws', "
            "'mislas' or 'tau_norm', or leave decouple.from out."
        )


def _check_second(second: DecoupleConfig) -> None:
    _check_stage("decouple", second)
    for key, methods in _READ_BY.items():
        value, default = getattr(second, key), getattr(DecoupleConfig(), key)
        if value != default and second.method not in methods:
            raise InputError(
                f"decouple.{key} {value} has no effect with decouple.method {second.method!r}, only with "
                f"{', '.join(repr(method) for method in methods)}. Leave it at {default}."
            )


def _check_calibrators(names: Sequence[str]) -> None:
    # Loads torch, which the help of a command does without.
    from calibrant.posthoc import CALIBRATORS

    for name in names:
        if getattr(CALIBRATORS.get(name), "spatial", False):
            raise InputError(
                f"posthoc {name!r} needs whole maps of logits, which runs do not keep; fit it with calibrant "
                "calibrate, or leave it out."
            )


def _check_stage(name: str, stage: StageConfig) -> None:
    if stage.optimizer.nesterov and stage.optimizer.momentum == 0:
        raise InputError(
            f"{name}.optimizer.nesterov is a form of momentum, which is 0; raise {name}.optimizer.momentum."
        )
    if stage.reweight_from is not None and stage.reweight_from >= stage.epochs:
        raise InputError(
            f"{name}.reweight_from is {stage.reweight_from}, but the stage has only {stage.epochs} epochs: the "
            "classes would never be weighted; lower it, or set it to null."
        )
