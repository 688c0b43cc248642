"""What a judgement says, in plain words, and no more than its intervals and tests support."""

import math
from typing import NamedTuple

import torch

from calibrant.metrics.hypothesis import CalibrationTest
from calibrant.predictions.judgement import FEW_MAPS, ClassFacts, Judgement

LEVEL = 0.05
#: Classes that are named, at most.
_NAMED = 3
#: A class or a bin with fewer rows is not called the worst.
_FEW = 10


class Statement(NamedTuple):
    """One statement: what it is about, and what it says."""

    head: str
    text: str


def statements(found: Judgement) -> list[Statement]:
    """Return what can be said: the direction, whether it may be chance, in which range, in which classes."""
    return [
        Statement("Too sure or not sure enough", _lean(found)),
        Statement("Can it be chance?", _chance(found)),
        Statement("In which range of confidence", _range(found)),
        Statement("In which classes", _classes(found)),
    ]


def verdict(found: Judgement) -> str:
    """Return "over-confident" or "under-confident" where the interval of the gap excludes 0, else ""."""
    if found.gap.low > 0:
        return "over-confident"
    return "under-confident" if found.gap.high < 0 else ""


def _lean(found: Judgement) -> str:
    accuracy, gap = found.estimates["accuracy"].value, found.gap
    said = f"on average it says {_percent(accuracy + gap.value)} and is right {_percent(accuracy)} of the time"
    if math.isnan(gap.low):
        return f"With a single map nothing tells its direction from chance: {said}."
    interval = f"95 % interval {_points(gap.low)} to {_points(gap.high)}"
    if not verdict(found):
        return f"On balance neither: {said}, a difference that may be chance ({interval} percentage points)."
    size = f"{_points(abs(gap.value))} percentage points"
    if gap.value < 0:
        interval = f"95 % interval {_points(-gap.high)} to {_points(-gap.low)}"
    return f"{verdict(found).capitalize()} by {size} ({interval}): {said}."


def _chance(found: Judgement) -> str:
    if found.maps is not None and found.maps < FEW_MAPS:
        return f"That cannot be told from {found.maps} maps, since pixels of a map depend on one another."
    ece, by_class = found.tests["ece"], found.tests["classwise_ece"]
    rows = f"{found.rows:,} {'pixels' if found.maps else 'rows'}"
    head = (
        f"A calibrated model would show an ECE of about {_percent(ece.expected)} on these {rows}, and in "
        f"{_percent(0.95, 0)} of cases less than {_percent(ece.limit)}; this one shows {_percent(ece.value)} "
        f"({_p(ece)})."
    )
    if ece.p_value <= LEVEL:
        return f"{head} It is not calibrated."
    if by_class.p_value <= LEVEL:
        return (
            f"{head} The confidence of its predictions may well be right, but its probabilities of the single "
            f"classes are not: their error is {_percent(by_class.value)}, where chance stays below "
            f"{_percent(by_class.limit)} ({_p(by_class)})."
        )
    if verdict(found):
        return f"{head} The size of the error alone may be chance; its direction, above, is not."
    return f"{head} Nothing here speaks against its being calibrated."


def worst_bin(found: Judgement) -> int | None:
    """Return the bin that adds most to the ECE, of those that are off by more than chance; None if none is."""
    shown = found.reliability
    gap = (shown.confidence - shown.accuracy).abs()
    beyond = (gap > found.bin_limits) & (shown.count >= _FEW)
    if not beyond.any() or found.tests["ece"].p_value > LEVEL:
        return None
    return int(torch.where(beyond, gap * shown.count, 0.0).argmax())


def _range(found: Judgement) -> str:
    worst, shown = worst_bin(found), found.reliability
    if worst is None:
        return "In no range of confidence is it off by more than chance explains."
    low, high, count = (float(x[worst]) for x in (shown.edges[:-1], shown.edges[1:], shown.count))
    says, right = float(shown.confidence[worst]), float(shown.accuracy[worst])
    share = count * abs(says - right) / (found.rows * found.estimates["ece"].value)
    part = "Most" if share > 0.5 else "The largest part"
    return (
        f"{part} of the error lies where it is between {_percent(low, 0)} and {_percent(high, 0)} sure: there "
        f"it says {_percent(says)} and is right {_percent(right)} of the time ({count:,.0f} "
        f"{'pixels' if found.maps else 'rows'}, {_percent(share, 0)} of the ECE)."
    )


def worst_classes(found: Judgement) -> list[ClassFacts]:
    """Return the classes whose probability is off by more than chance, the furthest off first."""
    beyond = [each for each in found.classes if each.error > each.limit and each.count >= _FEW]
    return sorted(beyond, key=lambda each: each.error - each.limit, reverse=True)


def _classes(found: Judgement) -> str:
    if len(found.classes) == 2:
        return _second(found)
    worst = worst_classes(found)
    if not worst or found.tests["classwise_ece"].p_value > LEVEL:
        return "The probability of no class is off by more than chance explains."
    each = "; ".join(_class(facts) for facts in worst[:_NAMED])
    rest = len(worst) - _NAMED
    more = f" {rest} more {'is' if rest == 1 else 'are'} off by more than chance." if rest > 0 else ""
    return f"Furthest off is the probability of {each}.{more}"


def _class(facts: ClassFacts) -> str:
    return (
        f"{called(facts)} (error {_percent(facts.error)}, by chance below {_percent(facts.limit)}; it says "
        f"{_percent(facts.said)} on average where {_percent(facts.share)} are)"
    )


def called(facts: ClassFacts) -> str:
    """Return the name of a class as a sentence calls it: "class 3", or its own name."""
    return f"class {facts.name}" if facts.name.isdecimal() else facts.name


def _second(found: Judgement) -> str:
    facts = found.classes[1]
    beyond = facts.error > facts.limit
    return (
        f"The probability of {called(facts)} is off by {_percent(facts.error)} on average "
        f"({'more than' if beyond else 'as'} chance explains, which stays below {_percent(facts.limit)}); it "
        f"says {_percent(facts.said)} on average where {_percent(facts.share)} are."
    )


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def _points(value: float) -> str:
    return f"{100 * value:.1f}".replace("-", "−")


def _p(test: CalibrationTest) -> str:
    return f"p\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}{test.p_value:.2g}"
