import json
import math

import pytest
import torch

from calibrant.errors import InputError
from calibrant.training.errors import read_errors
from calibrant.training.files import write_text
from calibrant.training.gap_maps import read_means, read_worst
from calibrant.training.levels import read_ends, read_levels
from calibrant.training.run_folder import Predictions, RunFolder, find_runs


def test_predictions_survive_their_file(tmp_path):
    run = RunFolder(tmp_path / "run")
    given = Predictions(
        torch.randn(4, 3).t().contiguous().t(), torch.tensor([0, 1, 2, 0]), torch.arange(4), list("abc")
    )
    run.write_predictions("val", given)
    read = run.predictions("val")
    assert torch.equal(read.logits, given.logits)
    assert torch.equal(read.targets, given.targets)
    assert torch.equal(read.ids, given.ids)
    assert read.class_names == ["a", "b", "c"]


def test_a_run_is_finished_by_its_result(tmp_path):
    run = RunFolder(tmp_path)
    assert not run.finished
    with pytest.raises(InputError, match="no finished run"):
        run.result()
    run.write_result({"schema": 1})
    assert run.finished
    assert json.loads(run.result_path.read_text()) == {"schema": 1}


@pytest.mark.parametrize(
    ("name", "content", "read"),
    [
        ("errors.csv", "id,truth,said\n1,2\n", read_errors),
        ("levels.csv", "name,level\na,\n", read_levels),
        ("levels.csv", "name,level\na,0.5\n", read_ends),
        ("gaps.safetensors", "cut", read_means),
        ("gaps/worst.csv", "name,confidence,accuracy\na,0.5,0.5\n", read_worst),
    ],
)
def test_a_damaged_file_of_a_run_is_one_sentence(tmp_path, name, content, read):
    write_text(tmp_path / name, content)
    with pytest.raises(InputError, match=rf"{name} is damaged \(.+\); delete it\.$") as caught:
        read(RunFolder(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"metrics": []}, {"data": None}, {"seed": "x"}])
def test_a_result_of_another_shape_is_refused(tmp_path, wrong):
    run = RunFolder(tmp_path)
    run.write_result({"recipe": "r", "method": "ce", "seed": 0, "metrics": {}, "data": {}, **wrong})
    with pytest.raises(InputError, match=f"says nothing of '{next(iter(wrong))}'; delete it to run again"):
        run.result()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_no_empty_folder(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "new" / "file.txt", "\ud800")
    assert list(tmp_path.iterdir()) == []


def test_the_history_is_numbers_with_nan_where_there_is_none(tmp_path):
    run = RunFolder(tmp_path)
    assert run.history() == {}
    run.history_path.write_text("epoch,val_ece\n0,\n1,0.5\n")
    history = run.history()
    assert history["epoch"] == [0, 1]
    assert math.isnan(history["val_ece"][0])
    assert history["val_ece"][1] == 0.5


def test_damaged_files_are_named(tmp_path):
    run = RunFolder(tmp_path)
    with pytest.raises(InputError, match="no predictions on 'test'"):
        run.predictions("test")
    run.predictions_path("test").parent.mkdir()
    run.predictions_path("test").write_bytes(b"12345678901234567890")
    with pytest.raises(InputError, match=r"test\.safetensors is damaged"):
        run.predictions("test")
    run.result_path.write_text('{"schema": ')
    with pytest.raises(InputError, match=r"result\.json is no JSON"):
        run.result()
    run.result_path.write_text('{"schema": 1}')
    with pytest.raises(InputError, match=r"result\.json says nothing of 'recipe'"):
        run.result()
    run.result_path.write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"result\.json is damaged"):
        run.result()


@pytest.mark.parametrize(
    "content", [b"epoch,val_ece\n\xff,1\n", b"epoch,val_ece\n0\n", b"epoch,val_ece\n0,x\n"]
)
def test_a_damaged_history_is_named(tmp_path, content):
    run = RunFolder(tmp_path)
    run.history_path.write_bytes(content)
    with pytest.raises(InputError, match=r"metrics\.csv is damaged"):
        run.history()


@pytest.mark.parametrize(
    "content", [b"epoch,name,0\n0\n", b"epoch,name,0\n0,m,x\n", b"epoch,name,0,1\n0,m,1\n"]
)
def test_a_damaged_course_of_the_classes_is_named(tmp_path, content):
    run = RunFolder(tmp_path)
    run.stage("train").classes.write_bytes(content)
    with pytest.raises(InputError, match=r"classes\.csv is damaged"):
        run.class_history()


def test_runs_are_found_below_a_folder(tmp_path):
    for name in ("b/seed0", "a/seed1", "a/seed0"):
        RunFolder(tmp_path / name).write_result({})
    (tmp_path / "a/seed2").mkdir()
    assert [str(r.path.relative_to(tmp_path)) for r in find_runs([tmp_path])] == [
        "a/seed0",
        "a/seed1",
        "b/seed0",
    ]
    with pytest.raises(InputError, match="holds no finished run"):
        find_runs([tmp_path / "c"])
