"""Judgements as tables and as JSON."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from calibrant.metrics import Estimate, PairedTest
from calibrant.predictions.judgement import Judgement
from calibrant.predictions.words import statements, verdict


def short_names(paths: Sequence[str]) -> list[str]:
    """Return of each path the shortest end that tells it from the others.

    Example:
        >>> short_names(["runs/ce/seed0/test.npz", "runs/mbls/seed0/test.npz"])
        ['ce/seed0/test.npz', 'mbls/seed0/test.npz']
        >>> short_names(["runs/a.npz", "runs/b.npz"])
        ['a.npz', 'b.npz']
    """
    parts = [Path(path).parts for path in paths]
    for length in range(1, max(map(len, parts), default=0) + 1):
        ends = [str(Path(*part[-length:])) for part in parts]
        if len({*ends}) == len({*parts}):
            return ends
    return list(paths)


class Measure(NamedTuple):
    """How a metric is shown: its heading, the factor and the digits, and whether more is better."""

    head: str
    factor: float
    digits: int
    higher: bool = False

    def text(self, value: float) -> str:
        """Return a value in the units of the table; "–" where there is none.

        Example:
            >>> Measure("ECE %", 100.0, 2).text(0.04213), Measure("NLL", 1.0, 3).text(float("nan"))
            ('4.21', '–')
        """
        return "–" if math.isnan(value) else f"{self.factor * value:.{self.digits}f}"


MEASURES = {
    "accuracy": Measure("accuracy %", 100.0, 2, True),
    "ece": Measure("ECE %", 100.0, 2),
    "aece": Measure("AECE %", 100.0, 2),
    "classwise_ece": Measure("class-wise ECE %", 100.0, 3),
    "mce": Measure("MCE %", 100.0, 1),
    "smooth_ece": Measure("smooth ECE %", 100.0, 2),
    "nll": Measure("NLL", 1.0, 4),
    "brier": Measure("Brier", 1.0, 4),
}
PARTS = {"reliability": "reliability", "resolution": "− resolution", "uncertainty": "+ uncertainty",
         "within_bins": "+ within bins"}  # fmt: skip
TESTS = {"ece": "calibrated? p of the ECE", "classwise_ece": "calibrated? p of the class-wise ECE"}


def cell(estimate: Estimate, measure: Measure) -> str:
    """Return a value with its interval, as "4.21  (3.19 to 5.20)"; alone where there is none.

    Example:
        >>> cell(Estimate(0.0421, 0.0319, 0.052), MEASURES["ece"])
        '4.21  (3.19 to 5.20)'
    """
    ends = interval(estimate, measure)
    return measure.text(estimate.value) + (f"  ({ends})" if ends else "")


def change(test: PairedTest | None, measure: Measure) -> str:
    """Return the difference of a paired test with its interval and p-value; "–" where there was none.

    Example:
        >>> change(PairedTest(-0.02, -0.03, -0.01, 0.0004), MEASURES["ece"])
        '-2.00  (-3.00 to -1.00)  p 0.0004'
    """
    if test is None:
        return "–"
    ends = f"{measure.text(test.low)} to {measure.text(test.high)}"
    return f"{measure.text(test.difference)}  ({ends})  p {test.p_value:.2g}"


def interval(estimate: Estimate, measure: Measure) -> str:
    """Return an interval as "3.19 to 5.20", "" where there is none."""
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return ""
    return f"{measure.text(estimate.low)} to {measure.text(estimate.high)}"


def lines(found: Sequence[Judgement]) -> list[list[str]]:
    """Return the lines of the table: a heading, then a cell for each file."""
    table = []
    for metric, measure in MEASURES.items():
        table.append([measure.head, *(cell(each.estimates[metric], measure) for each in found)])
        if metric == "brier":
            table += [
                [f"  {head}", *(f"{each.brier_parts[part]:.4f}" for each in found)]
                for part, head in PARTS.items()
            ]
    gap = Measure("confidence − accuracy, points", 100.0, 2)
    table.append([gap.head, *(cell(each.gap, gap) for each in found)])
    for test, head in TESTS.items():
        table.append([head, *(f"{each.tests[test].p_value:.2g}" for each in found)])
    return table


def as_json(found: Judgement) -> dict[str, Any]:
    """Return everything that is said of a file; null for what there is not, or is infinite."""
    shown = found.reliability
    result: dict[str, Any] = {name: _estimate(estimate) for name, estimate in found.estimates.items()}
    result |= {
        "brier_decomposition": {part: _number(value) for part, value in found.brier_parts.items()},
        "overconfidence": _estimate(found.gap),
        "verdict": verdict(found) or "neither",
        "calibration_test": {name: _numbers(test._asdict()) for name, test in found.tests.items()},
        "file": found.name,
        "inputs": found.inputs,
        "rows": found.rows,
        "classes": len(found.class_names),
        "class_names": found.class_names,
        "maps": found.maps,
        "bins": [
            {
                "from": low,
                "to": high,
                "count": int(count),
                "confidence": _number(says),
                "accuracy": _number(right),
            }
            for low, high, count, says, right in zip(
                shown.edges[:-1].tolist(),
                shown.edges[1:].tolist(),
                shown.count.tolist(),
                shown.confidence.tolist(),
                shown.accuracy.tolist(),
                strict=True,
            )
        ],
        "by_class": [
            {"class": facts.name, **_numbers({k: getattr(facts, k) for k in _FACTS})} for facts in found.classes
        ],
        "statements": [statement.text.replace("\N{NO-BREAK SPACE}", " ") for statement in statements(found)],
        "notices": found.notices,
    }
    return result


_FACTS = ("count", "said", "share", "recall", "error", "limit")


def tests_as_json(tests: dict[str, PairedTest]) -> dict[str, dict[str, float | None]]:
    """Return paired tests by metric."""
    return {metric: _numbers(test._asdict()) for metric, test in tests.items()}


def _estimate(estimate: Estimate) -> dict[str, float | None]:
    return _numbers(estimate._asdict())


def _numbers(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
