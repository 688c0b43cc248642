"""Figures as files, for papers and README pages."""

from collections.abc import Sequence
from pathlib import Path

from calibrant.compare.stages import DEFAULT, RAW, when
from calibrant.errors import InputError
from calibrant.report import activity, by_class, classes, differences, gaps, perturbed, sections
from calibrant.report.evidence import gather
from calibrant.report.figures import Drawing, overlay
from calibrant.report.gallery import gallery
from calibrant.report.method import Method
from calibrant.report.style import looks
from calibrant.report.text import slug, slugs
from calibrant.training.errors import read_errors
from calibrant.training.run_folder import RunFolder

_ENDINGS = (".svg", ".png", ".pdf")


def write_figures(runs: Sequence[RunFolder], folder: Path) -> list[Path]:
    """Write every figure of a comparison as SVG, PNG and PDF.

    ============================ ===============================================================
    `reliability`                the methods with the highest and the lowest ECE, side by side
    `reliability-METHOD`         one method, as trained and after each calibrator
    `reliability-METHOD-on-SET`  likewise on data of another kind
    `overlay`, `overlay-STAGE`   all methods in one diagram, as trained and after a calibrator;
                                 `overlay-scaled` after temperature scaling
    `ece`                        the ECE of each method before and after
    `differences`                the difference in ECE from the leading method
    `class-errors-STAGE`         the calibration error of each class by each method
    `errors-METHOD`              the images of the most confident errors
    `gaps-METHOD`                where in dense maps confidence and truth part
    `training`                   training curves
    `activity`                   where the regularisers of the losses were active
    `classes-METHOD`             what a loss such as CALS learned for each class
    `levels-METHOD`              what a loss such as ASLP learned for each image
    ============================ ===============================================================

    Args:
        runs: runs on the same data.
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
        "differences": differences.draw(comparison, look),
        "training": sections.training(comparison, look),
        "activity": activity.drawing(comparison, look),
    }
    names = by_class.class_names(comparison)
    for stage in comparison.stages:
        bins = {method.name: method.bins[stage] for method in comparison.methods if stage in method.bins}
        if len(bins) > 1:
            drawings[_overlay(stage)] = overlay(bins, look, f"Reliability, {when(stage)}")
        drawings[f"class-errors-{'trained' if stage == RAW else slug(stage)}"] = by_class.draw(
            comparison, stage, names
        )
    anchors = slugs([method.name for method in comparison.methods])
    for method in comparison.methods:
        drawings |= _of(method, anchors[method.name], names)
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


def _of(method: Method, anchor: str, names: Sequence[str]) -> dict[str, Drawing | None]:
    """Return the figures of one method."""
    splits = slugs(list(method.elsewhere))
    return {
        f"reliability-{anchor}": sections.diagram(method) if method.bins else None,
        **{f"reliability-{anchor}-on-{at}": sections.elsewhere(method, split) for split, at in splits.items()},
        f"errors-{anchor}": gallery(method.name, read_errors(method.runs[0]), names),
        f"gaps-{anchor}": gaps.draw(method),
    }


def _overlay(stage: str) -> str:
    if stage == RAW:
        return "overlay"
    return "overlay-scaled" if stage == DEFAULT else f"overlay-{slug(stage)}"


def write_reliability(runs: Sequence[RunFolder], path: Path) -> Path:
    """Write one picture: the reliability of the methods with the highest and the lowest ECE, as trained.

    Args:
        runs: runs on the same data; those of two methods, say.
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
