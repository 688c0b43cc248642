"""Losses that train networks to be calibrated: `create("mbls", margin=10.0)` or the classes themselves."""

from calibrant.losses.base import Batch, Loss
from calibrant.losses.cross_entropy import CrossEntropy
from calibrant.losses.margin import MarginLoss
from calibrant.losses.registry import create, list_losses, register

__all__ = ["Batch", "CrossEntropy", "Loss", "MarginLoss", "create", "list_losses", "register"]
