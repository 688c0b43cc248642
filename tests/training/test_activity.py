"""Where the regulariser was active: counted in training without touching it."""

import pytest
import torch

from calibrant.losses import MarginLoss, create
from calibrant.training import activity
from calibrant.training.activity import Activity
from calibrant.training.runner import run
from tests.training.tiny import tiny_recipe

COLUMNS = {"active_samples", "active_classes"}


def test_the_shares_are_in_the_table_of_the_epochs_and_training_is_what_it_was(tmp_path, monkeypatch):
    recipe = tiny_recipe(train__loss__name="mbls", train__loss__args={"margin": 0.5}, train__epochs=2)
    watched = run(recipe, tmp_path / "watched")
    monkeypatch.setattr(Activity, "note", lambda *_: None)
    blind = run(recipe, tmp_path / "blind")
    ours, theirs = watched.history(), blind.history()
    assert ours.keys() - theirs.keys() == COLUMNS
    assert all(0 < ours["active_classes"][e] <= ours["active_samples"][e] < 1 for e in range(2))
    assert all(ours[name] == theirs[name] for name in theirs)
    after, alike = watched.read_weights("train"), blind.read_weights("train")
    assert all(torch.equal(after[name], alike[name]) for name in after)


def test_the_shares_are_told_of_mixed_images(tmp_path):
    mixed = {"train__mix__name": "mixup", "train__mix__alpha": 1.0, "train__loss__name": "acls"}
    assert run(tiny_recipe(train__epochs=1, **mixed), tmp_path).history().keys() >= COLUMNS


def test_of_binary_maps_the_images_that_have_a_level_are_active(monkeypatch):
    monkeypatch.setattr(activity, "ROWS", 8)
    loss = create("aslp_mc", num_samples=3)
    loss.alpha.copy_(torch.tensor([0.2, 0.0, 0.1]))
    looked = Activity(loss)
    target = torch.rand(4, 1, 6, 6).round()
    state = torch.get_rng_state()
    looked.note(torch.zeros(4, 1, 6, 6), target, torch.tensor([0, 1, 1, 2]))
    assert float(looked.shares()["active_samples"]) == 0.5
    assert torch.equal(torch.get_rng_state(), state)


def test_of_a_loss_without_a_condition_there_is_nothing_to_tell():
    looked = Activity(create("focal"))
    looked.note(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert looked.shares() == {}


def test_of_large_maps_and_long_epochs_some_are_looked_at_and_ignored_pixels_count_nowhere(monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(activity, "ROWS", 50)
    monkeypatch.setattr(activity, "BATCHES", 2)
    looked = Activity(MarginLoss(margin=1.0, ignore_index=255))
    looked.start(6)
    logits, target = torch.zeros(2, 3, 10, 10), torch.zeros(2, 10, 10, dtype=torch.long)
    # Every fourth pixel is looked at: of those of the first image three of five are ignored, the others moved.
    logits[0, 0] = 5.0
    target[0].view(-1)[:60] = 255
    for loud in (1.0, 0.0, 0.0, 0.0, 1.0, 1.0):
        looked.note(loud * logits, target)
    # The first and the fourth batch are looked at: 35 of the pixels count, and 10 of the first are moved.
    shares = looked.shares()
    assert float(shares["active_samples"]) == pytest.approx(10 / 70)
    assert float(shares["active_classes"]) == pytest.approx(10 / 70)
    looked.start(6)
    assert looked.shares() == {}


def test_the_rows_of_a_loss_that_learns_from_samples_keep_their_ids():
    loss = create("crl", num_samples=4)
    loss.correct.copy_(torch.tensor([0, 0, 2, 2]))
    loss.epoch.fill_(2)
    looked = Activity(loss)
    logits = torch.tensor([[3.0, 0.0], [1.0, 0.0], [0.5, 0.0]])
    looked.note(logits, torch.zeros(3, dtype=torch.long), torch.tensor([2, 3, 0]))
    # 3 and 0 are ranked against each other, 0 and 2 too; 2 and 3 are equals.
    assert float(looked.shares()["active_samples"]) == 1.0
    looked.start(1)
    looked.note(logits[:2], torch.zeros(2, dtype=torch.long), torch.tensor([2, 3]))
    assert float(looked.shares()["active_samples"]) == 0.0


def test_a_loss_that_gets_its_weights_later_has_no_closed_form_and_no_share():
    loss = create("meep")
    looked = Activity(loss)
    loss.weight = torch.tensor([1.0, 2.0, 3.0])
    looked.note(torch.randn(4, 3), torch.tensor([0, 1, 2, 0]))
    assert looked.shares() == {}
