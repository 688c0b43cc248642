"""What a loss learns for each class is written down, and whole after an interruption."""

import pytest
import torch

from calibrant import losses
from calibrant.training.run_folder import RunFolder
from calibrant.training.runner import run
from tests.training.test_runner import Killed, kill_at
from tests.training.tiny import tiny_recipe


@pytest.mark.parametrize(("loss", "names"), [("cals", ["multipliers", "rho"]), ("cals_hr", ["multipliers"])])
def test_the_course_of_a_resumed_run_is_whole(tmp_path, monkeypatch, loss, names):
    monkeypatch.setattr("calibrant.training.callbacks.PAUSE", 0.0)
    recipe = tiny_recipe(train__loss__name=loss, train__loss__args={"margin": 1.0})
    whole = run(recipe, tmp_path / "whole")
    with pytest.raises(Killed):
        run(recipe, tmp_path / "killed", listener=kill_at(8))
    resumed = run(recipe, tmp_path / "killed")
    course = whole.class_history()
    assert list(course) == names
    assert [len(rows) for rows in course["multipliers"]] == [3] * recipe.train.epochs
    assert course["multipliers"][0] != course["multipliers"][-1]
    assert resumed.class_history() == course
    assert whole.class_history("decouple") == {}
    header = whole.stage("train").classes.read_text().splitlines()[0]
    assert header == "epoch,name,0,1,2"


def test_a_loss_that_learns_nothing_for_classes_leaves_no_file(tmp_path):
    target = run(tiny_recipe(train__epochs=1), tmp_path / "run")
    assert not target.stage("train").classes.exists()
    assert RunFolder(tmp_path / "run").class_history() == {}


def test_the_state_of_a_class_is_what_the_loss_uses():
    cals = losses.create("cals", num_classes=3, multipliers=[1.0, 2.0, 3.0], rho=2.0)
    assert {k: v.tolist() for k, v in cals.class_state().items()} == {
        "multipliers": [1.0, 2.0, 3.0],
        "rho": [2.0] * 3,
    }
    hr = losses.create("cals_hr", num_classes=3)
    torch.testing.assert_close(hr.class_state()["multipliers"], torch.full((3,), 0.1, dtype=torch.float64))
    assert losses.create("ce").class_state() == {}
