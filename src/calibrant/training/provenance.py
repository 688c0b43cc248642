"""Where a result comes from: versions and commit."""

import platform
import subprocess
from pathlib import Path

import torch

import calibrant


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    return {
        "calibrant": calibrant.__version__,
        "torch": str(torch.__version__),
        "python": platform.python_version(),
    }


def git_commit() -> str | None:
    """Return the commit of the checkout that Calibrant is imported from, None when it is no checkout."""
    folder = Path(calibrant.__file__).parent
    try:
        tracked = ["git", "-C", str(folder), "ls-files", "--error-unmatch", "__init__.py"]
        subprocess.run(tracked, check=True, capture_output=True)
        head = subprocess.run(["git", "-C", str(folder), "rev-parse", "HEAD"], capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() or None
