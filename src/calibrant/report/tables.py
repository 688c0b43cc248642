"""The tables of a page: columns in groups, rows of cells, each with what it is sorted by."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        text: what it says; "–" where nothing is known.
        sort: what it is sorted by; cells without stay at the end.
        below: in small type under it.
        best: whether it is marked as the best.
        strong: whether it is stressed.
        tint: how strongly the cell is coloured, from -1 (below) over 0 to 1 (above).
    """

    text: str
    sort: str = ""
    below: str = ""
    best: bool = False
    strong: bool = False
    tint: float = 0.0


@dataclass(frozen=True)
class Column:
    """The head of a column: its group, its own label, which way is better, and whether words are sorted."""

    group: str
    label: str
    better: str = ""
    text: bool = False
    first: bool = True


@dataclass(frozen=True)
class Row:
    """A row: its name, where that leads, the colour of its dot, a mark behind the name, and its cells."""

    name: str
    cells: Sequence[Cell]
    anchor: str = ""
    colour: str = ""
    mark: str = ""


@dataclass
class Table:
    """A table that a page lets sort.

    Args:
        id: of its elements; different from those of the other tables of a page.
        caption: what stands above it.
        of: the head of its first column, that of the names of the rows.
        note: id of what explains it.

    Example:
        >>> table = Table("numbers", "Errors", "Method")
        >>> table.column("ECE %", "as trained")
        >>> table.column("ECE %", "scaled")
        >>> table.column("", "NLL", better="lower")
        >>> table.add("ce", [number(3.1, "3.10"), number(2.0, "2.00"), number(math.nan, "nan")])
        >>> [(group, [column.label for column in columns]) for group, columns in table.groups]
        [('ECE %', ['as trained', 'scaled']), ('', ['NLL'])]
        >>> [cell.text for cell in table.rows[0].cells]
        ['3.10', '2.00', '–']
    """

    id: str
    caption: str
    of: str
    note: str = ""
    columns: list[Column] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def column(self, group: str, label: str, *, better: str = "", text: bool = False) -> None:
        """Add a column; those of a group stand side by side."""
        first = not group or not self.columns or self.columns[-1].group != group
        self.columns.append(Column(group, label, better, text, first))

    def add(
        self, name: str, cells: Sequence[Cell], *, anchor: str = "", colour: str = "", mark: str = ""
    ) -> None:
        """Add a row with as many cells as there are columns."""
        assert len(cells) == len(self.columns), f"{len(cells)} cells, {len(self.columns)} columns"
        self.rows.append(Row(name, cells, anchor, colour, mark))

    @property
    def grouped(self) -> bool:
        """Whether the heads need two rows."""
        return any(column.group for column in self.columns)

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """The groups in order; each column without one is a group of its own."""
        found: list[tuple[str, list[Column]]] = []
        for (_, group), columns in groupby(
            ((column, k) for k, column in enumerate(self.columns)),
            key=lambda pair: (pair[1] if not pair[0].group else -1, pair[0].group),
        ):
            found.append((group, [column for column, _ in columns]))
        return found


def number(
    value: float, text: str, *, below: str = "", best: bool = False, strong: bool = False, tint: float = 0.0
) -> Cell:
    """Return the cell of a number; "–" for nan."""
    if math.isnan(value):
        return Cell("–")
    return Cell(text, f"{value:.6g}", below, best, strong, tint)
