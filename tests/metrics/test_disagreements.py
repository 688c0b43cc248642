"""The page that compares us with other software says what running them gives."""

import re

import pytest

from tests.metrics.disagreements import PAGE, page

NUMBER = re.compile(r"\d+\.\d+")


@pytest.mark.filterwarnings("ignore")
def test_the_page_is_what_the_script_prints():
    written, found = PAGE.read_text(encoding="utf-8"), page()
    assert NUMBER.sub("#", written) == NUMBER.sub("#", found)
    pairs = zip(NUMBER.findall(written), NUMBER.findall(found), strict=True)
    assert all(float(a) == pytest.approx(float(b), abs=2e-5) for a, b in pairs)
