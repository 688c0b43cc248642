"""Things that are found by name: losses, metrics, datasets."""

import inspect
import re
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from types import UnionType
from typing import Any, Generic, Literal, NamedTuple, TypeVar, Union, get_args, get_origin

from calibrant.errors import InputError, nearest

T = TypeVar("T")
_POWER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)[eE][+-]?\d+")


class Registry(Generic[T]):
    """Factories by name, open to other packages through an entry point group.

    A package adds its own by declaring, in its `pyproject.toml`::

        [project.entry-points."calibrant.losses"]
        my_loss = "my_package:MyLoss"

    Args:
        kind: what is registered, in the singular, for the error messages ("loss").
        group: the entry point group in which other packages declare theirs.

    Example:
        >>> colours = Registry("colour", "example.colours")
        >>> @colours.register("red")
        ... class Red:
        ...     "The colour of ripe tomatoes."
        >>> colours.names(), colours.summary("red")
        (['red'], 'The colour of ripe tomatoes.')
        >>> colours.get("rde")
        Traceback (most recent call last):
        ...
        calibrant.errors.InputError: There is no colour 'rde'; did you mean 'red'?
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self.group = group
        self._factories: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Return a decorator that files its class or function under `name`."""

        def file(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._factories:
                raise InputError(f"A {self.kind} named {name!r} is registered already; choose another name.")
            self._factories[name] = factory
            return factory

        return file

    def names(self) -> list[str]:
        """Return every name, sorted, those of other packages included."""
        return sorted({*self._factories, *(point.name for point in entry_points(group=self.group))})

    def get(self, name: str) -> Callable[..., T]:
        """Return the factory called `name`; raises `InputError` with the nearest names when there is none."""
        if name not in self._factories:
            for point in entry_points(group=self.group, name=name):
                self._factories[name] = point.load()
        if name not in self._factories:
            raise InputError(f"There is no {self.kind} {name!r}; {nearest(name, self.names())}")
        return self._factories[name]

    def summary(self, name: str) -> str:
        """Return the first line of the docstring of what is registered under `name`."""
        return (inspect.getdoc(self.get(name)) or "").split("\n", 1)[0]

    def create(self, name: str, context: dict[str, Any] | None = None, /, **options: Any) -> T:
        """Build the thing called `name`.

        Args:
            name: its name.
            context: facts that the caller knows (the number of classes, say); each is passed on only to a
                factory that takes an argument of that name.
            **options: arguments that the factory must take.

        Raises:
            InputError: if the factory does not take one of the options, or no such value of it, or lacks a
                required one.
        """
        factory = self.get(name)
        accepted = _arguments(factory)
        for option, value in options.items():
            if option not in accepted:
                raise InputError(
                    f"The {self.kind} {name!r} has no option {option!r}; {nearest(option, accepted)}"
                )
            if wanted := refused(value, accepted[option].annotation):
                raise InputError(f"The {self.kind} {name!r} takes {wanted} as {option}, not {value!r}.")
        given = {k: v for k, v in (context or {}).items() if k in accepted and v is not None} | options
        missing = [name for name, argument in accepted.items() if argument.required and name not in given]
        if missing:
            raise InputError(f"The {self.kind} {name!r} needs {', '.join(missing)}.")
        return factory(**given)


def parse_named(text: str, kind: str, example: str) -> tuple[str, dict[str, Any]]:
    """Read "name" or "name:option=value,option=value", the values as YAML.

    Args:
        text: what the user wrote.
        kind: what is named, for the error messages ("loss").
        example: of what could be written.

    Raises:
        InputError: an option without a value, or a value that cannot be read.

    Example:
        >>> parse_named("histogram:n_bins=10,edges=equal_width", "method", "histogram:n_bins=10")
        ('histogram', {'n_bins': 10, 'edges': 'equal_width'})
        >>> parse_named("auto:candidates=[temperature, vector],folds=3", "method", "auto:folds=3")
        ('auto', {'candidates': ['temperature', 'vector'], 'folds': 3})
        >>> parse_named("mbls:alpha=1e-1", "loss", "mbls:margin=6")
        ('mbls', {'alpha': 0.1})
    """
    import yaml

    name, _, rest = text.partition(":")
    options = {}
    # At the commas that no bracket holds.
    for pair in filter(None, re.split(r",(?![^\[(]*[\])])", rest)):
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise InputError(f"The {kind} {text!r} has no value for {key!r}; write {example}.")
        try:
            read = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"The {kind} {text!r} has a value that cannot be read, {value!r}.") from None
        # YAML takes 1e-1, without a point, and 1.5e3, without a sign, for words.
        options[key.strip()] = float(read) if isinstance(read, str) and _POWER.fullmatch(read) else read
    return name, options


class _Argument(NamedTuple):
    required: bool
    annotation: Any


def _arguments(factory: Callable[..., Any]) -> dict[str, _Argument]:
    """Return the arguments by name; those of `**x: Unpack[TypedDict]` too."""
    arguments: dict[str, _Argument] = {}
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            (settings,) = get_args(parameter.annotation) or (None,)
            own = getattr(settings, "__annotations__", {})
            arguments |= {name: _Argument(False, annotation) for name, annotation in own.items()}
        else:
            required = parameter.default is parameter.empty
            arguments[parameter.name] = _Argument(required, parameter.annotation)
    return arguments


def refused(value: Any, annotation: Any) -> str:
    """Return what is wanted in words where a value from a file or a command line cannot be; else nothing.

    Only what such a value can be is looked at: numbers, texts, lists; and only against annotations of these.

    Example:
        >>> refused("abc", float), refused(3, float), refused([1], int | None), refused(2.0, list[float])
        ('a number', '', 'a whole number or null', 'a list')
    """
    kinds = _kinds(annotation)
    if not kinds <= set(_WORDS) or type(value) not in _FITTING or kinds & _FITTING[type(value)]:
        return ""
    return " or ".join(words for kind, words in _WORDS.items() if kind in kinds)


#: What a value of each type that a file can hold may be given for.
_FITTING: dict[type, set[Any]] = {
    bool: {bool},
    int: {int, float},
    float: {float},
    str: {str},
    list: {list},
    dict: set(),
    type(None): {type(None)},
}
_WORDS: dict[Any, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "a text",
    list: "a list",
    type(None): "null",
}


def _kinds(annotation: Any) -> set[Any]:
    if get_origin(annotation) in (Union, UnionType):
        return set().union(*map(_kinds, get_args(annotation)))
    if get_origin(annotation) is Literal:
        return {type(value) for value in get_args(annotation)}
    if get_origin(annotation) in (Sequence, list, tuple):
        return {list}
    return {type(None) if annotation is None else annotation}
