"""Errors made with confidence: how many, what was taken for what, and the samples themselves."""

import base64
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from calibrant.report.tables import Cell, Table, number
from calibrant.report.text import printable
from calibrant.training.errors import ConfidentError

#: From this confidence on, a prediction is called sure.
SURE = 0.9
#: Pairs of classes that a page lists.
_PAIRS = 12


@dataclass(frozen=True)
class Mistakes:
    """The errors of one run.

    Attributes:
        samples: number of predictions.
        errors: how many were wrong.
        sure: how many were made with a confidence of at least `SURE`.
        sure_errors: how many of those were wrong.
        expected: how many of those would be wrong if their confidence were right.
        spread: standard deviation of that number.
        pairs: of sure errors, by label and predicted class: how many, and the sum of their confidence.
    """

    samples: int
    errors: int
    sure: int
    sure_errors: int
    expected: float
    spread: float
    pairs: dict[tuple[int, int], tuple[int, float]]


def mistakes(logits: Tensor, target: Tensor) -> Mistakes:
    """Count the errors of (N, C) logits.

    Example:
        >>> import torch
        >>> found = mistakes(torch.tensor([[9.0, 0.0], [9.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 0]))
        >>> found.errors, found.sure, found.sure_errors, round(found.expected, 4), list(found.pairs)
        (2, 2, 1, 0.0002, [(1, 0)])
    """
    top = logits.double().softmax(1).max(1)
    wrong, sure = top.indices != target, top.values >= SURE
    both = wrong & sure
    count: Counter[tuple[int, int]] = Counter()
    total: dict[tuple[int, int], float] = {}
    columns = (target[both].tolist(), top.indices[both].tolist(), top.values[both].tolist())
    for truth, said, confidence in zip(*columns, strict=True):
        count[truth, said] += 1
        total[truth, said] = total.get((truth, said), 0.0) + confidence
    doubt = 1 - top.values[sure]
    return Mistakes(
        len(target),
        int(wrong.sum()),
        int(sure.sum()),
        int(both.sum()),
        float(doubt.sum()),
        math.sqrt(float((doubt * (1 - doubt)).sum())),
        {pair: (n, total[pair]) for pair, n in count.most_common()},
    )


def excess(runs: Sequence[Mistakes]) -> bool:
    """Return whether more sure errors were made than the confidence allows, beyond chance (95 %)."""
    more = sum(run.sure_errors - run.expected for run in runs) / len(runs)
    # The seeds share their samples: their mean varies about as much as one of them.
    return more > 1.96 * sum(run.spread for run in runs) / len(runs)


def sentence(runs: Sequence[Mistakes]) -> str:
    """Say how many errors were made with confidence, and how many its confidence allows."""
    sure, wrong, expected = (
        sum(getattr(run, name) for run in runs) / len(runs) for name in ("sure", "sure_errors", "expected")
    )
    samples, errors = runs[0].samples, sum(run.errors for run in runs) / len(runs)
    each = "On average over the seeds, " if len(runs) > 1 else ""
    if not sure:
        return f"No prediction has a confidence of {100 * SURE:.0f} % or more."
    text = (
        f"{each}{sure:,.0f} of {samples:,} predictions have a confidence of {100 * SURE:.0f} % or more. "
        f"{_amount(wrong)} of them {'is' if wrong == 1 else 'are'} wrong ({_amount(errors)} errors in all); "
        f"their confidence allows {_amount(expected)}."
    )
    return text[:1].upper() + text[1:] + (" That is more than chance explains." if excess(runs) else "")


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) or value >= 100 else f"{value:,.1f}"


def pairs_table(runs: Sequence[Mistakes], names: Sequence[str], anchor: str, of: str) -> Table | None:
    """Return which class was taken for which, most often first; None without a sure error."""
    count: Counter[tuple[int, int]] = Counter()
    total: dict[tuple[int, int], float] = {}
    for run in runs:
        for pair, (n, confidence) in run.pairs.items():
            count[pair] += n
            total[pair] = total.get(pair, 0.0) + confidence
    if not count:
        return None
    rest = len(count) - _PAIRS
    table = Table(
        anchor,
        f"What {of} takes for what with a confidence of {100 * SURE:.0f} % or more"
        + (", summed over the seeds" if len(runs) > 1 else "")
        + (f"; {rest} rarer {'pair is' if rest == 1 else 'pairs are'} left out" if rest > 0 else ""),
        "Is",
    )
    table.column("", "taken for", text=True)
    table.column("", "errors")
    table.column("", "mean confidence %")
    for (truth, said), n in count.most_common(_PAIRS):
        confidence = 100 * total[truth, said] / n
        shown = "> 99.9" if confidence > 99.9 else f"{confidence:.1f}"
        cells = [Cell(names[said], names[said]), number(n, f"{n:,}"), number(confidence, shown)]
        table.add(names[truth], cells)
    return table


def shots(errors: Sequence[ConfidentError], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the page shows of kept errors: picture or text, label, predicted class and confidence."""
    return [
        {
            "id": error.id,
            "truth": names[error.truth],
            "said": names[error.said],
            "confidence": certainty(error.confidence),
            "text": printable(error.text),
            "picture": _inlined(error) if error.picture else "",
        }
        for error in errors
    ]


def certainty(confidence: float) -> str:
    """Return a confidence, which must not be rounded to certainty.

    Example:
        >>> certainty(0.999999), certainty(0.98765)
        ('> 99.99 %', '98.77 %')
    """
    return "> 99.99 %" if confidence > 0.9999 else f"{100 * confidence:.2f} %"


def _inlined(error: ConfidentError) -> str:
    assert error.picture is not None
    if not error.picture.is_file():
        return ""
    kind = "png" if error.picture.suffix == ".png" else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(error.picture.read_bytes()).decode()}"
