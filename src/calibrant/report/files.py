"""Figures as files, for papers and README pages."""

from collections.abc import Sequence
from pathlib import Path

from calibrant.errors import InputError
from calibrant.report import classes, perturbed, sections
from calibrant.report.evidence import RAW, SCALED, gather
from calibrant.report.figures import Drawing, overlay
from calibrant.report.style import looks
from calibrant.training.run_folder import RunFolder

_ENDINGS = (".svg", ".png", ".pdf")


def write_figures(runs: Sequence[RunFolder], folder: Path) -> list[Path]:
    """Write every figure of a comparison as SVG, PNG and PDF.

    ======================= ====================================================================
    `reliability`           the methods with the highest and the lowest ECE, side by side
    `reliability-METHOD`    one method, before and after temperature scaling
    `overlay`, `overlay-scaled`  all methods in one diagram, before and after
    `ece`                   the ECE of each method before and after
    `training`              training curves
    `classes-METHOD`        what a loss such as CALS learned for each class
    `levels-METHOD`         what a loss such as ASLP learned for each image
    ======================= ====================================================================

    Args:
        runs: runs of one recipe on the same data.
        folder: where the files go; figures whose files the runs lack are left out.

    Returns:
        The paths of the files, sorted by figure.

    Raises:
        InputError: as `write_report`.
    """
    comparison = gather(runs)
    look = looks([method.name for method in comparison.methods])
    drawings: dict[str, Drawing | None] = {
        "reliability": sections.headline(comparison),
        "ece": sections.ladder(comparison, look),
        "training": sections.training(comparison, look),
    }
    for stage, name in ((RAW, "overlay"), (SCALED, "overlay-scaled")):
        bins = {method.name: method.bins[stage] for method in comparison.methods if stage in method.bins}
        if len(bins) > 1:
            drawings[name] = overlay(bins, look, f"Reliability, {sections.STAGE_TITLES[stage]}")
    with_bins = [method for method in comparison.methods if method.bins]
    for name, anchor in sections.slugs(with_bins).items():
        drawings[f"reliability-{anchor}"] = sections.diagram(comparison.method(name))
    anchors = sections.slugs(comparison.methods)
    learned = classes.courses(comparison)
    drawings |= {f"classes-{anchors[name]}": classes.drawing(name, seen) for name, seen in learned.items()}
    levels = perturbed.drawings(comparison)
    drawings |= {f"levels-{anchors[name]}": drawing for name, drawing in levels.items()}
    return [
        drawing.save(folder / f"{name}{ending}")
        for name, drawing in drawings.items()
        if drawing is not None
        for ending in _ENDINGS
    ]


def write_reliability(runs: Sequence[RunFolder], path: Path) -> Path:
    """Write one picture: the reliability of the methods with the highest and the lowest ECE, as trained.

    Args:
        runs: runs of one recipe on the same data; those of two methods, say.
        path: the file; its ending says whether SVG, PNG or PDF.

    Raises:
        InputError: another ending, runs without test predictions, and as `write_report`.
    """
    drawing = sections.headline(gather(runs))
    if drawing is None:
        raise InputError(
            "The runs hold no test predictions, of which a reliability diagram is made; run them again."
        )
    return drawing.save(path)
