"""The pages in real headless Chromium: sorting, switching, what they load, how they can be used and read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from calibrant.predictions import open_predictions
from calibrant.predictions.judgement import compare, judge
from calibrant.report import write_report
from calibrant.report.predictions_page import write_predictions_report
from calibrant.training.recipe_files import load_recipe
from calibrant.training.runner import run
from tests.report.browser import Window, opened_browser
from tests.report.conftest import knowledge

ENTER, SPACE, RIGHT, LEFT, HOME, END = "\ue007", " ", "\ue014", "\ue012", "\ue011", "\ue010"
METHODS = ["method-ce", "method-ls"]


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    """Start the browser first: where there is none, nothing need be trained."""
    with opened_browser() as started:
        yield started


@pytest.fixture(scope="module")
def page(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two methods with two seeds each, trained on the digits for a moment."""
    folder = tmp_path_factory.mktemp("digits")
    runs = []
    for loss in ({"name": "ce"}, {"name": "ls"}):
        for seed in (0, 1):
            fields = {
                "data": {"val": 100},
                "train": {"loss": loss, "epochs": 2},
                "trainer": {"threads": 1},
                "seed": seed,
            }
            runs.append(run(load_recipe("digits", fields), folder / f"{loss['name']}{seed}"))
    return write_report(runs, folder / "report.html", "Digits")


@pytest.fixture(scope="module")
def judged(driver: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of two files of predictions."""
    folder = tmp_path_factory.mktemp("judged")
    found = []
    logits, target = (tensor.numpy() for tensor in knowledge(200))
    for name, sharpness in (("honest.npz", 1.0), ("sure.npz", 3.0)):
        np.savez(folder / name, logits=sharpness * logits, y=target)
        found.append(judge(open_predictions(folder / name), name))
    return write_predictions_report(found, compare(found[0], found[1:]), folder / "judged.html")


def test_nothing_fails_and_nothing_is_loaded(driver: Any, page: Path, judged: Path) -> None:
    for path in (page, judged):
        window = Window(driver, path)
        assert window.run("document.readyState") == "complete"
        assert window.complaints() == []
        assert window.requests() == [path.as_uri()]


def test_a_click_sorts_and_a_second_turns_the_order(driver: Any, page: Path) -> None:
    window = Window(driver, page)
    before = window.column("numbers", 3)
    button = "#numbers th[data-column='3'] button"
    window.click(button)
    ascending = window.column("numbers", 3)
    assert ascending == sorted(before, key=float)
    assert len({*ascending}) == 2
    assert window.run("document.querySelector(\"#numbers th[data-column='3']\").ariaSort") == "ascending"
    assert window.run("document.getElementById('said').textContent") == "Sorted by ECE %, scaled, ascending."
    window.click(button)
    assert window.column("numbers", 3) == ascending[::-1]
    assert len(window.run("[...document.querySelectorAll('#numbers [aria-sort=descending]')]")) == 1


@pytest.mark.parametrize("key", [ENTER, SPACE])
def test_a_key_sorts_too(driver: Any, page: Path, key: str) -> None:
    window = Window(driver, page)
    for table in ("heat-none", "classes-ce"):
        before = window.column(table, 1)
        window.press(f"#{table} th[data-column='1'] button", key)
        assert window.column(table, 1) == sorted(before, key=float) != before
        window.press(f"#{table} th[data-column='0'] button", key)
        assert window.column(table, 0) == [str(k) for k in range(10)]


def test_one_method_is_shown_until_another_is_chosen(driver: Any, page: Path) -> None:
    window = Window(driver, page)
    assert window.shown("article") == METHODS[:1]
    window.click("#method-ls-tab")
    assert window.shown("article") == METHODS[1:]
    for key, shown in ((LEFT, 0), (RIGHT, 1), (RIGHT, 0), (END, 1), (HOME, 0)):
        window.press("#methods [role=tab][tabindex='0']", key)
        assert window.shown("article") == [METHODS[shown]]
        focused = window.run("document.activeElement")
        assert focused.get_attribute("aria-controls") == METHODS[shown]
        assert focused.get_attribute("aria-selected") == "true"
    assert len(window.run("[...document.querySelectorAll('#methods [role=tab][tabindex=\"0\"]')]")) == 1
    window.click("#methods .all")
    assert window.shown("article") == METHODS
    window.click("#methods .all")
    assert window.shown("article") == METHODS[:1]
    assert window.complaints() == []


def test_a_name_in_the_table_leads_to_its_panel(driver: Any, page: Path) -> None:
    window = Window(driver, page)
    window.click("#numbers a[href='#method-ls']")
    assert window.shown("article") == METHODS[1:]
    assert window.run("location.hash") == "#method-ls"


def test_stages_of_calibration_are_switched(driver: Any, page: Path) -> None:
    window = Window(driver, page)
    assert window.shown("#classes .panel") == ["classes-none"]
    window.press("#classes-none-tab", RIGHT)
    assert window.shown("#classes .panel") == ["classes-temperature"]


def test_dark_and_light(driver: Any, page: Path) -> None:
    colours = []
    for dark in (False, True):
        window = Window(driver, page, dark=dark)
        paper, ink = (
            window.run(f"getComputedStyle(document.querySelector('{where}')).{what}")
            for where, what in (
                ("body", "backgroundColor"),
                ("#summary svg text", "fill"),
            )
        )
        colours.append([sum(map(int, c[4:-1].split(","))) for c in (paper, ink)])
    (light_paper, light_ink), (dark_paper, dark_ink) = colours
    assert light_paper > 700 > 200 > light_ink
    assert dark_ink > 500 > 100 > dark_paper


def test_everything_that_is_read_out_has_a_name(driver: Any, page: Path, judged: Path) -> None:
    for path in (page, judged):
        window = Window(driver, path)
        assert window.unnamed() == []
        assert window.run("[...document.querySelectorAll('img')].every((image) => image.alt)")
        assert window.run("[...document.querySelectorAll('main, header, footer, nav')].length") == 4


def test_pictures_of_errors_are_drawn(driver: Any, page: Path) -> None:
    window = Window(driver, page)
    sizes = window.run("[...document.querySelectorAll('.shots img')].map((image) => image.naturalWidth)")
    assert sizes == [8] * 24


def test_a_narrow_screen_need_not_scroll_sideways(driver: Any, page: Path, judged: Path) -> None:
    for path in (page, judged):
        assert Window(driver, path, width=400).run("document.documentElement.scrollWidth") <= 400


def test_paper_shows_every_panel_and_no_button(driver: Any, page: Path) -> None:
    window = Window(driver, page)
    window.print_media()
    assert window.shown("article") == METHODS
    assert len(window.shown("#classes .panel")) == 2
    assert window.run("[...document.querySelectorAll('.tabs, nav')].every((e) => e.offsetHeight === 0)")


def test_files_of_predictions_are_sorted_and_switched(driver: Any, judged: Path) -> None:
    window = Window(driver, judged)
    assert window.shown("article") == ["file-honest.npz"]
    window.press("#methods [role=tab][tabindex='0']", RIGHT)
    assert window.shown("article") == ["file-sure.npz"]
    before = window.column("classes-sure.npz", 1)
    window.click("table[id='classes-sure.npz'] th[data-column='1'] button")
    assert window.column("classes-sure.npz", 1) == sorted(before, key=float)
    assert window.complaints() == []
