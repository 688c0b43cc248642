"""Fashion-MNIST, SVHN and Quick, Draw!, as miniatures of their exact files."""

import gzip
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat
from torchvision.datasets import SVHN, FashionMNIST

from calibrant import data
from calibrant.errors import InputError


def grey(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_fashion(folder: Path, *, packed: bool = False) -> None:
    folder.mkdir(parents=True)
    for part, count in (("train", 30), ("t10k", 7)):
        images, labels = grey(count, count, 28, 28), (np.arange(count) % 10).astype(np.uint8)
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            raw = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
            (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(raw) if packed else raw)


@pytest.mark.parametrize(
    ("place", "packed"), [("FashionMNIST/raw", False), ("FashionMNIST/raw", True), (".", False), (".", True)]
)
def test_fashion_mnist_is_read_plain_and_packed_as_torchvision_reads_it(tmp_path, place, packed):
    write_fashion(tmp_path / "set" / place, packed=packed)
    task = data.create("fashion_mnist", root=tmp_path / "set", val=5)
    assert [len(part) for part in (task.train, task.val, task.test)] == [25, 5, 7]
    assert (task.class_names[0], task.class_names[9]) == ("T-shirt/top", "Ankle boot")
    images = grey(30, 30, 28, 28)
    assert np.array_equal(task.train.images[:, 0].numpy(), images[task.train.ids.numpy()])
    assert task.train.targets.tolist() == (task.train.ids % 10).tolist()
    assert (task.mean, task.std) == ([pytest.approx(72.93)], [pytest.approx(90.015)])
    if place != "." and not packed:
        theirs = FashionMNIST(tmp_path / "set", train=False)
        assert torch.equal(task.test.images[:, 0], theirs.data)
        assert torch.equal(task.test.targets, theirs.targets)
        assert task.class_names == theirs.classes


def test_fashion_mnist_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError) as caught:
        data.create("fashion_mnist", root=tmp_path)
    for part in (str(tmp_path), "FashionMNIST/raw/train-images-idx3-ubyte", "data.download"):
        assert part in str(caught.value)
    write_fashion(tmp_path / "a")
    path = tmp_path / "a" / "train-images-idx3-ubyte"
    whole = path.read_bytes()
    for raw in (whole[:-1], whole + b"x", b"", whole[:3], b"\x00\x00\x0d\x03" + whole[4:]):
        path.write_bytes(raw)
        with pytest.raises(InputError, match="is no whole idx file of bytes with 3 axes"):
            data.create("fashion_mnist", root=tmp_path / "a", val=5)
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"data\.train and data\.val"):
        data.create("fashion_mnist", root=tmp_path / "a", val=31)
    labels = tmp_path / "a" / "train-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x0b")
    with pytest.raises(InputError, match="do not belong to its images"):
        data.create("fashion_mnist", root=tmp_path / "a", val=5)
    labels.unlink()
    with pytest.raises(InputError, match=r"lacks train-labels-idx1-ubyte, which may also be .*\.gz"):
        data.create("fashion_mnist", root=tmp_path / "a", val=5)
    write_fashion(tmp_path / "b", packed=True)
    path = tmp_path / "b" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match="cannot be unpacked"):
        data.create("fashion_mnist", root=tmp_path / "b", val=5)


def write_svhn(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", 24), ("test", 10)):
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)
        savemat(folder / f"{part}_32x32.mat", {"X": grey(count, 32, 32, 3, count), "y": labels[:, None]})


def test_svhn_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    write_svhn(tmp_path)
    task = data.create("svhn", root=tmp_path, val=4)
    assert [len(part) for part in (task.train, task.val, task.test)] == [20, 4, 10]
    monkeypatch.setattr(SVHN, "_check_integrity", lambda _: True)
    theirs = SVHN(tmp_path, split="test")
    assert np.array_equal(task.test.images.numpy(), theirs.data)
    # The digit 0 has the label 10 in the file.
    assert task.test.targets.tolist() == [*range(1, 10), 0] == theirs.labels.tolist()
    assert (task.padding, task.flip) == (4, False)
    nested = tmp_path / "below"
    write_svhn(nested / "svhn")
    assert torch.equal(data.create("svhn", root=nested, val=4).train.images, task.train.images)


def test_svhn_says_what_is_wrong(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"train_32x32\.mat or svhn/train_32x32\.mat was expected"):
        data.create("svhn", root=tmp_path)
    write_svhn(tmp_path)
    path = tmp_path / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=r"test_32x32\.mat cannot be read as a file of SVHN"):
        data.create("svhn", root=tmp_path, val=4)
    savemat(path, {"X": grey(0, 32, 32, 3, 4), "y": np.ones((3, 1), np.uint8)})
    with pytest.raises(InputError, match=r"of shape \(32, 32, 3, 4\), not \(32, 32, 3, 3\)"):
        data.create("svhn", root=tmp_path, val=4)
    path.unlink()
    with pytest.raises(InputError, match=r"lacks test_32x32\.mat"):
        data.create("svhn", root=tmp_path, val=4)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(InputError, match="needs SciPy: pip install scipy"):
        data.create("svhn", root=tmp_path, val=4)


