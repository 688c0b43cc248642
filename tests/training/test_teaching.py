"""Validation samples that teach a loss and do nothing else."""

import pytest
import torch

from calibrant import data
from calibrant.data import TextSet, TextTask
from calibrant.data.teaching import set_apart
from calibrant.errors import InputError
from calibrant.losses import CALS
from calibrant.training.runner import read_data, run
from tests.training.test_runner import facts, run_with_interruptions
from tests.training.tiny import tiny_recipe

APART = {"train__loss__name": "cals", "train__loss__args": {"margin": 1.0}, "data__teach": 10}


def ids_of(loader):
    return torch.cat([batch["id"] for batch in loader]).tolist()


def test_they_are_no_part_of_what_chooses_and_calibrates(tmp_path):
    target = run(tiny_recipe(**APART), tmp_path / "run")
    everything = read_data(tiny_recipe())
    apart = read_data(tiny_recipe(**APART))
    watched, teaching = map(ids_of, apart.val_dataloader())
    assert (len(watched), len(teaching)) == (20, 10)
    assert sorted(watched + teaching) == sorted(everything.task.val.ids.tolist())
    assert target.predictions("val").ids.tolist() == watched
    described = target.result()["data"]
    assert described["val"] == 20
    assert described["note"].startswith("for tests; 10 more validation samples teach the losses")


def test_a_loss_learns_from_them_alone(tmp_path, monkeypatch):
    seen = []
    observe = CALS.observe

    def noted(self, logits, target=None, **more):
        seen.append((len(logits), target.tolist()))
        observe(self, logits, target, **more)

    monkeypatch.setattr(CALS, "observe", noted)
    recipe = tiny_recipe(**APART, trainer__eval_batch_size=6)
    target = run(recipe, tmp_path / "run")
    teaching = read_data(recipe).teaching
    assert [rows for rows, _ in seen] == [6, 4] * recipe.train.epochs
    assert seen[0][1] + seen[1][1] == teaching.targets.tolist()
    course = target.class_history()["multipliers"]
    assert course[0] != course[-1]
    assert target.history()["val_accuracy"][-1] == pytest.approx(
        (target.predictions("val").logits.argmax(1) == target.predictions("val").targets).double().mean().item()
    )


def test_a_loss_that_learns_nothing_is_judged_on_the_same_samples(tmp_path):
    """So that a comparison stays fair."""
    plain = run(tiny_recipe(data__teach=10), tmp_path / "plain")
    taught = run(tiny_recipe(**APART), tmp_path / "taught")
    assert plain.predictions("val").ids.tolist() == taught.predictions("val").ids.tolist()


def test_an_interruption_changes_nothing(tmp_path, monkeypatch):
    whole = run(tiny_recipe(**APART), tmp_path / "whole")
    broken = run_with_interruptions(tiny_recipe(**APART), tmp_path / "broken", [2, 5, 11], monkeypatch)
    assert facts(broken) == facts(whole)
    assert broken.class_history() == whole.class_history()


def test_a_loss_may_learn_where_test_images_choose_the_epoch(tmp_path):
    with pytest.raises(InputError, match=r"choose 'best' or 'last', or give it others with data.teach"):
        run(tiny_recipe(**{**APART, "data__teach": None}, train__select="test_best"), tmp_path / "refused")
    target = run(tiny_recipe(**APART, train__select="test_best"), tmp_path / "run")
    assert target.result()["selected_on_test"]
    assert "test_accuracy" in target.history()


def test_texts_and_maps_can_be_set_apart():
    rows = torch.arange(12).reshape(6, 2)
    texts = TextSet(rows, torch.tensor([0, 1, 0, 1, 0, 1]), torch.arange(6) + 50)
    task, teaching = set_apart(TextTask(texts, texts, texts, ["a", "b"], [], None), 2, seed=1)
    assert sorted(task.val.ids.tolist() + teaching.ids.tolist()) == texts.ids.tolist()
    for part in (task.val, teaching):
        assert torch.equal(part.tokens, rows[part.ids - 50])
    maps = data.create("tiny_maps", val=4)
    task, teaching = set_apart(maps, 1, seed=1)
    assert sorted(task.val.names + teaching.names) == sorted(maps.val.names)


@pytest.mark.parametrize("count", [0, 30, 31])
def test_some_must_be_left_to_choose_and_calibrate(tmp_path, count):
    with pytest.raises(InputError, match=rf"data.teach asks for {count} of 30 validation samples"):
        run(tiny_recipe(data__teach=count), tmp_path)
