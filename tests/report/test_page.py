import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from calibrant.compare.columns import COLUMNS
from calibrant.compare.table import tabulate
from calibrant.report import write_report
from calibrant.training.run_folder import RunFolder
from tests.report.conftest import MakeRun, keep_errors

VOID = {"meta", "link", "br", "img", "input"}


class Page(HTMLParser):
    """The elements of a page: (tag, attributes, text within), in order of their start."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[int] = []
        self.nested: list[tuple[str, dict[str, str], list[str], list[str]]] = []
        self.feed(html)
        assert self.open == [], "a tag is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))
        path = [self.elements[at][1].get("id", "") for at in self.open]
        self.nested.append((*self.elements[-1], path))
        if tag not in VOID:
            self.open.append(len(self.elements) - 1)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}, []))

    def handle_endtag(self, tag: str) -> None:
        assert self.elements[self.open.pop()][0] == tag

    def handle_data(self, data: str) -> None:
        for index in self.open:
            self.elements[index][2].append(data)

    def all(self, tag: str) -> Iterator[tuple[dict[str, str], str]]:
        for name, attributes, text in self.elements:
            if name == tag:
                yield attributes, " ".join("".join(text).split())

    def within(self, tag: str, id: str, wanted: str) -> list[tuple[dict[str, str], str]]:
        """Return the elements of a kind inside the element with an id."""
        return [
            (a, " ".join("".join(text).split()))
            for name, a, text, path in self.nested
            if name == wanted and id in path
        ]

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes, _ in self.elements if attribute in attributes]


def html_of(runs: list[RunFolder], tmp_path: Path, title: str = "Toy") -> str:
    return write_report(runs, tmp_path / "out" / "report.html", title).read_text(encoding="utf-8")


def test_every_number_of_the_table_is_on_the_page(three: list[RunFolder], html: str) -> None:
    page, table = Page(html), tabulate(three)
    cells = [(attributes, text) for attributes, text in page.within("table", "numbers", "td")]
    width = len(cells) // len(table.rows)
    assert width == 1 + 2 * (len(COLUMNS) - 1) + 1  # the accuracy once, the others before and after, T
    for row, start in zip(table.rows, range(0, len(cells), width), strict=True):
        stages = {metric: table.stages[:1] if metric == "accuracy" else table.stages for metric in COLUMNS}
        expected = [(metric, row.cells[metric][stage]) for metric in COLUMNS for stage in stages[metric]]
        for (attributes, text), (metric, cell) in zip(cells[start:], expected, strict=False):
            assert text.replace(" (best)", "") == cell.text(metric).removesuffix("*").replace("(best)", "")
            assert ("best" in attributes.get("class", "").split()) == cell.best == ("(best)" in text)
            assert float(attributes["data-value"]) == cell.mean
    heads = page.within("table", "numbers", "th")
    names = [text for attributes, text in heads if attributes.get("scope") == "row"]
    assert names == [row.method for row in table.rows]


def test_accuracy_that_scaling_changed_is_shown_twice(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run("ce")
    result = run.result()
    result["metrics"]["test"]["temperature"]["accuracy"]["value"] = 0.123
    run.write_result(result)
    assert "12.30" in [text for _, text in Page(html_of([run], tmp_path)).all("td")]


def test_nothing_is_loaded(html: str) -> None:
    page = Page(html)
    for reference in page.values("src") + page.values("href") + page.values("xlink:href"):
        assert reference.startswith(("#", "data:")), reference
    assert not re.search(r"@import|url\((?!#)", html)
    assert not re.search(r"(?i)\b(fetch|XMLHttpRequest|import)\s*\(", html)
    policy = next(a["content"] for a, _ in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy


def test_ids_are_unique_and_references_resolve(html: str) -> None:
    page = Page(html)
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    references = [href[1:] for href in page.values("href") if href.startswith("#")]
    references += " ".join(page.values("aria-labelledby") + page.values("aria-describedby")).split()
    references += [clip[5:-1] for clip in page.values("clip-path")]
    assert set(references) <= set(ids)
    assert len(references) > 50


def test_columns_are_sorted_by_buttons(html: str) -> None:
    page = Page(html)
    heads = [(attributes, text) for attributes, text in page.all("th") if "aria-sort" in attributes]
    assert len(heads) == len(list(page.all("button")))
    assert {attributes["aria-sort"] for attributes, _ in heads} == {"none"}
    for attributes, _ in page.all("table"):
        of_table = [a for a, _ in page.within("table", attributes["id"], "th")]
        rows = sum(a.get("scope") == "row" for a in of_table)
        columns = 1 + len(page.within("table", attributes["id"], "td")) // rows
        assert sorted(int(a["data-column"]) for a in of_table if "data-column" in a) == list(range(columns))
    assert any(text == "ECE %, scaled" for _, text in heads)
    assert 'setAttribute("aria-sort"' in html


def test_figures_are_named_and_each_method_has_one(html: str) -> None:
    page = Page(html)
    assert {attributes.get("role") for attributes, _ in page.all("svg")} == {"img"}
    titles = [text for _, text in page.all("title")]
    for method in ("ce", "mbls", "ls"):
        assert f"Reliability of {method}" in titles
    assert "Training curves" in titles


def test_page_says_how_it_was_made(html: str) -> None:
    for words in (
        "100 training, 50 validation, 400 test samples; made up",
        "4 classes: class 0, class 1, class 2, class 3.",
        "15 bins of equal width",
        "torch 2.11.0",
        "9 s for 6 runs",
        "margin 6",
        "epochs: 3",
        "T = 3.00, 3.00.",
    ):
        assert words in html
    assert "Missing or doubtful" not in html


HOSTILE = "<script>alert(1)</script>\" onload='x' ${7} {{ 7*7 }} $x_1$ \x00 \ud800 名 -->"


def test_hostile_names_are_text(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [
        make_run(
            HOSTILE,
            class_names=[HOSTILE, "</style><b>", "&amp;", "x"],
            loss={"name": "x", "args": {HOSTILE: HOSTILE}},
        ),
        make_run("mbls", sharpness=2.0),
    ]
    html = html_of(runs, tmp_path, title=f"</title>{HOSTILE}")
    page = Page(html)
    assert len(list(page.all("script"))) == 1
    assert [name for _, attributes, _ in page.elements for name in attributes if name.startswith("on")] == []
    assert "<script>alert" not in html
    assert "{{ 7*7 }}" in html
    assert "$x_1$" in html
    assert "\x00" not in html
    assert any(text.startswith("<script>alert(1)</script>") for _, text in page.all("h3"))
    assert any("<script>alert(1)</script>" in text for _, text in page.all("td"))


def test_same_runs_give_the_same_bytes(three: list[RunFolder], html: str, tmp_path: Path) -> None:
    second = write_report(three, tmp_path / "b.html", "Toy", table=tabulate(three)).read_bytes()
    assert html.encode() == second
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.html"]


def test_twenty_methods_fit_into_two_megabytes(make_run: MakeRun, tmp_path: Path) -> None:
    runs = [make_run(f"method {k}", sharpness=0.5 + 0.05 * k, samples=60) for k in range(20)]
    for run in runs:
        keep_errors(run)
    html = html_of(runs, tmp_path)
    assert html.count("<article") == 20
    assert len(html.encode()) < 2_000_000


def test_what_is_missing_is_on_the_page(copies: list[RunFolder], tmp_path: Path) -> None:
    for run in copies:
        run.predictions_path("test").unlink()
        run.history_path.unlink()
        run.recipe_path.unlink()
    copies[0].result_path.unlink()
    html = html_of(copies, tmp_path)
    page = Page(html)
    assert "Missing or doubtful" in html
    assert f"{copies[0].path} is not finished and is left out." in html
    assert "holds no test predictions, so mbls has no diagrams." in html
    assert not {"methods", "training", "classes", "differences"} & set(page.values("id"))
    assert "#methods" not in page.values("href")
    assert len(list(page.all("tr"))) == 2 + 3


def test_a_run_without_temperature_scaling_has_one_column_a_metric(make_run: MakeRun, tmp_path: Path) -> None:
    metrics = {"test": {"none": make_run("x").result()["metrics"]["test"]["none"]}}
    page = Page(html_of([make_run("ce", metrics=metrics, posthoc={})], tmp_path))
    assert len(page.within("table", "numbers", "td")) == len(COLUMNS)
    assert not any("caled" in text for _, text in page.all("button"))


def test_a_failure_leaves_the_old_page(
    copies: list[RunFolder], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_report(copies[:2], tmp_path / "report.html", "Old")
    old = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_report(copies[:2], path, "New")
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
