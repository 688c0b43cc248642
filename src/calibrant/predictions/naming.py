"""What arrays, columns, files and folders are, by their names: logits, probabilities or labels.

Letter case does not count, and `-`, `.`, brackets and blanks count as `_`. A name says logits when it is or
begins or ends with `logit` or `logits`, and probabilities with `prob`, `probs`, `proba`, `probas`,
`probability` or `probabilities`; what remains names the class (`proba_cat`, `logit_3`, `probs[3]`, `prob3`).
Labels are called exactly `targets`, `target`, `labels`, `label`, `y` or `y_true`.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from calibrant.errors import InputError
from calibrant.metrics.rows import Inputs

WORDS = {
    **dict.fromkeys(("logit", "logits"), "logits"),
    **dict.fromkeys(("prob", "probs", "proba", "probas", "probability", "probabilities"), "probs"),
}
LABELS = ("targets", "target", "labels", "label", "y", "y_true")
#: Names of arrays that hold the names of the classes.
CLASS_NAMES = ("class_names", "classes")
SPOKEN = {"logits": "logits", "probs": "probabilities"}
#: What tells the kind of values that no name tells.
SAY = "say --inputs logits or --inputs probs"
#: Names that a message lists before it counts the rest.
_LISTED = 8


class Kind(NamedTuple):
    """What a name says: logits or probabilities, and of which class ("" where it names none)."""

    inputs: Inputs
    of: str


def plain(name: str) -> str:
    """Return a name in lower case, its separators made `_`."""
    return re.sub(r"[\s.\-\[\](){}:]+", "_", name.strip().lower()).strip("_")


def kind_of(name: str) -> Kind | None:
    """Return what a name says of values, None where it says nothing.

    Example:
        >>> kind_of("logits"), kind_of("proba_Cat"), kind_of("probs[3]")
        (Kind(inputs='logits', of=''), Kind(inputs='probs', of='Cat'), Kind(inputs='probs', of='3'))
        >>> kind_of("probability3").of, kind_of("test-logits").of, kind_of("problem")
        ('3', 'test', None)
    """
    word = plain(name)
    given = name.strip().strip("[](){} ")
    first = re.match(r"[a-z]+(?=_|\d|$)", word)
    if first and first[0] in WORDS:
        return _kind(WORDS[first[0]], given[len(first[0]) :])
    last = re.search(r"(?<=_)[a-z]+$", word)
    if last and last[0] in WORDS:
        return _kind(WORDS[last[0]], given[: -len(last[0])])
    return None


def _kind(inputs: str, rest: str) -> Kind:
    return Kind("logits" if inputs == "logits" else "probs", rest.strip(" _.-[](){}:"))


def is_label(name: str) -> bool:
    """Return whether labels are called so."""
    return plain(name) in LABELS


class Asked(NamedTuple):
    """What the caller said of a file.

    Attributes:
        inputs: what the values are.
        columns: names of the columns, or of the one array, of the values.
        label: name of the labels.
        ignore: labels that do not count.
        unlabelled: whether labels may be missing.
    """

    inputs: Inputs | None = None
    columns: Sequence[str] | None = None
    label: str | None = None
    ignore: tuple[int, ...] = ()
    unlabelled: bool = False


class Chosen(NamedTuple):
    """The names that were chosen: of the values, of the labels (None without), and what the values are."""

    values: list[str]
    label: str | None
    inputs: Inputs


def choose(where: str, names: Sequence[str], what: str, asked: Asked) -> Chosen:
    """Choose values and labels among the arrays or columns of a file.

    Args:
        where: the file, for the messages.
        names: what there is, in its order.
        what: "array" or "column": of arrays one is chosen, of columns all of the kind.
        asked: what the caller says of it.

    Raises:
        InputError: names that are missing, or that leave a choice.
    """
    inputs, columns = asked.inputs, asked.columns
    labels = _label(where, names, what, asked)
    others = [name for name in names if name != labels and plain(name) not in CLASS_NAMES]
    if columns is not None:
        for name in columns:
            if names.count(name) != 1:
                times = "no" if name not in names else "more than one"
                raise InputError(f"{where} holds {times} {what} {name!r}, only {listed(names)}.")
        return Chosen(list(columns), labels, inputs if inputs is not None else _said(where, columns))
    kinds = {name: kind for name in others if (kind := kind_of(name)) is not None}
    found = {kind.inputs for kind in kinds.values()}
    if not kinds and inputs is not None and what == "array" and len(others) == 1:
        return Chosen(others, labels, inputs)
    if inputs is not None and inputs not in found:
        raise InputError(
            f"{where} holds no {what} that is named as {SPOKEN[inputs]}, only {listed(names)}; name the "
            f"{what}s of the values with --columns."
        )
    if not found:
        raise InputError(
            f"{where} holds {listed(names)}, and no name says logits or probabilities (such as logits, probs, "
            f"proba_0); name the {what}s with --columns and {SAY}."
        )
    if inputs is None and len(found) > 1:
        raise InputError(f"{where} holds both logits and probabilities ({listed(list(kinds))}); {SAY}.")
    chosen: Inputs = inputs if inputs is not None else next(iter(found))
    values = [name for name in others if name in kinds and kinds[name].inputs == chosen]
    return Chosen(_narrowed(where, values, kinds, what), labels, chosen)


def _narrowed(where: str, values: list[str], kinds: dict[str, Kind], what: str) -> list[str]:
    """Return one array, or columns that belong together, of those of one kind."""
    whole = [name for name in values if not kinds[name].of]
    if what == "array" and len(values) > 1:
        values = whole if len(whole) == 1 else values
    fits = len(values) == 1 if what == "array" else not whole or len(values) == 1
    if len(set(values)) < len(values) or not fits:
        spoken = SPOKEN[kinds[values[0]].inputs]
        which = "the one that is meant" if what == "array" else "each class once, all names different,"
        raise InputError(
            f"{where} holds several {what}s of {spoken} ({listed(values)}); name {which} with --columns."
        )
    return values


def _label(where: str, names: Sequence[str], what: str, asked: Asked) -> str | None:
    label = asked.label
    found = [name for name in names if (is_label(name) if label is None else name == label)]
    if len(found) == 1:
        return found[0]
    if label is not None:
        raise InputError(f"{where} holds no {what} {label!r} for the labels, only {listed(names)}.")
    if found:
        raise InputError(f"{where} holds several {what}s of labels ({listed(found)}); name one with --label.")
    if asked.unlabelled:
        return None
    raise InputError(
        f"{where} holds no {what} of labels ({', '.join(LABELS)}), only {listed(names)}; name it with --label."
    )


def _said(where: str, columns: Sequence[str]) -> Inputs:
    found = {kind.inputs if (kind := kind_of(name)) else None for name in columns}
    (only, *more) = found
    if only is None or more:
        raise InputError(f"The names {listed(columns)} of {where} do not say what the values are; {SAY}.")
    return only


def listed(names: Sequence[str]) -> str:
    """Return names in quotes, a long list cut short.

    Example:
        >>> listed(["a", "b"]), listed([])
        ("'a', 'b'", 'nothing')
    """
    if not names:
        return "nothing"
    shown = ", ".join(repr(name) for name in names[:_LISTED])
    return shown + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def class_order(values: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return columns in the order of their classes, and the names of these.

    Columns whose names end in the integers 0 to C - 1 are ordered by them, others stay as they stand. Columns
    that the caller chose by names which tell no class are numbered.

    Example:
        >>> class_order(["proba_10", "proba_9"])
        (['proba_10', 'proba_9'], ['10', '9'])
        >>> class_order(["proba_1", "proba_0"])
        (['proba_0', 'proba_1'], ['0', '1'])
        >>> class_order(["cat", "dog"])
        (['cat', 'dog'], ['cat', 'dog'])
    """
    names = [kind.of if (kind := kind_of(name)) and kind.of else name for name in values]
    numbers = [int(name) if name.isdecimal() else -1 for name in names]
    if sorted(numbers) == list(range(len(values))):
        order = sorted(range(len(values)), key=numbers.__getitem__)
        return [values[k] for k in order], [str(k) for k in range(len(values))]
    return list(values), names
