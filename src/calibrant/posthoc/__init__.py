"""Calibrators: fitted on held-out logits, they mend the confidences of a trained network."""

from calibrant.posthoc.affine import DirichletCalibration, MatrixScaling, VectorScaling
from calibrant.posthoc.automatic import AutoCalibration, cross_validated
from calibrant.posthoc.base import Calibrator, ConvergenceWarning, RowCalibrator
from calibrant.posthoc.binning import HistogramBinning, IsotonicCalibration, ScalingBinning
from calibrant.posthoc.class_temperature import ClassTemperatureScaling
from calibrant.posthoc.conformal import ConformalSets, VennAbersCalibration
from calibrant.posthoc.ensemble import EnsembleTemperatureScaling
from calibrant.posthoc.files import SavedCalibrator, load_calibrator, save_calibrator
from calibrant.posthoc.local import LocalTemperatureScaling
from calibrant.posthoc.one_vs_rest import BetaCalibration, OneVsRest, PlattScaling
from calibrant.posthoc.registry import CALIBRATORS, create, list_calibrators, register
from calibrant.posthoc.spline import SplineCalibration
from calibrant.posthoc.temperature import TemperatureScaling

__all__ = [
    "CALIBRATORS",
    "AutoCalibration",
    "BetaCalibration",
    "Calibrator",
    "ClassTemperatureScaling",
    "ConformalSets",
    "ConvergenceWarning",
    "DirichletCalibration",
    "EnsembleTemperatureScaling",
    "HistogramBinning",
    "IsotonicCalibration",
    "LocalTemperatureScaling",
    "MatrixScaling",
    "OneVsRest",
    "PlattScaling",
    "RowCalibrator",
    "SavedCalibrator",
    "ScalingBinning",
    "SplineCalibration",
    "TemperatureScaling",
    "VectorScaling",
    "VennAbersCalibration",
    "create",
    "cross_validated",
    "list_calibrators",
    "load_calibrator",
    "register",
    "save_calibrator",
]
