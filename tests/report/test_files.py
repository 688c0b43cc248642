from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from calibrant.cli import main
from calibrant.errors import InputError
from calibrant.report import write_figures, write_reliability
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import MakeRun, keep_errors


@pytest.mark.usefixtures("unsaved")
def test_every_figure_in_every_format(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run("mbls:margin=6"), make_run("MbLS-margin-6", sharpness=3.0)]
    keep_errors(runs[0])
    paths = write_figures(runs, tmp_path / "figures")
    names = ["reliability", "ece", "training", "overlay", "overlay-scaled", "differences"]
    names += ["class-errors-trained", "class-errors-temperature", "errors-mbls-margin-6"]
    names += ["reliability-mbls-margin-6", "reliability-MbLS-margin-6-2"]
    assert sorted(path.name for path in paths) == sorted(
        f"{n}.{e}" for n in names for e in ("svg", "png", "pdf")
    )


def test_picture_of_two_methods_shows_the_worse_and_the_better(three: list[RunFolder], tmp_path: Path) -> None:
    path = write_reliability([run for run in three if run.result()["method"] != "ls"], tmp_path / "two.svg")
    root = ET.parse(path).getroot()
    texts = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.index("ce") < texts.index("mbls")
    assert any("over-confident by" in (text or "") for text in texts)
    assert "neither over- nor under-confident" in texts


def test_without_predictions_there_are_training_curves_alone(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("ce")
    run.predictions_path("test").unlink()
    with pytest.raises(InputError, match="no test predictions"):
        write_reliability([run], tmp_path / "two.svg")
    heads = {"training.svg": b"<svg", "training.png": b"\x89PNG", "training.pdf": b"%PDF"}
    page, folder = tmp_path / "page.html", tmp_path / "f"
    assert main(["report", str(run.path), "--out", str(page), "--figures", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == sorted(heads)
    assert all((folder / name).read_bytes().startswith(head) for name, head in heads.items())
    assert "Training curves" in page.read_text()
