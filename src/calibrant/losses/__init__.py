"""Losses that train networks to be calibrated: `create("mbls", margin=10.0)` or the classes themselves."""

from calibrant.losses.adaptive_conditional import ACLS
from calibrant.losses.adaptive_focal import AdaFocal
from calibrant.losses.adaptive_perturbation import ASLPMC, ASLPMEI
from calibrant.losses.base import Batch, Loss
from calibrant.losses.binary import BinaryLoss
from calibrant.losses.binary_baselines import BinaryCrossEntropy, BinaryLabelSmoothing, DisturbLabel
from calibrant.losses.class_adaptive import CALS, CALSHR
from calibrant.losses.class_balanced import ClassBalancedCE, ClassBalancedFocal
from calibrant.losses.correctness_ranking import CorrectnessRanking
from calibrant.losses.cpc import CPC
from calibrant.losses.cross_entropy import CrossEntropy
from calibrant.losses.focal import (
    FLSD,
    FLSD52,
    FLSD53,
    DualFocalLoss,
    FocalLoss,
    InverseFocalLoss,
    ScheduledFocalLoss,
)
from calibrant.losses.label_aware import LabelAwareSmoothing
from calibrant.losses.label_perturbation import ScBCE
from calibrant.losses.label_smoothing import LabelSmoothing
from calibrant.losses.long_tailed import LDAM, BalancedSoftmax, LogitAdjustment
from calibrant.losses.margin import MarginLoss
from calibrant.losses.mdca import DCA, MDCA
from calibrant.losses.meep import MEEP
from calibrant.losses.mixing import MixedPair, mixed_loss
from calibrant.losses.mmce import MMCE, WeightedMMCE
from calibrant.losses.neighbours import NACL, SVLS
from calibrant.losses.penalties import BrierLoss, EntropyPenalty, LogitNorm, Poly1, ProbabilityL1
from calibrant.losses.rank_mixup import RankMixup
from calibrant.losses.registry import create, list_losses, register
from calibrant.losses.two_class import BinaryBrier, BinaryFLSD, BinaryFocal, BinaryMMCE, TwoClassLoss
from calibrant.losses.uncertainty import AvU, SoftAvU, SoftBinnedECE

__all__ = [
    "ACLS",
    "ASLPMC",
    "ASLPMEI",
    "CALS",
    "CALSHR",
    "CPC",
    "DCA",
    "FLSD",
    "FLSD52",
    "FLSD53",
    "LDAM",
    "MDCA",
    "MEEP",
    "MMCE",
    "NACL",
    "SVLS",
    "AdaFocal",
    "AvU",
    "BalancedSoftmax",
    "Batch",
    "BinaryBrier",
    "BinaryCrossEntropy",
    "BinaryFLSD",
    "BinaryFocal",
    "BinaryLabelSmoothing",
    "BinaryLoss",
    "BinaryMMCE",
    "BrierLoss",
    "ClassBalancedCE",
    "ClassBalancedFocal",
    "CorrectnessRanking",
    "CrossEntropy",
    "DisturbLabel",
    "DualFocalLoss",
    "EntropyPenalty",
    "FocalLoss",
    "InverseFocalLoss",
    "LabelAwareSmoothing",
    "LabelSmoothing",
    "LogitAdjustment",
    "LogitNorm",
    "Loss",
    "MarginLoss",
    "MixedPair",
    "Poly1",
    "ProbabilityL1",
    "RankMixup",
    "ScBCE",
    "ScheduledFocalLoss",
    "SoftAvU",
    "SoftBinnedECE",
    "TwoClassLoss",
    "WeightedMMCE",
    "create",
    "list_losses",
    "mixed_loss",
    "register",
]
