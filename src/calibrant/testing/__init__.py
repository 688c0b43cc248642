"""Batteries of checks that a loss, a metric or a calibrator must pass, third parties' own included."""

from calibrant.testing.loss_checks import check_compiled, check_loss

__all__ = ["check_compiled", "check_loss"]
