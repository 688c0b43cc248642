"""Targets whose capability does not exist yet; `python -m tests.golden` counts them as without counterpart."""

PENDING: set[tuple[str, str]] = set()
