"""Recipes as YAML files: found by name, inherited, merged with what the user set, checked, written back."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from calibrant.errors import InputError, nearest
from calibrant.training.recipe import Recipe
from calibrant.training.recipe_values import check_values

Tree = dict[str, Any]
#: What may differ between two starts of one run: where it computes, where the data lie, what it is compared to.
MOVABLE = (
    "data.root",
    "data.download",
    "data.workers",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.channels_last",
    "trainer.compile",
    "trainer.threads",
    "trainer.checkpoint_every",
    "trainer.eval_batch_size",
    "losses",
    "seeds",
)


def shipped() -> Path:
    """Return the folder of the recipes that come with the package."""
    return Path(str(files("calibrant") / "recipes"))


def list_recipes() -> list[str]:
    """Return the names of the recipes that come with the package.

    Example:
        >>> "digits" in list_recipes()
        True
    """
    paths = (path.relative_to(shipped()).with_suffix("") for path in shipped().rglob("*.yaml"))
    return sorted(path.as_posix() for path in paths)


def summary(name: str) -> str:
    """Return the first comment line of a recipe."""
    return _find(name).read_text(encoding="utf-8").split("\n", 1)[0].lstrip("# ")


def load_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        name: name of a shipped recipe ("cifar10/mbls"), or path of a YAML file.
        overrides: fields to set, as a tree: `{"train": {"epochs": 3}}`.

    Raises:
        InputError: no such recipe, a key or a value that it cannot have.

    Example:
        >>> load_recipe("digits", {"train": {"epochs": 3}}).train.epochs
        3
    """
    path = _find(name)
    tree = _read(path)
    tree.setdefault("name", _name_of(path))
    second = tree.get("decouple")
    if isinstance(second, dict) and "from" in second:
        second["from_run"] = second.pop("from")
    return build_recipe(merge(tree, overrides or {}), source=name)


def build_recipe(tree: Tree, source: str = "the recipe") -> Recipe:
    """Make a recipe of a tree; raises `InputError` for an unknown key or an unfit value."""
    _check_keys(tree, Recipe, "", source)
    parser = _parser()
    try:
        recipe = Recipe(**vars(parser.instantiate(parser.parse_object(tree))))
    except ArgumentError as error:
        raise InputError(f"In {source}: {one_line(str(error))}") from None
    check_values(recipe, dict(_leaves(asdict(recipe))))
    for stage in (recipe.train, recipe.decouple):
        stage.loss.args = recipe.losses.get(stage.loss.name, {}) | stage.loss.args
    return recipe


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> Tree:
    """Return `base` with the leaves of `over` put in; a loss (or network, …) of another name drops `args`.

    Example:
        >>> merge({"loss": {"name": "mbls", "args": {"margin": 6}}}, {"loss": {"name": "ce"}})
        {'loss': {'name': 'ce', 'args': {}}}
    """
    merged = dict(base)
    if "args" in base and over.get("name", base.get("name")) != base.get("name"):
        merged["args"] = {}
    for key, value in over.items():
        old = merged.get(key)
        nested = isinstance(value, Mapping) and isinstance(old, Mapping)
        merged[key] = merge(old, value) if nested else value  # type: ignore[arg-type]
    return merged


def folder_of(recipe: Recipe, root: Path) -> Path:
    """Return where a run is kept: `root/<recipe>/<method>/seed<k>`, with characters that every disk takes."""
    method = recipe.method.replace(":", "-").replace("/", "-").replace(" ", "")
    return root / recipe.name.replace("/", "-") / method / f"seed{recipe.seed}"


def to_yaml(recipe: Recipe) -> str:
    """Return the whole recipe as YAML, from which `load_recipe` makes it again."""
    return str(yaml.safe_dump(_plain(asdict(recipe)), sort_keys=False))


