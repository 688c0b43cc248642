"""Metrics by name. Nothing of torchmetrics is imported before a metric is made."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Unpack

from calibrant.metrics.definitions import DEFINITIONS
from calibrant.metrics.settings import Settings
from calibrant.registry import Registry

if TYPE_CHECKING:
    from calibrant.metrics.modules import CalibrationMetric
    from calibrant.metrics.saliency_image import Protocol

METRICS: "Registry[Any]" = Registry("metric", "calibrant.metrics")
register = METRICS.register


def _factory(name: str) -> "Callable[..., CalibrationMetric]":
    def make(**settings: Unpack[Settings]) -> "CalibrationMetric":
        from calibrant.metrics import modules

        return modules.BY_NAME[name](**settings)

    from calibrant.metrics import functional

    make.__doc__ = getattr(functional, name).__doc__
    make.__name__ = name
    return make


for _name in DEFINITIONS:
    register(_name)(_factory(_name))


@register("saliency")
def _saliency(
    *, inputs: "Literal['logits', 'probs']", protocol: "Protocol" = "standard", **settings: Any
) -> Any:
    """MAE, F-measure, E-measure and S-measure of saliency maps, which are (N, 1, H, W)."""
    from calibrant.metrics.saliency_module import Saliency

    return Saliency(inputs=inputs, protocol=protocol, **settings)


def create(name: str, *, num_classes: int | None = None, **options: Any) -> Any:
    """Build a streaming metric by its name.

    Args:
        name: one of `list_metrics()`.
        num_classes: number of classes C.
        **options: the metric's own arguments; `inputs` is required.

    Raises:
        InputError: for an unknown name or option, with the nearest known one.

    Example:
        >>> create("ece", num_classes=10, inputs="logits")
        ECE()
    """
    return METRICS.create(name, {"num_classes": num_classes}, **options)


def list_metrics() -> list[str]:
    """Return the names of all metrics, those of other packages included.

    Example:
        >>> {"ece", "aece", "classwise_ece", "brier"} <= set(list_metrics())
        True
    """
    return METRICS.names()
