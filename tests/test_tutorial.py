"""The tutorial runs, and prints what stands on its page; pages are complete and current; the site builds.

`python -m tests.test_tutorial` writes what is printed into the page.
"""

import re
import shlex
import subprocess
import sys
import tempfile
from contextlib import chdir, redirect_stdout
from html import unescape
from io import StringIO
from pathlib import Path

import pytest

from calibrant import losses
from calibrant.cli import main

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"```(python|bash|text)\n(.*?)```", re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")
OF_OURS = re.compile(r"\d+(?:\.\d+)? ± \d+(?:\.\d+)?")


def run(blocks: list[tuple[str, str]]) -> list[str]:
    """Run the blocks of a page in the current folder; return what stands below each "text" by rights."""
    space: dict[str, object] = {"__name__": "tutorial"}
    printed: list[str] = []
    said = ""
    for kind, code in blocks:
        if kind == "text":
            printed.append(said)
            continue
        with redirect_stdout(StringIO()) as out:
            if kind == "python":
                exec(compile(code, str(PAGE), "exec"), space)
            else:
                for line in code.splitlines():
                    command, *words = shlex.split(line)
                    assert command == "calibrant"
                    assert main(words) == 0
        said = "".join(f"{line.rstrip()}\n" for line in out.getvalue().strip("\n").splitlines())
    return printed


def differences(page: str, printed: str) -> list[str]:
    """Return where words differ, or numbers by more than another processor makes of them; but not times."""
    page, printed = (re.sub(r"in [\d.]+ s:", "in # s:", text) for text in (page, printed))
    pairs = zip(page.split(), printed.split(), strict=False)
    found = [f"{a} {b}" for a, b in pairs if NUMBER.sub("#", a) != NUMBER.sub("#", b)]
    a, b = ([float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (page, printed))
    found += [f"{m} {n}" for m, n in zip(a, b, strict=False) if abs(m - n) > max(0.02, 0.25 * abs(m))]
    return found if len(page.split()) == len(printed.split()) else [*found, "another number of words"]


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    blocks = BLOCK.findall(PAGE.read_text())
    with chdir(tmp_path_factory.mktemp("tutorial")):
        return [text for kind, text in blocks if kind == "text"], run(blocks)


def test_the_tutorial_prints_what_stands_on_its_page(tutorial):
    written, printed = tutorial
    assert len(printed) == len(written) > 5
    assert [differences(a, b) for a, b in zip(written, printed, strict=True)] == [[]] * len(printed)


def test_the_tutorial_shows_what_it_says(tutorial):
    _, printed = tutorial
    text = "".join(printed)
    assert "It is not calibrated" in text
    ece = {name: float(value) for name, value in re.findall(r"^(\S+): accuracy .* ECE ([\d.]+) ", text, re.M)}
    assert ece["MbLS"] < ece["cross-entropy"]
    assert float(re.search(r"cross-entropy: temperature ([\d.]+)", text)[1]) > 1


@pytest.mark.parametrize(
    ("page", "printed"), [("ECE 0.04", "ECE 0.09"), ("is calibrated", "is not calibrated"), ("a 1 b", "a 1 c")]
)
def test_a_page_that_says_otherwise_is_noticed(page, printed):
    assert differences(page, printed)
    assert not differences(page, page)


def test_every_loss_has_a_page():
    pages = "".join(path.read_text() for path in (ROOT / "docs").rglob("*.md"))
    known = {name for name in losses.__all__ if isinstance(getattr(losses, name), type)}
    assert known > {"MarginLoss", "CALS", "ACLS"}
    assert known <= set(re.findall(r"^::: calibrant\.losses\.(\w+)$", pages, re.M))


def test_figures_of_ours_are_those_that_are_committed():
    results = "".join(path.read_text() for path in (ROOT / "benchmarks" / "results").glob("*.md"))
    measured = set(OF_OURS.findall(results))
    for path in (ROOT / "docs").rglob("*.md"):
        assert set(OF_OURS.findall(path.read_text())) <= measured, path.name


def test_the_site_builds_without_a_warning_and_needs_no_network(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert len(pages) > 25
    for name, text in pages.items():
        fetched = re.findall(r'<(?:script|img|link rel="stylesheet")[^>]*(?:src|href)="(https?:[^"]*)"', text)
        assert not fetched, name
        assert "arithmatex" not in text, name
    shown = unescape(re.sub("<[^>]*>", "", pages["guides/own-loop.html"]))
    for example in (ROOT / "examples").glob("*.py"):
        assert example.read_text().splitlines()[0] in shown
    assert "<math" in pages["methods/mbls.html"]
    assert "MarginLoss" in pages["methods/mbls.html"]


def rewrite() -> None:
    """Write what is printed into the page."""
    text = PAGE.read_text()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        printed = iter(run(BLOCK.findall(text)))
    fill = lambda found: f"```text\n{next(printed)}```" if found[1] == "text" else found[0]  # noqa: E731
    PAGE.write_text(BLOCK.sub(fill, text))


if __name__ == "__main__":
    rewrite()
