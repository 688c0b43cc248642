import pytest
import torch

from calibrant.data.splits import newsgroup_split, per_class_tail_split
from calibrant.errors import InputError


def test_newsgroups_are_divided_without_overlap():
    parts = newsgroup_split(200, val=30, test_share=0.25, seed=3)
    assert [len(part) for part in parts] == [120, 30, 50]
    assert torch.cat(parts).sort().values.tolist() == list(range(200))
    assert newsgroup_split(200, val=30, seed=4)[0].tolist() != newsgroup_split(200, val=30, seed=3)[0].tolist()


def test_each_class_gives_as_many_to_validation():
    labels = torch.tensor([2] * 6 + [0] * 4 + [1] * 5)
    train, val = per_class_tail_split(labels, 3, seed=0)
    assert labels[val].bincount().tolist() == [3, 3, 3]
    assert torch.cat([train, val]).sort().values.tolist() == list(range(15))
    assert labels[train].tolist() == [2] * 3 + [0] + [1] * 2


def test_something_must_be_left_for_training():
    with pytest.raises(InputError, match="100 documents cannot give 90 to validation and 20 to test"):
        newsgroup_split(100, val=90)
    with pytest.raises(InputError, match="Class 1 has 2 samples"):
        per_class_tail_split(torch.tensor([0, 0, 0, 1, 1]), 2)
