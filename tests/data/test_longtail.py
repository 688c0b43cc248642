"""Long tails: how many images, which ones, and what is held out before they are cut."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from calibrant import data
from calibrant.data.image_set import ImageSet, ImageTask
from calibrant.data.longtail import class_map_by_count, long_tailed, long_tailed_counts, long_tailed_selection
from calibrant.errors import InputError
from tests.data.test_cifar import RECORDS, write_binary10


def balanced(classes: int = 4, each: int = 30) -> ImageTask:
    count = classes * each
    targets = torch.arange(count) % classes
    pixels = torch.arange(count)[:, None, None, None].expand(count, 3, 2, 2).to(torch.uint8)
    train = ImageSet(pixels, targets, torch.arange(count))
    test = ImageSet(pixels[:8], targets[:8], torch.arange(8))
    return ImageTask(train, train.subset(torch.arange(0)), test, [str(c) for c in range(classes)])


@given(st.integers(2, 40), st.integers(1, 60), st.floats(1, 60))
def test_counts_fall_from_all_to_the_imbalance(classes, each, imbalance):
    if int(each * (1 / imbalance)) < 1:
        return
    counts = long_tailed_counts(classes, classes * each, imbalance)
    assert counts[0] == each
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == int(each * (1 / imbalance))


def test_a_step_leaves_half_of_the_classes_whole():
    assert long_tailed_counts(5, 50, 5, "step") == [10, 10, 2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((10, 100, 0.5), "at least 1, not 0.5"),
        ((10, 100, 20), "leaves no image to the last class, which has 10"),
        ((10, 100, 2, "linear"), "'exp' or 'step', not 'linear'"),
    ],
)
def test_counts_that_cannot_be_are_refused(arguments, said):
    with pytest.raises(InputError, match=said):
        long_tailed_counts(*arguments)


def test_more_images_than_there_are_cannot_be_kept():
    with pytest.raises(InputError, match="Class 1 has 1 images, of which 2 cannot be kept"):
        long_tailed_selection(torch.tensor([0, 1]), [1, 2])


def test_the_choice_is_a_function_of_the_seed_and_keeps_no_image_twice():
    targets = torch.arange(60) % 3
    first, again, other = (long_tailed_selection(targets, [20, 5, 2], seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert len(first.unique()) == 27
    assert targets[first].bincount().tolist() == [20, 5, 2]


def test_validation_is_balanced_and_set_aside_before_the_tail_is_cut():
    task = long_tailed(balanced(), 8, imbalance=5.0)
    assert task.val.targets.bincount().tolist() == [2, 2, 2, 2]
    assert task.train.targets.bincount().tolist() == long_tailed_counts(4, 112, 5.0)
    assert not set(task.train.ids.tolist()) & set(task.val.ids.tolist())
    for part in (task.train, task.val):
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.ids)
        assert torch.equal(part.targets, part.ids % 4)
    assert "28 to 5 images a class; 8 images, 2 of each class, validate" in task.note


def test_without_validation_the_tail_is_the_published_one():
    task = long_tailed(balanced(), 0, imbalance=5.0)
    assert len(task.val) == 0
    counts = long_tailed_counts(4, 120, 5.0)
    assert torch.equal(task.train.ids, long_tailed_selection(torch.arange(120) % 4, counts, 0))
    assert "no validation images" in task.note


def test_validation_images_must_divide_among_the_classes():
    with pytest.raises(InputError, match="a multiple of the 4 classes, not 6"):
        long_tailed(balanced(), 6, imbalance=5.0)


def test_long_tailed_cifar_reads_what_cifar_reads(tmp_path):
    write_binary10(tmp_path)
    for file in range(5):
        path = tmp_path / "cifar-10-batches-bin" / f"data_batch_{file + 1}.bin"
        records = bytearray(path.read_bytes())
        for record in range(RECORDS):
            records[record * 3073] = (file * RECORDS + record) % 10
        path.write_bytes(records)
    whole = data.create("cifar10", root=tmp_path, val=0).train
    task = data.create("cifar10_lt", root=tmp_path, imbalance=2)
    assert task.class_counts.tolist() == [2, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert torch.equal(task.train.images, whole.images[whole.ids.argsort()][task.train.ids])
    assert len(task.test) == RECORDS
    assert task.groups == "mislas"


def test_the_map_by_count_keeps_ties_in_order():
    targets = torch.tensor([3, 3, 0, 1, 2, 2])
    assert class_map_by_count(targets).tolist() == [2, 3, 0, 1]
    assert class_map_by_count(targets, 5).tolist() == [2, 3, 0, 1, 4]
