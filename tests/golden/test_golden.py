"""Every golden case that has a counterpart is reproduced or refused; the suite says how many of each."""

from collections import Counter

import pytest

import tests.golden.handlers  # noqa: F401
from tests.golden.__main__ import main
from tests.golden.framework import HANDLERS, HERE, judge, load
from tests.golden.refused import REFUSED

CASES = list(load(HERE))


def covered(case):
    return (case.kind, case.target) in HANDLERS or case.key in REFUSED


@pytest.mark.parametrize("file", sorted({case.file for case in CASES if covered(case)}))
def test_golden_file(file, record_property):
    verdicts = [judge(case) for case in CASES if case.file == file and covered(case)]
    record_property("golden", dict(Counter(v.status for v in verdicts)))
    failed = [f"{v.case.key}: {v.message}" for v in verdicts if v.status not in ("passed", "refused")]
    assert not failed, "\n".join(failed)


def test_no_case_lacks_a_counterpart_unnoticed():
    lacking = {(case.kind, case.target) for case in CASES if not covered(case)}
    assert not lacking


def test_every_refusal_names_a_case():
    keys = {case.key for case in CASES} | {f"{c.key}:{output}" for c in CASES for output in c.outputs}
    assert set(REFUSED) <= keys


def test_command_fails_on_a_wrong_value(tmp_path, capsys):
    for suffix in ("json", "npz"):
        (tmp_path / f"acls.{suffix}").write_bytes((HERE / f"acls.{suffix}").read_bytes())
    text = (tmp_path / "acls.json").read_text().replace('"pos_lambda": 0.5', '"pos_lambda": 0.4')
    (tmp_path / "acls.json").write_text(text)
    assert main([str(tmp_path)]) == 1
    assert "failed: acls/custom_weights" in capsys.readouterr().out
