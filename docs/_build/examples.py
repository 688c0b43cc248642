"""Docstrings say "Example:"; the parser knows "Examples:", whose prompts it shows as code."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Rename the section of every docstring."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rename it in one object."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"(?m)^(\s*)Example:$", r"\1Examples:", obj.docstring.value)
