"""Calibrant: train neural networks whose confidence can be trusted, and measure whether it can.

Importing the package costs nothing beyond `import torch`; each part is loaded when it is first used.
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"

_PARTS = (
    "compare",
    "data",
    "export",
    "losses",
    "metrics",
    "models",
    "posthoc",
    "predictions",
    "report",
    "testing",
    "training",
)


def __getattr__(name: str) -> ModuleType:
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_PARTS]
