"""Metrics of calibration: functions, streaming classes, and all of them at once with confidence intervals.

`evaluate` gives the usual set with intervals, `functional` each metric as a function, `create("ece", …)` or the
classes (`ECE`, …) the streaming form for a training loop.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from calibrant.metrics import functional
from calibrant.metrics.binning import CONVENTIONS, Convention
from calibrant.metrics.evaluation import Estimate, Reliability, evaluate, evaluate_state, reliability
from calibrant.metrics.paired import PairedTest, paired_test
from calibrant.metrics.registry import METRICS, create, list_metrics
from calibrant.metrics.saliency import SaliencyScores, SaliencyState, saliency_scores
from calibrant.metrics.state import State

if TYPE_CHECKING:
    from calibrant.metrics import modules

__all__ = [
    "CONVENTIONS",
    "METRICS",
    "Convention",
    "Estimate",
    "PairedTest",
    "Reliability",
    "SaliencyScores",
    "SaliencyState",
    "State",
    "create",
    "evaluate",
    "evaluate_state",
    "functional",
    "list_metrics",
    "modules",
    "paired_test",
    "reliability",
    "saliency_scores",
]


def __getattr__(name: str) -> Any:
    """Load the metric classes, and with them torchmetrics, when one is first asked for."""
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "Saliency":
        return import_module("calibrant.metrics.saliency_module").Saliency
    modules = import_module("calibrant.metrics.modules")
    if name in modules.__all__:
        return getattr(modules, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
