"""The arguments of the streaming metrics."""

from collections.abc import Iterable
from typing import Any, Literal, TypedDict

from calibrant.metrics.averages import Average
from calibrant.metrics.definitions import Absent, Groups
from calibrant.metrics.rows import Inputs
from calibrant.metrics.segmentation import Missing


class Settings(TypedDict, total=False):
    """What a streaming metric takes, by keyword; `CalibrationMetric` says what each is."""

    inputs: Inputs
    num_classes: int | None
    n_bins: int
    convention: str
    ignore_index: int | Iterable[int] | None
    task: Literal["top_label", "event"]
    average: Average
    exact_limit: int
    correction: Literal["accuracy", "confidence"]
    root: bool
    absent: Absent
    threshold: float
    k: int
    class_counts: Iterable[int] | None
    groups: Groups
    include_background: bool
    missing: Missing
    compute_on_cpu: bool
    dist_sync_on_step: bool
    process_group: Any
    sync_on_compute: bool
