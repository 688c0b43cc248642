"""The cases of reference bugs that we do not offer, each with the reason.

Keys are "file/case" for a whole case and "file/case:output" for one of its outputs.
"""

REFUSED: dict[str, str] = {}
