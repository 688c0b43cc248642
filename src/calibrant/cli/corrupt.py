"""`calibrant corrupt RUN…`."""

from pathlib import Path
from typing import Any

from rich.console import Console

from calibrant.cli.display import StepProgress
from calibrant.training.files import write_text


def execute(options: dict[str, Any]) -> None:
    """Judge finished runs on corrupted test images; print the means, write table and figure."""
    from calibrant.compare.corruption import tabulate_corruptions
    from calibrant.compare.grouping import grouped, refuse_mixed
    from calibrant.training.corruption import CorruptionPlan, judge_corruptions
    from calibrant.training.run_folder import find_runs

    runs = find_runs([Path(path) for path in options["paths"]])
    places = {key: Path(options[key]) for key in ("corrupted", "frost") if options.get(key) is not None}
    chosen = {key: options[key] for key in ("severities", "images", "seed") if key in options}
    plan = CorruptionPlan(
        names=options.get("corruptions"),
        folder=places.get("corrupted"),
        frost=places.get("frost"),
        data=options.get("data") or {},
        **chosen,
    )
    results = [run.result() for run in runs]
    # Before any is judged: what cannot stand in one table should be found at once.
    refuse_mixed(runs, results)
    grouped(runs, results)
    console = Console()
    for number, run in enumerate(runs, start=1):
        console.print(f"{number} of {len(runs)}: {run.path}", highlight=False, soft_wrap=True, markup=False)
        with StepProgress(console, len(runs)) as progress:
            judge_corruptions(run, plan, lambda done, all_: progress.draw("corruptions", done, all_))
    table = tabulate_corruptions(runs, plan)
    out = Path(options.get("out", "corruption"))
    write_text(out / "table.txt", table.to_text())
    write_text(out / "table.json", table.to_json())
    write_text(out / "table.csv", table.to_csv())
    print(table.to_text(whole=False))
    print(f"Table: {out / 'table.txt'} (.json, .csv).{_draw(table, out)}")


def _draw(table: Any, out: Path) -> str:
    try:
        from calibrant.report.corruption import severity_curves
    except ModuleNotFoundError as error:
        if error.name in ("matplotlib", "jinja2"):
            return " For the figure: pip install 'calibrant[report]'."
        raise
    drawing = severity_curves(table)
    for ending in (".svg", ".pdf"):
        drawing.save(out / f"severity{ending}")
    return f" Figure: {drawing.save(out / 'severity.png')} (.svg, .pdf)."
