import pytest
import torch

from calibrant import data
from calibrant.errors import InputError


def test_the_test_images_are_the_same_whatever_the_training_size():
    one, two = data.create("digits"), data.create("digits", train=50, val=100)
    assert (len(one.train), len(one.val), len(one.test)) == (200, 400, 1197)
    assert torch.equal(one.test.ids, two.test.ids)
    assert len(two.train) == 50


def test_parts_are_disjoint_and_ids_lead_back_to_the_images():
    from sklearn.datasets import load_digits

    task = data.create("digits")
    ids = torch.cat([task.train.ids, task.val.ids, task.test.ids])
    assert len(set(ids.tolist())) == 1797
    original = torch.from_numpy(load_digits().images)
    assert torch.equal(original[task.val.ids], task.val.images.squeeze(1).double())


def test_every_class_trains_and_the_note_says_how_few_images():
    task = data.create("digits")
    assert task.train.targets.bincount(minlength=10).min() > 5
    assert "only 200 of the 1,797" in task.note


def test_the_statistics_are_those_of_the_pixels():
    task = data.create("digits")
    pixels = task.train.images.float()
    assert abs(pixels.mean() - task.mean[0]) < 0.2
    assert abs(pixels.std() - task.std[0]) < 0.2


def test_too_many_images_and_unknown_options_are_refused():
    with pytest.raises(InputError, match=r"data\.train"):
        data.create("digits", train=1000)
    with pytest.raises(InputError, match="did you mean"):
        data.create("digits", trian=3)
    with pytest.raises(InputError, match="did you mean 'digits'"):
        data.create("digit")
