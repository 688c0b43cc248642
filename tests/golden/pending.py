"""Targets whose capability does not exist yet, by capability.

`python -m tests.golden` counts their cases as without counterpart and exits with 1 until there is none.
"""

_BY_CAPABILITY: dict[str, list[tuple[str, str]]] = {
    "two-stage training: heads, samplers, schedules, shifted batch norm": [
        ("schedule", "mixup_lambda_stream"),
        ("state-update", "ShiftedBatchNorm"),
        ("state-update", "stage1_epoch"),
        ("state-update", "stage2_epoch"),
    ],
    "long-tailed data": [
        ("schedule", "long_tailed_counts"),
        ("transform", "class_map_by_frequency"),
        ("transform", "long_tailed_selection"),
    ],
    "learned perturbation levels, the saliency network and its data": [
        ("schedule", "aslp_lr"),
    ],
}

PENDING: set[tuple[str, str]] = {target for targets in _BY_CAPABILITY.values() for target in targets}
