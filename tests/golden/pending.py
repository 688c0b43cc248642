"""Targets whose capability does not exist yet, by capability.

`python -m tests.golden` counts their cases as without counterpart and exits with 1 until there is none.
"""

_BY_CAPABILITY: dict[str, list[tuple[str, str]]] = {}

PENDING: set[tuple[str, str]] = {target for targets in _BY_CAPABILITY.values() for target in targets}
