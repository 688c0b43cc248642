"""What the functions of metrics take beside predictions and labels."""

from collections.abc import Iterable
from typing import TypedDict


class Common(TypedDict, total=False):
    """Arguments that every function takes beside `inputs`; `functional` says what each is."""

    ignore_index: int | Iterable[int] | None


class Averaged(Common, total=False):
    """Arguments of a function whose value can be averaged over images."""

    average: str


class Binned(Averaged, total=False):
    """Arguments of a function of class-wise bins."""

    n_bins: int
    convention: str


class TopLabel(Averaged, total=False):
    """Arguments of a function of the confidences."""

    task: str


class TopBinned(Binned, total=False):
    """Arguments of a function of the bins of the confidence."""

    task: str
