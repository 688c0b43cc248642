"""Which methods lead, as the table marks them, and how they are named in sentences."""

import math
from collections.abc import Sequence

from markupsafe import Markup

from calibrant.compare.stages import RAW
from calibrant.compare.table import Cell, Row
from calibrant.report.method import Comparison, Method
from calibrant.report.text import joined, strong


def extremes(comparison: Comparison) -> tuple[Row, Row]:
    """Return the rows with the lowest and the highest ECE as trained.

    Those without a number are left out, and those that give every sample the same class, unless all do.
    """
    table = comparison.table
    rows = [row for row in table.ranked if not math.isnan(ece_of(row).mean)] or table.rows
    # Of equals the last, so that they are two wherever there are two.
    return min(rows, key=lambda row: ece_of(row).mean), max(reversed(rows), key=lambda row: ece_of(row).mean)


def ece_of(row: Row, stage: str = RAW) -> Cell:
    """Return the ECE of a method at a stage of calibration."""
    return row.cells["ece"][stage]


def marked(comparison: Comparison, metric: str, stage: str) -> list[Row]:
    """Return the rows that the table marks, the leader first; empty where the test tells none apart."""
    sign = -1 if metric == "accuracy" else 1
    found = [row for row in comparison.table.rows if row.cells[metric][stage].best]
    return sorted(found, key=lambda row: sign * row.cells[metric][stage].mean)


def elsewhere_head(comparison: Comparison) -> str:
    """Return what the tables besides that of all test samples are about."""
    return "Data of another kind" if comparison.maps else "By the frequency of the classes"


def tested(comparison: Comparison, metric: str, stage: str) -> bool:
    """Return whether the table holds a test of the methods against one another."""
    return any(row.cells[metric][stage].against is not None for row in comparison.table.rows)


def named(what: Row | Method | str) -> Markup:
    """Return the name of a method, stressed."""
    return strong(what if isinstance(what, str) else what.method if isinstance(what, Row) else what.name)


def all_named(what: Sequence[Row | Method | str]) -> Markup:
    """Return the names of methods as "a, b and c"."""
    return joined([named(each) for each in what])
