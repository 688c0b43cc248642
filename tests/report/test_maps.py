"""The page of dense runs: diagrams from the bins of the result, calibration maps, data of another kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant.metrics.map_scores import MapScores
from calibrant.report import gaps, write_report
from calibrant.report.evidence import gather
from calibrant.training.gap_maps import GapMaps
from calibrant.training.judging import in_json
from calibrant.training.maps import as_written
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import MakeRun, writer
from tests.report.test_page import Page

SETS = {"test": 1.0, "far <away>": 3.0}


class Grey:
    """Test images in one grey each."""

    names = ("one", "two", "three")

    def thumbnail(self, position, side):
        label = np.zeros((20, 30), np.uint8)
        label[5:15, 5:15] = 255
        return Image.new("RGB", (30, 20), (60 * position,) * 3), Image.fromarray(label)


def dense(make_run: MakeRun, method: str, sharpness: float) -> RunFolder:
    """Write what a dense run keeps, over-confident by its sharpness and on the other set by more."""
    generator = torch.Generator().manual_seed(0)
    scores = {split: MapScores() for split in SETS}
    maps = GapMaps(Grey())
    for split, more in SETS.items():
        for position in range(3):
            logits = 2 * torch.randn(20, 30, generator=generator)
            label = torch.rand(20, 30, generator=generator) < logits.sigmoid()
            said = (sharpness * more * logits).sigmoid()
            scores[split].add(said, label)
            if split == "test":
                maps.add("none", position, torch.maximum(said, 1 - said), (said > 0.5) == label)
    written = as_written({split: {"none": part} for split, part in scores.items()})
    metrics = {split: {"none": in_json(part.estimates())} for split, part in scores.items()}
    run = make_run(method, samples=5, metrics=metrics, posthoc={}, class_names=None, **written)
    run.write_result(run.result() | {"class_names": ["ground", "thing"]})
    run.predictions_path("test").unlink()
    maps.write(run)
    return run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    make_run = writer(tmp_path_factory.mktemp("maps"))
    return [dense(make_run, "bce", 1.0), dense(make_run, "sure", 3.0)]


def test_the_diagrams_are_those_of_the_bins_with_intervals_over_the_images(runs: list[RunFolder]) -> None:
    comparison = gather(runs)
    assert comparison.maps
    assert comparison.class_names == ["ground", "thing"]
    assert not any("no test predictions" in notice for notice in comparison.notices)
    for method in comparison.methods:
        for bins, split in ((method.bins, "test"), (method.elsewhere["far <away>"], "far <away>")):
            ece = method.spread("ece", "none", split)
            assert ece is not None
            pooled = bins["none"]
            assert np.nansum(pooled.share * abs(pooled.confidence - pooled.accuracy)) == pytest.approx(ece.mean)
            kept = pooled.filled
            assert (pooled.low[kept] <= pooled.accuracy[kept] + 1e-9).all()
            assert (pooled.high[kept] >= pooled.accuracy[kept] - 1e-9).all()
    assert [method.gaps["none"].verdict for method in comparison.methods] == ["", "over-confident"]


def test_calibration_maps_show_the_mean_and_the_worst_images(runs: list[RunFolder]) -> None:
    drawing = gaps.draw(gather(runs).method("sure"))
    assert drawing is not None
    pictures = [axes for axes in drawing.figure.axes if axes.images]
    assert pictures[0].images[0].get_array().shape == (48, 48)
    assert len(pictures) >= 1 + 2 * 3
    assert "Mean difference as trained: +" in drawing.description
    assert gaps.draw(gather(runs[:1]).methods[0]) is not None


def test_the_page_shows_maps_and_data_of_another_kind(runs: list[RunFolder], tmp_path: Path) -> None:
    html = write_report(runs, tmp_path / "a.html", "T").read_text(encoding="utf-8")
    page = Page(html)
    titles = [text for _, text in page.all("title")]
    assert "Where sure is wrong about itself" in titles
    assert "Reliability of sure on far <away>" in titles
    assert "Metrics on far <away>" in [text for _, text in page.all("caption")]
    points = {head: text for (_, head), (_, text) in zip(page.all("dt"), page.all("dd"), strict=True)}
    assert points["Data of another kind, as trained"].startswith("On far <away> the ECE is ")
    assert "were not measured" not in points["How far this carries"]
    assert "percentile bootstrap" in points["Intervals"]
    assert "Training pixels per class: " in points["Classes"]
