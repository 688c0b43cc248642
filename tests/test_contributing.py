"""The five steps of CONTRIBUTING.md, done: its own code, as another package's loss."""

import doctest
import importlib
import re
import sys
from pathlib import Path

import pytest

from calibrant.losses import create, list_losses
from calibrant.losses.registry import LOSSES
from calibrant.testing import check_compiled, check_loss

GUIDE = Path(__file__).parents[1] / "CONTRIBUTING.md"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Lay out the guide's loss as an installed package that declares the guide's entry point."""
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (entry,) = re.findall(r"```toml\n\[project\.entry-points\.\"(.*?)\"\]\n(.*?)\n```", GUIDE.read_text())
    code = code.replace('@register("logit_penalty")\n', "")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "__init__.py").touch()
    (tmp_path / "my_package" / "losses.py").write_text(code)
    metadata = tmp_path / "my_package-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{entry[0]}]\n{entry[1].replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield importlib.import_module("my_package.losses")
    LOSSES._factories.pop("logit_penalty", None)
    for name in ("my_package", "my_package.losses"):
        sys.modules.pop(name, None)


def test_a_loss_of_another_package_is_found_and_passes(package):
    assert "logit_penalty" in list_losses()
    assert type(create("logit_penalty", alpha=0.5)).__name__ == "LogitPenalty"
    check_loss(package.LogitPenalty)
    check_compiled(package.LogitPenalty)
    assert doctest.testmod(package).attempted == 2
    assert doctest.testmod(package).failed == 0
