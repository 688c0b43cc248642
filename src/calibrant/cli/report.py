"""`calibrant report RUN…`."""

from pathlib import Path
from typing import Any


def execute(options: dict[str, Any]) -> None:
    """Write the page of finished runs, and on request their figures."""
    from calibrant.report import write_figures, write_report
    from calibrant.training.run_folder import find_runs

    runs = find_runs([Path(path) for path in options["paths"]])
    recipes = dict.fromkeys(str(run.result()["recipe"]) for run in runs)
    page = write_report(runs, Path(options.get("out", "report.html")), f"Calibrant: {', '.join(recipes)}")
    print(f"Report: {page}")
    if "figures" in options:
        for figure in write_figures(runs, Path(options["figures"])):
            print(f"Figure: {figure}")
