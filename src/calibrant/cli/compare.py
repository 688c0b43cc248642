"""`calibrant compare RECIPE… --losses … --seeds …`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from calibrant.cli.display import GridProgress, show
from calibrant.compare.methods import home_of, plan, share_first_stages
from calibrant.errors import InputError
from calibrant.training.files import write_text

if TYPE_CHECKING:
    from calibrant.compare.table import Table
    from calibrant.training.run_folder import RunFolder


def execute(options: dict[str, Any]) -> None:
    """Run every loss with every seed, print the table, write it and the report."""
    names = options.pop("recipes")
    losses, seeds, jobs = (options.pop(key, None) for key in ("losses", "seeds", "jobs"))
    root = Path(options.pop("runs", "runs"))
    runs = plan(names, options, losses=losses, seeds=seeds, root=root)

    from calibrant.compare.check import check, refuse_other_data, refuse_others
    from calibrant.compare.table import describe, tabulate
    from calibrant.compare.workers import run_all
    from calibrant.training.run_folder import RunFolder

    first, rest = share_first_stages(runs, root)
    every = [*first, *rest]
    refuse_others(every)
    waiting = [(recipe, folder) for recipe, folder in every if not RunFolder(folder).finished]
    console = Console()
    refuse_other_data(runs)
    if waiting:
        console.print(describe(check(waiting)), highlight=False, soft_wrap=True, markup=False)
    if len(waiting) < len(every):
        console.print(
            f"{len(every) - len(waiting)} of {len(every)} runs are finished already.", highlight=False
        )
    failures: dict[Path, str] = {}
    if waiting:
        with GridProgress(console, [folder for _, folder in waiting]) as progress:
            for stage in (first, rest):
                now = [run for run in stage if run in waiting]
                failures |= run_all(now, jobs=jobs, watch=progress.of([folder for _, folder in now]))
    finished = [RunFolder(folder) for _, folder in runs if folder not in failures]
    if finished:
        table = tabulate(finished)
        show(console, table)
        home = root / home_of([recipe.name for recipe, _ in runs])
        write_text(home / "table.txt", table.to_text())
        write_text(home / "table.json", table.to_json())
        write_text(home / "table.csv", table.to_csv())
        page = _report(finished, table, home / "report.html", f"Calibrant: {table.title}")
        console.print(
            f"Table: {home / 'table.txt'} (.json, .csv). {page}", highlight=False, soft_wrap=True, markup=False
        )
    if failures:
        reasons = "; ".join(f"{folder}: {reason}" for folder, reason in failures.items())
        raise InputError(f"{len(failures)} of {len(every)} runs failed: {reasons}")


def _report(runs: list["RunFolder"], table: "Table", path: Path, title: str) -> str:
    try:
        from calibrant.report.page import write_report
    except ModuleNotFoundError as error:
        if error.name in ("matplotlib", "jinja2"):
            return "For the report: pip install 'calibrant[report]'."
        raise
    return f"Report: {write_report(runs, path, title, table=table)}"
