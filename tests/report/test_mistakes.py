"""Errors made with confidence: how many, which classes, and the samples."""

import pytest
import torch

from calibrant.report import write_report
from calibrant.report.mistakes import excess, mistakes, pairs_table, sentence
from tests.report.conftest import MakeRun, keep_errors
from tests.report.test_page import Page


def logits_of(confidences: list[float]) -> torch.Tensor:
    """Return logits of three classes, the first with these confidences."""
    p = torch.tensor(confidences, dtype=torch.float64)
    return torch.stack([p, (1 - p) / 2, (1 - p) / 2], 1).log()


def test_sure_errors_are_counted_against_what_their_confidence_allows() -> None:
    found = mistakes(logits_of([0.95, 0.92, 0.9001, 0.8, 0.6]), torch.tensor([0, 1, 2, 1, 0]))
    assert (found.samples, found.errors, found.sure, found.sure_errors) == (5, 3, 3, 2)
    assert found.expected == pytest.approx(0.05 + 0.08 + 0.0999)
    assert found.spread == pytest.approx((0.05 * 0.95 + 0.08 * 0.92 + 0.0999 * 0.9001) ** 0.5)
    assert found.pairs == {(1, 0): (1, pytest.approx(0.92)), (2, 0): (1, pytest.approx(0.9001))}
    assert sentence([found]).startswith(
        "3 of 5 predictions have a confidence of 90 % or more. 2 of them are wrong (3 errors in all); their "
        "confidence allows 0.2."
    )


@pytest.mark.parametrize(("wrong", "more"), [(1, False), (2, False), (6, True)])
def test_chance_is_not_called_an_excess(wrong: int, more: bool) -> None:
    target = torch.zeros(40, dtype=torch.int64)
    target[:wrong] = 1
    found = mistakes(logits_of([0.95] * 40), target)
    # Two are expected, give or take 1.4.
    assert excess([found]) == excess([found, found]) == more
    assert ("more than chance" in sentence([found])) == more


def test_pairs_are_summed_over_the_seeds_most_often_first() -> None:
    first = mistakes(logits_of([0.95, 0.95, 0.95]), torch.tensor([1, 2, 2]))
    second = mistakes(logits_of([0.99]), torch.tensor([2]))
    table = pairs_table([first, second], ["a", "b", "c"], "pairs", "ce")
    assert table is not None
    assert [(row.name, *(cell.text for cell in row.cells)) for row in table.rows] == [
        ("c", "a", "3", "96.3"),
        ("b", "a", "1", "95.0"),
    ]
    assert pairs_table([mistakes(logits_of([0.5]), torch.tensor([1]))], ["a", "b", "c"], "p", "ce") is None


def test_the_page_shows_pictures_and_texts_and_says_where_there_are_none(make_run: MakeRun, tmp_path) -> None:
    pictured, told, bare = (make_run(name, sharpness=3.0, samples=60) for name in ("pictured", "told", "bare"))
    keep_errors(pictured)
    told.errors_path.write_text("id,truth,said,confidence,picture,text\n7,1,0,0.99999,,\"<b> & 'so'\"\n")
    html = write_report([pictured, told, bare], tmp_path / "a.html", "T").read_text(encoding="utf-8")
    page = Page(html)
    pictures = [a["src"] for a, _ in page.all("img")]
    assert pictures
    assert all(source.startswith("data:image/png;base64,") for source in pictures)
    assert [text for _, text in page.all("blockquote")] == ["<b> & 'so'"]
    assert "> 99.99 %" in [text for _, text in page.all("li") if "class 0" in text][-1]
    assert html.count("The run keeps no pictures or texts of its errors.") == 1
