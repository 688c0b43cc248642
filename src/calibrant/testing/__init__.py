"""Batteries of checks that a loss, a metric or a calibrator must pass, third parties' own included."""

from calibrant.testing.calibrator_checks import check_calibrator
from calibrant.testing.loss_checks import check_compiled, check_loss
from calibrant.testing.metric_checks import check_metric

__all__ = ["check_calibrator", "check_compiled", "check_loss", "check_metric"]
