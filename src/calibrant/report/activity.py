"""Where the regulariser was active in training, as a figure."""

from collections.abc import Mapping, Sequence

import numpy as np

from calibrant.compare.activity import ActivityCourse, activity_courses
from calibrant.report.figures import Curve, Drawing, curves
from calibrant.report.method import Comparison
from calibrant.report.style import Look

CAPTION = (
    "Share of the training samples (of maps: of the pixels) of which the regulariser of the loss moved a "
    "target in an epoch, and share of the classes whose target it moved, averaged over all samples. Elsewhere "
    "the loss was plain cross-entropy."
)


def activity_figure(
    courses: Mapping[str, Sequence[ActivityCourse]], look: Mapping[str, Look], title: str
) -> Drawing:
    """Draw the shares of samples and of classes over the epochs: a line a method, the mean over its runs.

    Args:
        courses: what `calibrant.compare.activity.activity_courses` returned, at least one.
        look: the looks of the methods by name.
        title: what the picture is called to a screen reader.
    """
    samples = {name: _curve([run.samples for run in runs]) for name, runs in courses.items()}
    classes = {name: _curve([run.classes for run in runs]) for name, runs in courses.items()}
    return curves({"active samples, %": samples, "active classes of a sample, %": classes}, look, title)


def drawing(comparison: Comparison, look: Mapping[str, Look]) -> Drawing | None:
    """Draw where the regulariser of each method of a report was active; None where no run tells."""
    courses = {}
    for method in comparison.methods:
        told, _ = activity_courses(method.runs)
        if told:
            courses[method.name] = [course for each in told.values() for course in each]
    return activity_figure(courses, look, "Where the regulariser was active") if courses else None


def _curve(shares: Sequence[Sequence[float]]) -> Curve:
    values = np.full((len(shares), max(len(each) for each in shares)), np.nan)
    for row, each in zip(values, shares, strict=True):
        row[: len(each)] = each
    return Curve(np.arange(1, values.shape[1] + 1, dtype=np.float64), 100 * values)
