"""What a loss does to its targets: exactly, in closed form, as curves, and in words."""

from calibrant.losses.explanation import batch_forms, binary_forms, row_forms, spatial_forms
from calibrant.losses.explanation.activity import moved_targets
from calibrant.losses.explanation.closed_forms import (
    NOTATION,
    ClosedForm,
    closed_form,
    closed_form_target,
    register_closed_form,
)
from calibrant.losses.explanation.curves import ROLES, SmoothingCurve, smoothing_curve, stated_batch
from calibrant.losses.explanation.explained import Explanation, explain
from calibrant.losses.explanation.implied import implicit_target
from calibrant.losses.explanation.verdicts import Verdict, verdict

#: The modules that register the closed forms.
FORMS = (row_forms, batch_forms, spatial_forms, binary_forms)

__all__ = [
    "NOTATION",
    "ROLES",
    "ClosedForm",
    "Explanation",
    "SmoothingCurve",
    "Verdict",
    "closed_form",
    "closed_form_target",
    "explain",
    "implicit_target",
    "moved_targets",
    "register_closed_form",
    "smoothing_curve",
    "stated_batch",
    "verdict",
]
