"""Files that differ from the published ones are named in the note, and are read all the same."""

from hashlib import md5
from pathlib import Path

import pytest
from torchvision.datasets import CIFAR10, CIFAR100, SVHN, FashionMNIST

from calibrant import data
from tests.data.test_cifar import (
    NAMES10,
    RECORDS,
    records,
    write_binary10,
    write_pickle,
    write_pickles10,
    write_pickles100,
)
from tests.data.test_small_images import write_fashion, write_svhn


def sums(folder: Path) -> dict[str, str]:
    return {path.name: md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def flip(path: Path, at: int) -> None:
    """Change one byte."""
    raw = bytearray(path.read_bytes())
    raw[at] ^= 1
    path.write_bytes(raw)


def publish_cifar(monkeypatch, base: type[CIFAR10], folder: Path) -> None:
    known = sums(folder)
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(base, part, [[name, known[name]] for name, _ in getattr(base, part)])
    monkeypatch.setattr(base, "meta", {**base.meta, "md5": known[base.meta["filename"]]})


@pytest.mark.parametrize(
    ("base", "write", "name", "file"),
    [
        (CIFAR10, write_pickles10, "cifar10", "data_batch_3"),
        (CIFAR100, write_pickles100, "cifar100", "train"),
    ],
    ids=["cifar10", "cifar100"],
)
def test_a_pickle_of_another_checksum_is_named(tmp_path, monkeypatch, base, write, name, file):
    write(tmp_path)
    folder = tmp_path / base.base_folder
    publish_cifar(monkeypatch, base, folder)
    held = "5 of the 20 training images are held out for validation"
    task = data.create(name, root=tmp_path, val=5)
    assert task.note == held
    path = folder / file
    # In the middle of the pixels, so that it is a whole pickle still.
    flip(path, path.stat().st_size // 2)
    other = data.create(name, root=tmp_path, val=5)
    assert other.note == f"{held}; not as published, by their MD5: {file}"
    changed = [(a.images != b.images).sum() for a, b in ((task.train, other.train), (task.val, other.val))]
    assert sum(changed) == 1


def test_a_long_tail_names_them_too(tmp_path, monkeypatch):
    folder = tmp_path / CIFAR10.base_folder
    for name, _ in [*CIFAR10.train_list, *CIFAR10.test_list]:
        write_pickle(folder / name, {"data": records(0, 10, 10)[0], "labels": [*range(10)]})
    write_pickle(folder / "batches.meta", {"label_names": NAMES10})
    publish_cifar(monkeypatch, CIFAR10, folder)
    note = data.create("cifar10_lt", root=tmp_path, imbalance=5).note
    assert note == "long-tailed, 5 to 1 images a class; no validation images"
    flip(folder / "test_batch", 10_000)
    other = data.create("cifar10_lt", root=tmp_path, imbalance=5).note
    assert other == f"{note}; not as published, by their MD5: test_batch"


def test_all_files_that_were_packed_again_are_named_but_binary_ones_have_no_checksums(tmp_path):
    write_pickles10(tmp_path)
    named = [*(f"data_batch_{k}" for k in range(1, 6)), "test_batch", "batches.meta"]
    assert data.create("cifar10", root=tmp_path, val=5).note.endswith(f"MD5: {', '.join(named)}")
    write_binary10(tmp_path)
    task = data.create("cifar10", root=tmp_path, val=5)
    assert (len(task.test), "MD5" in task.note) == (RECORDS, False)


def test_a_file_of_svhn_of_another_checksum_is_named(tmp_path, monkeypatch):
    write_svhn(tmp_path)
    known = sums(tmp_path)
    published = {part: [url, name, known.get(name)] for part, (url, name, _) in SVHN.split_list.items()}
    monkeypatch.setattr(SVHN, "split_list", published)
    assert "MD5" not in data.create("svhn", root=tmp_path, val=4).note
    flip(tmp_path / "test_32x32.mat", 1000)
    assert data.create("svhn", root=tmp_path, val=4).note.endswith(
        "; not as published, by their MD5: test_32x32.mat"
    )


def test_a_packed_file_of_fashion_mnist_of_another_checksum_is_named(tmp_path, monkeypatch):
    write_fashion(tmp_path / "packed", packed=True)
    known = sums(tmp_path / "packed")
    monkeypatch.setattr(FashionMNIST, "resources", [(name, known[name]) for name, _ in FashionMNIST.resources])
    assert "MD5" not in data.create("fashion_mnist", root=tmp_path / "packed", val=5).note
    # The time in the header: the content is the same.
    flip(tmp_path / "packed" / "t10k-labels-idx1-ubyte.gz", 4)
    note = data.create("fashion_mnist", root=tmp_path / "packed", val=5).note
    assert note.endswith("; not as published, by their MD5: t10k-labels-idx1-ubyte.gz")
    write_fashion(tmp_path / "plain")
    assert "MD5" not in data.create("fashion_mnist", root=tmp_path / "plain", val=5).note
