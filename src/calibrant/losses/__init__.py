"""Losses that train networks to be calibrated: `create("mbls", margin=10.0)` or the classes themselves."""

from calibrant.losses.adaptive_conditional import ACLS
from calibrant.losses.base import Batch, Loss
from calibrant.losses.class_adaptive import CALS, CALSHR
from calibrant.losses.cross_entropy import CrossEntropy
from calibrant.losses.focal import FLSD, FLSD52, FLSD53, DualFocalLoss, FocalLoss, InverseFocalLoss
from calibrant.losses.label_smoothing import LabelSmoothing
from calibrant.losses.margin import MarginLoss
from calibrant.losses.penalties import BrierLoss, EntropyPenalty, LogitNorm, Poly1, ProbabilityL1
from calibrant.losses.registry import create, list_losses, register

__all__ = [
    "ACLS",
    "CALS",
    "CALSHR",
    "FLSD",
    "FLSD52",
    "FLSD53",
    "Batch",
    "BrierLoss",
    "CrossEntropy",
    "DualFocalLoss",
    "EntropyPenalty",
    "FocalLoss",
    "InverseFocalLoss",
    "LabelSmoothing",
    "LogitNorm",
    "Loss",
    "MarginLoss",
    "Poly1",
    "ProbabilityL1",
    "create",
    "list_losses",
    "register",
]