def write_quickdraw(root: Path, **changes: np.ndarray) -> None:
    root.mkdir(parents=True, exist_ok=True)
    arrays = {"classes": np.asarray(["airplane", "ant", "zebra"])}
    for part, each in (("train", 40), ("test", 5)):
        arrays |= {f"x_{part}": grey(each, 3 * each, 28, 28), f"y_{part}": np.repeat(np.arange(3), each)}
    np.savez_compressed(
        root / "quickdraw345.npz", **{k: v for k, v in (arrays | changes).items() if v is not None}
    )


def test_quickdraw_holds_out_drawings_of_every_class(tmp_path):
    write_quickdraw(tmp_path)
    task = data.create("quickdraw", root=tmp_path)
    assert task.class_names == ["airplane", "ant", "zebra"]
    assert task.class_counts.tolist() == [30, 30, 30]
    assert task.val.targets.bincount().tolist() == [10, 10, 10]
    assert task.test.targets.bincount().tolist() == [5, 5, 5]
    drawings = grey(40, 120, 28, 28)
    assert np.array_equal(task.train.images[:, 0].numpy(), drawings[task.train.ids.numpy()])
    assert not set(task.train.ids.tolist()) & set(task.val.ids.tolist())
    assert (task.mean, task.std) == (
        [pytest.approx(drawings.mean())],
        [pytest.approx(drawings.std(), rel=1e-4)],
    )
    assert data.create("quickdraw", root=tmp_path, train=12, val=3).class_counts.tolist() == [4, 4, 4]


def test_quickdraw_has_a_long_tail(tmp_path):
    write_quickdraw(tmp_path / "quickdraw")
    task = data.create("quickdraw_lt", root=tmp_path, val=30, imbalance=15)
    assert task.class_counts.tolist() == [30, 7, 2]
    assert task.val.targets.bincount().tolist() == [10, 10, 10]
    assert task.test.targets.bincount().tolist() == [5, 5, 5]
    assert task.groups == "counts"
    assert "long-tailed, 30 to 2 images a class" in task.note
    assert data.create("quickdraw_lt", root=tmp_path).class_counts.tolist() == [30, 6, 1]


def test_quickdraw_is_read_as_it_is_published(tmp_path):
    folder = tmp_path / "numpy_bitmap"
    folder.mkdir()
    drawings = np.random.default_rng(0).integers(0, 256, (2, 130, 784), dtype=np.uint8)
    for name, some in zip(("ant", "full_numpy_bitmap_the Eiffel Tower"), drawings, strict=True):
        np.save(folder / f"{name}.npy", some)
    task = data.create("quickdraw", root=tmp_path, val=10)
    assert task.class_names == ["ant", "the Eiffel Tower"]
    assert [len(part) for part in (task.train, task.val, task.test)] == [150, 10, 40]
    assert np.array_equal(task.test.images[-1, 0].numpy(), drawings[1, 99].reshape(28, 28))
    assert task.test.targets.tolist() == [0] * 20 + [1] * 20
    np.save(folder / "the Eiffel Tower.npy", drawings[1])
    with pytest.raises(InputError, match="holds two files of 'the Eiffel Tower': keep one"):
        data.create("quickdraw", root=tmp_path)
    (folder / "the Eiffel Tower.npy").unlink()
    np.save(folder / "bee.npy", drawings[0, :99])
    with pytest.raises(InputError, match=r"bee\.npy holds uint8 values of shape \(99, 784\), but 100 or more"):
        data.create("quickdraw", root=tmp_path)
    (folder / "bee.npy").write_bytes(b"no array")
    with pytest.raises(InputError, match=r"bee\.npy cannot be read as an array"):
        data.create("quickdraw", root=tmp_path)


def test_quickdraw_says_what_is_wrong(tmp_path):
    with pytest.raises(
        InputError, match=r"a folder numpy_bitmap with NAME\.npy, or quickdraw345\.npz, was expected"
    ):
        data.create("quickdraw", root=tmp_path)
    write_quickdraw(tmp_path, classes=None)
    with pytest.raises(InputError, match="lacks the array classes"):
        data.create("quickdraw", root=tmp_path)
    write_quickdraw(tmp_path, x_test=np.zeros((15, 784), np.uint8))
    with pytest.raises(InputError, match=r"x_test of quickdraw345\.npz must be \(N, H, W\) uint8"):
        data.create("quickdraw", root=tmp_path)
    path = tmp_path / "quickdraw345.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match=r"cannot be read as an \.npz file"):
        data.create("quickdraw", root=tmp_path)


def test_labels_that_no_class_has_are_refused(tmp_path):
    write_quickdraw(tmp_path, y_test=np.repeat(np.arange(3), 5) + 1)
    with pytest.raises(
        InputError, match=r"y_test of quickdraw345\.npz holds labels from 1 to 3, but it names 3"
    ):
        data.create("quickdraw", root=tmp_path)
