"""The readers on real data sets, where CALIBRANT_DATA names a folder that holds them; else skipped.

What is expected is what is published of the sets, or read from their files by another library.
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10, FashionMNIST

from calibrant import data

_FOLDER = os.environ.get("CALIBRANT_DATA")
# Statistics of pixels from 0 to 255 are published as four digits of the range from 0 to 1.
ROUNDED = 255 * 0.00005 + 1e-6


def real(*names: str) -> Path:
    missing = [name for name in names if _FOLDER is None or not Path(_FOLDER, name).exists()]
    if missing:
        pytest.skip(f"CALIBRANT_DATA names no folder that holds {missing[0]}")
    return Path(str(_FOLDER))


def lines(path: Path) -> list[str]:
    return path.read_text().split()


@pytest.mark.parametrize("layout", ["cifar-10-batches-bin", "cifar-10-batches-py"])
def test_cifar10(tmp_path, layout):
    (tmp_path / layout).symlink_to(real(layout).resolve() / layout)
    task = data.create("cifar10", root=tmp_path)
    assert [len(part) for part in (task.train, task.val, task.test)] == [45_000, 5_000, 10_000]
    assert task.test.targets.bincount().tolist() == [1000] * 10
    images = torch.cat([task.train.images, task.val.images])
    assert len(images) == len(torch.cat([task.train.ids, task.val.ids]).unique()) == 50_000
    pixels = images.flatten(2).double()
    assert pixels.mean((0, 2)).tolist() == pytest.approx(task.mean, abs=ROUNDED)
    # What the field calls its deviation is the mean over images of the deviation within one.
    assert pixels.std(2).mean(0).tolist() == pytest.approx(task.std, abs=ROUNDED)


def test_both_layouts_of_cifar10_hold_what_torchvision_reads(tmp_path):
    folder = real("cifar-10-batches-bin", "cifar-10-batches-py")

    class Repacked(CIFAR10):
        train_list = tuple([name, None] for name, _ in CIFAR10.train_list)
        test_list = tuple([name, None] for name, _ in CIFAR10.test_list)

    theirs = Repacked(folder, train=False)
    for layout in ("cifar-10-batches-bin", "cifar-10-batches-py"):
        (tmp_path / layout).mkdir()
        (tmp_path / layout / layout).symlink_to(folder.resolve() / layout)
        task = data.create("cifar10", root=tmp_path / layout)
        assert np.array_equal(task.test.images.permute(0, 2, 3, 1).numpy(), theirs.data)
        assert task.test.targets.tolist() == theirs.targets
        assert task.class_names == theirs.classes


def test_the_long_tail_of_cifar10_has_the_published_number_of_images():
    task = data.create("cifar10_lt", root=real("cifar-10-batches-bin"))
    assert task.train.targets.bincount().tolist() == [5000, 2997, 1796, 1077, 645, 387, 232, 139, 83, 50]
    assert (len(task.train), len(task.test)) == (12_406, 10_000)


def test_fashion_mnist():
    folder = real("FashionMNIST")
    task = data.create("fashion_mnist", root=folder)
    theirs = FashionMNIST(folder, train=False)
    assert torch.equal(task.test.images[:, 0], theirs.data)
    assert torch.equal(task.test.targets, theirs.targets)
    training = FashionMNIST(folder, train=True).data.double()
    assert (task.mean, task.std) == (
        [pytest.approx(float(training.mean()), abs=ROUNDED)],
        [pytest.approx(float(training.std()), abs=ROUNDED)],
    )


def test_newsgroups():
    folder = real("20news-bydate-train", "glove.6B")
    task = data.create("newsgroups", root=folder, val=900)
    documents = sum(len(list(group.iterdir())) for group in (folder / "20_newsgroups").iterdir())
    parts = [len(part) for part in (task.train, task.val, task.test)]
    assert (sum(parts), parts[1], parts[2]) == (documents, 900, documents // 5)
    assert task.class_names == sorted(group.name for group in (folder / "20_newsgroups").iterdir())
    assert task.train.tokens.shape[1] == 1000


@pytest.mark.parametrize("name", ["r8", "r52"])
def test_reuters(name):
    folder = real(name, "glove.6B")
    columns = {"text": 1, "label": 0}
    files = {"train_file": f"{name}/train.tsv", "test_file": f"{name}/test.tsv"}
    task = data.create("text_table", root=folder, val=0, **columns, **files)
    for file, part in zip(files.values(), (task.train, task.test), strict=True):
        with open(folder / file, newline="") as opened:
            labels = [row[0] for row in csv.reader(opened, delimiter="\t", quoting=csv.QUOTE_NONE)]
        said = [task.class_names[target] for target in part.targets.tolist()]
        assert sorted(said) == sorted(labels)


def test_quickdraw():
    folder = real("quickdraw345.npz")
    task = data.create("quickdraw", root=folder)
    counts = [part.targets.bincount().unique().tolist() for part in (task.train, task.val, task.test)]
    assert (counts, len(task.class_names)) == ([[70], [10], [20]], 345)
    tail = data.create("quickdraw_lt", root=folder).train.targets.bincount()
    assert (tail[0], tail[-1], len(tail)) == (70, 3, 345)
    assert torch.equal(tail, tail.sort(descending=True).values)


def test_salient_objects_and_textures():
    folder = real("cutouts-sod", "textures")
    task = data.create("saliency", root=folder / "cutouts-sod", ood_folder=str(folder.resolve() / "textures"))
    for part, name in ((task.train, "train"), (task.val, "val"), (task.test, "test")):
        assert sorted(pair.name for pair in part.pairs) == sorted(lines(folder / "cutouts-sod" / f"{name}.txt"))
    first = task.test.pairs[0]
    shown = np.asarray(Image.open(first.label).convert("L"))
    assert np.array_equal(task.test.label(0), shown)
    assert set(np.unique(shown)) == {0, 255}
    textures = task.ood["textures"]
    assert len(textures) == len([path for path in (folder / "textures").iterdir() if path.suffix == ".jpg"])
    assert not textures.label(0).any()
    assert textures[0]["image"].shape == (3, 320, 320)


def test_semantic_segmentation():
    folder = real("cutouts-voc")
    task = data.create("voc", root=folder / "cutouts-voc", test_list="test", val_list="val")
    assert task.class_names == (folder / "cutouts-voc" / "classes.txt").read_text().splitlines()
    lists = folder / "cutouts-voc" / "ImageSets" / "Segmentation"
    for part, name in ((task.train, "train"), (task.val, "val"), (task.test, "test")):
        assert [pair.name for pair in part.pairs] == lines(lists / f"{name}.txt")
    shown = np.asarray(Image.open(task.test.pairs[0].label))
    assert np.array_equal(task.test.label(0), shown)
    assert {0, 255} < set(np.unique(shown))
    counted = sum(
        (np.bincount(np.asarray(Image.open(pair.label)).ravel(), minlength=256) for pair in task.test.pairs),
        np.zeros(256, np.int64),
    )
    assert task.test.pixel_counts().tolist() == counted[: len(task.class_names)].tolist()
