"""The page of `calibrant evaluate`: what it holds, and that it loads nothing."""

import re
from pathlib import Path

import numpy as np
import pytest

from calibrant.predictions import open_predictions
from calibrant.predictions.judgement import Judgement, compare, judge
from calibrant.predictions.shown import MEASURES
from calibrant.report import predictions_page
from calibrant.report.predictions_page import render_predictions, write_predictions_report
from tests.report.conftest import knowledge
from tests.report.test_page import HOSTILE, Page


def judged(folder: Path, sharpness: float, name: str, names: list[str] | None = None) -> Judgement:
    logits, target = (tensor.numpy() for tensor in knowledge(300))
    said = {"class_names": np.array(names)} if names else {}
    np.savez(folder / "a.npz", logits=sharpness * logits, y=target, **said)
    return judge(open_predictions(folder / "a.npz"), name)


@pytest.fixture
def two(tmp_path: Path) -> list[Judgement]:
    return [judged(tmp_path, 1.0, "honest.npz"), judged(tmp_path, 3.0, "runs/sure.npz")]


def test_every_number_and_every_file_is_on_the_page(two: list[Judgement]) -> None:
    page = Page(render_predictions(two, compare(two[0], two[1:])))
    cells = [text for _, text in page.all("td")]
    for found in two:
        for metric, measure in MEASURES.items():
            estimate = found.estimates[metric]
            value, low, high = (measure.text(x) for x in estimate)
            assert f"{value} {low} to {high}" in cells
    heads = [text for _, text in page.all("h3")]
    assert heads == ["honest.npz", "runs/sure.npz"]
    captions = [text for _, text in page.all("caption")]
    assert captions == ["Metrics of the predictions", "Classes of honest.npz", "Classes of runs/sure.npz"]
    points = {head: text for (_, head), (_, text) in zip(page.all("dt"), page.all("dd"), strict=True)}
    assert "Nothing here speaks against its being calibrated." in points["honest.npz"]
    assert points["runs/sure.npz"].startswith("Over-confident by ")
    assert "ECE % +" in points["runs/sure.npz less honest.npz, on the same labels"]
    titles = [text for _, text in page.all("title")]
    assert "Reliability of honest.npz" in titles
    assert "ECE of each file" in titles


def test_one_file_has_its_diagram_beside_the_summary(two: list[Judgement]) -> None:
    page = Page(render_predictions(two[1:], {}))
    assert [text for _, text in page.all("h1")] == ["Can runs/sure.npz be trusted?"]
    assert "#diagrams" not in page.values("href")
    (described,) = [text for _, text in page.all("desc")]
    assert "predicted class" in described
    assert "mean probability" in described
    rows = [attributes["data-value"] for attributes, _ in page.all("th") if attributes.get("scope") == "row"]
    assert sorted(rows) == ["0", "1", "2", "3", "runs/sure.npz"]


def test_references_resolve_and_nothing_is_loaded(two: list[Judgement]) -> None:
    for found in (two, two[:1]):
        html = render_predictions(found, compare(found[0], found[1:]))
        page = Page(html)
        ids = page.values("id")
        assert len(ids) == len(set(ids))
        references = [href[1:] for href in page.values("href") if href.startswith("#")]
        references += " ".join(page.values("aria-labelledby") + page.values("aria-describedby")).split()
        assert set(references) <= set(ids)
        assert all(link.startswith(("#", "data:")) for link in page.values("src") + page.values("href"))
        assert not re.search(r"@import|url\((?!#)", html)
        heads = [attributes for attributes, _ in page.all("th") if "aria-sort" in attributes]
        assert len(heads) == len(list(page.all("button")))


def test_hostile_names_are_text(tmp_path: Path) -> None:
    name = HOSTILE.replace("\x00", "").replace("\ud800", "")
    found = [judged(tmp_path, 2.0, HOSTILE, [name, "</b>", "&", "x"])]
    page = Page(render_predictions(found, {}))
    assert len(list(page.all("script"))) == 1
    assert [name for _, attributes, _ in page.elements for name in attributes if name.startswith("on")] == []


def test_the_same_predictions_give_the_same_bytes(two: list[Judgement], tmp_path: Path) -> None:
    paths = [write_predictions_report(two, compare(two[0], two[1:]), tmp_path / f"{k}.html") for k in "ab"]
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert paths[0].stat().st_size < 250_000


def test_bins_of_maps_have_no_interval(tmp_path: Path) -> None:
    logits, target = (tensor.numpy() for tensor in knowledge(600))
    np.savez(tmp_path / "a.npz", logits=logits.reshape(30, 20, 4).transpose(0, 2, 1), y=target.reshape(30, 20))
    found = judge(open_predictions(tmp_path / "a.npz"))
    assert found.maps == 30
    bins = predictions_page._bins(found, found.reliability)
    assert np.isnan(bins.low).all()
    assert np.nansum(bins.share) == pytest.approx(1)
    page = Page(render_predictions([found], {}))
    assert any("600 pixels of 30 maps" in text for _, text in page.all("p"))