def difference(old: str, new: Recipe, source: str = "the recipe") -> list[str]:
    """Return what makes `new` another experiment than the YAML text `old`, as "train.epochs 100, not 3"."""
    before, after = fields_of(old, source), fields_of(to_yaml(new))
    return [
        f"{key} {before.get(key)!r}, not {after.get(key)!r}"
        for key in {**before, **after}
        if before.get(key) != after.get(key) and not key.startswith(MOVABLE)
    ]


@cache
def fields_of(text: str, source: str = "the recipe") -> dict[str, Any]:
    """Return the fields of a resolved recipe, YAML, by dotted key; one that is younger has its default.

    Raises:
        InputError: a text that is no recipe.

    Example:
        >>> fields_of("train: {epochs: 3}")["train.epochs"]
        3
    """
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"{source} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict):
        raise InputError(f"{source} must hold keys and values, such as 'seed: 0'.")
    return dict(_leaves(_plain(asdict(build_recipe(tree, source)))))


def one_line(message: str) -> str:
    r"""Return one sentence for an error message of jsonargparse.

    Example:
        >>> one_line("Parser key \"train.epochs\":\n  Expected a <class 'int'>. Got value: x")
        "train.epochs must be int, not 'x'."
    """
    text = " ".join(message.split()).replace("<class '", "").replace("'>", "").replace("typing.", "")
    value = re.match(r'Parser key "([^"]+)"( element \d+)?: (?:.*?)Expected an? (.*)\. Got value: ?(.*)$', text)
    several = re.match(r'Parser key "([^"]+)"(): .*Subtypes: \[(.*?)\] .*Given value: ?(.*)$', text)
    if wrong := value or several:
        key, element, kind, got = wrong.groups()
        what = f"Each element of {key}" if element else key
        kind = kind.replace("NoneType", "null").replace(", ", " or ") if several else kind
        return f"{what} must be {kind}, not {got!r}."
    return text.removeprefix("error: ").rstrip(".") + "."


@cache
def _parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(Recipe)
    return parser


def _find(name: str) -> Path:
    if name.endswith((".yaml", ".yml")):
        path = Path(name)
        if not path.is_file():
            raise InputError(f"There is no recipe file {name!r}.")
        return path
    path = shipped() / f"{name}.yaml"
    if not path.is_file():
        raise InputError(
            f"There is no recipe {name!r}; {nearest(name, list_recipes())} (A file of your own: PATH.yaml.)"
        )
    return path


def _name_of(path: Path) -> str:
    within = path.resolve().is_relative_to(shipped().resolve())
    return path.resolve().relative_to(shipped().resolve()).with_suffix("").as_posix() if within else path.stem


def _read(path: Path, seen: tuple[Path, ...] = ()) -> Tree:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no YAML: {' '.join(str(error).split())}.") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path} must hold keys and values, such as 'seed: 0'.")
    parent = tree.pop("inherit", None)
    if parent is None:
        return tree
    beside = path.parent / (parent if str(parent).endswith((".yaml", ".yml")) else f"{parent}.yaml")
    base = beside if beside.is_file() else _find(str(parent))
    if base in seen:
        raise InputError(f"{path} inherits from itself, through {base}.")
    merged = merge(_read(base, (*seen, path)), tree)
    # A recipe that lists losses lists all that it compares.
    return merged | {"losses": tree["losses"]} if "losses" in tree else merged


def _check_keys(tree: Mapping[str, Any], kind: type, prefix: str, source: str) -> None:
    hints = get_type_hints(kind)
    known = [f.name for f in fields(kind)]
    for key, value in tree.items():
        if key not in known:
            raise InputError(f"In {source}: there is no key '{prefix}{key}'; {nearest(str(key), known)}")
        if is_dataclass(hints[key]):
            if not isinstance(value, Mapping):
                raise InputError(f"In {source}: {prefix}{key} must hold keys and values, not {value!r}.")
            _check_keys(value, cast(type, hints[key]), f"{prefix}{key}.", source)
        elif value is None and not (hints[key] is Any or type(None) in get_args(hints[key])):
            raise InputError(f"In {source}: {prefix}{key} must hold a value, not null; or leave the key out.")


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
