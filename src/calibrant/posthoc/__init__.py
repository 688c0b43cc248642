"""Calibrators: fitted on held-out logits, they mend the confidences of a trained network."""

from calibrant.posthoc.base import Calibrator, ConvergenceWarning
from calibrant.posthoc.registry import CALIBRATORS, create, list_calibrators, register
from calibrant.posthoc.temperature import TemperatureScaling

__all__ = [
    "CALIBRATORS",
    "Calibrator",
    "ConvergenceWarning",
    "TemperatureScaling",
    "create",
    "list_calibrators",
    "register",
]
