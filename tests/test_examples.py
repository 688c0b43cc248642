"""Every script in `examples/` runs, and shows what it is there to show."""

import re
import runpy
from pathlib import Path
from typing import NamedTuple

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
LINE = re.compile(r"^(.+?) +accuracy ([\d.]+)  ECE ([\d.]+)$", re.MULTILINE)


class Shown(NamedTuple):
    accuracy: float
    ece: float


@pytest.fixture
def run(capsys, monkeypatch):
    """Run an example; return what it shows by name, the fitted temperature left out of the name."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def runner(name: str) -> dict[str, Shown]:
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        lines = LINE.findall(capsys.readouterr().out)
        return {
            re.sub(r"(temperature) [\d.]+$", r"\1", label): Shown(float(accuracy), float(ece))
            for label, accuracy, ece in lines
        }

    return runner


def test_every_example_is_tested():
    tested = set(re.findall(r'run\("(\w+)"\)', Path(__file__).read_text()))
    assert {path.stem for path in EXAMPLES.glob("*.py")} == tested


def test_plain_pytorch(run):
    shown = run("plain_pytorch")
    assert min(row.accuracy for row in shown.values()) > 0.9
    assert shown["ce + temperature"].ece < 0.8 * shown["ce"].ece
    assert shown["cals"].ece < 0.8 * shown["ce"].ece
    assert shown["ce + temperature"].accuracy == shown["ce"].accuracy


def test_lightning_module(run):
    shown = run("lightning_module")
    assert min(row.accuracy for row in shown.values()) > 0.9
    assert shown["ce + temperature"].ece < 0.8 * shown["ce"].ece
    assert shown["cals_hr"].ece < 0.9 * shown["ce"].ece


def test_huggingface_trainer(run):
    shown = run("huggingface_trainer")
    assert min(row.accuracy for row in shown.values()) > 0.6
    assert shown["mbls"].ece < shown["ce"].ece
    for name in ("ce", "mbls"):
        assert shown[f"{name} + temperature"].ece < 0.8 * shown[name].ece


def test_timm_training(run):
    shown = run("timm_training")
    assert min(row.accuracy for row in shown.values()) > 0.85
    assert shown["inverse focal"].ece < 0.8 * shown["cross-entropy of timm"].ece
    assert shown["cross-entropy of timm + temperature"].ece < 0.8 * shown["cross-entropy of timm"].ece


def test_segmentation_models(run):
    shown = run("segmentation_models")
    # Nearly three quarters of the pixels that count are background.
    assert min(row.accuracy for row in shown.values()) > 0.78
    for name in ("ce", "mbls"):
        assert shown[f"{name} + vector"].ece < 0.8 * shown[name].ece


def test_sklearn_pipeline(run):
    shown = run("sklearn_pipeline")
    for method in ("temperature", "vector", "isotonic"):
        assert shown[f"naive Bayes + {method}"].ece < 0.8 * shown["naive Bayes"].ece


def test_gradient_boosting(run):
    shown = run("gradient_boosting")
    assert shown["boosting + temperature"].ece < 0.8 * shown["boosting"].ece
    assert shown["boosting + temperature"].accuracy == shown["boosting"].accuracy
