"""Progress on the terminal, with the time left; plain lines where there is no terminal."""

from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

if TYPE_CHECKING:
    from calibrant.compare.table import Table


def show(console: Console, table: "Table") -> None:
    """Print a table, and what stands beside it: drawn where they fit, as plain text elsewhere."""
    if console.is_terminal and console.width >= 110:
        for each in (table, *table.others):
            console.print(each.to_rich())
    else:
        print(table.to_text(), flush=True)


class _TimeLeft(TimeRemainingColumn):
    """The time left, where the total is known."""

    def render(self, task: Task) -> Text:
        return Text("") if task.total is None else super().render(task).append(" left")


class _Bar:
    """A bar that is drawn on terminals only."""

    def __init__(self, console: Console, text: str, total: float | None) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            TaskProgressColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("elapsed"),
            _TimeLeft(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
            speed_estimate_period=120,
        )
        self._task = self._progress.add_task(text, total=total)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def draw(self, text: str, completed: float, total: float | None = None) -> None:
        """Show a description and how much is done."""
        self._progress.update(self._task, description=text, completed=completed, total=total)


class StepProgress(_Bar):
    """The progress of one run.

    Args:
        console: where it is shown.
        epochs: number of epochs.
    """

    def __init__(self, console: Console, epochs: int) -> None:
        # Without a total it moves to and fro: how long files take to be read is not known.
        super().__init__(console, "reading the data", None)
        self.epochs, self._epoch = epochs, 0

    def note(self, done: int, steps: int, epoch: int) -> None:
        """Take note of a step."""
        self.draw(f"epoch {epoch} of {self.epochs}", done, steps)
        if not self.console.is_terminal and epoch != self._epoch:
            self.console.print(f"epoch {epoch} of {self.epochs}")
        self._epoch = epoch


class GridProgress(_Bar):
    """The progress of many runs.

    Args:
        console: where it is shown.
        folders: their folders.
    """

    def __init__(self, console: Console, folders: Sequence[Path]) -> None:
        super().__init__(console, "starting", float(len(folders)))
        self._fractions = dict.fromkeys(folders, 0.0)
        self._told: set[Path] = set()

    def of(self, folders: Sequence[Path]) -> Callable[[Sequence[float]], None]:
        """Return what takes note of the done fraction of each of some of the runs."""

        def watch(fractions: Sequence[float]) -> None:
            self._fractions |= zip(folders, fractions, strict=True)
            self._show()

        return watch

    def _show(self) -> None:
        done = [folder for folder, fraction in self._fractions.items() if fraction >= 1.0]
        count = len(self._fractions)
        self.draw(f"{len(done)} of {count} runs", sum(self._fractions.values()))
        for folder in done:
            if folder not in self._told and not self.console.is_terminal:
                self.console.print(
                    f"{len(self._told) + 1} of {count}: {folder} is finished",
                    highlight=False,
                    soft_wrap=True,
                    markup=False,
                )
            self._told.add(folder)
