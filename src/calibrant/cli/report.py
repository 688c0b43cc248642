"""`calibrant report RUN…`."""

from pathlib import Path
from typing import Any


def execute(options: dict[str, Any]) -> None:
    """Write the page of finished runs."""
    from calibrant.report.page import write_report
    from calibrant.training.run_folder import find_runs

    runs = find_runs([Path(path) for path in options["paths"]])
    recipes = dict.fromkeys(str(run.result()["recipe"]) for run in runs)
    page = write_report(runs, Path(options.get("out", "report.html")), f"Calibrant: {', '.join(recipes)}")
    print(f"Report: {page}")
