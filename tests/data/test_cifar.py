"""Both official layouts, as miniatures of a few records a file."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from calibrant import data
from calibrant.errors import InputError

RECORDS = 4
NAMES10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
NAMES100 = [f"class{i}" for i in range(100)]


def records(seed: int, classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 256, (count, 3072), dtype=np.uint8)
    return pixels, generator.permutation(-np.arange(1, count + 1) % classes).astype(np.uint8)


def write_pickle(path: Path, content: dict[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_binary10(root: Path, each: int = RECORDS) -> None:
    folder = root / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for i, name in enumerate([*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"]):
        pixels, labels = records(i, 10, each)
        (folder / name).write_bytes(np.concatenate([labels[:, None], pixels], 1).tobytes())
    (folder / "batches.meta.txt").write_text("\n".join(NAMES10) + "\n\n")


def write_pickles10(root: Path) -> None:
    folder = root / "cifar-10-batches-py"
    for i, name in enumerate([*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"]):
        pixels, labels = records(i, 10, RECORDS)
        write_pickle(folder / name, {"data": pixels, "labels": labels.tolist(), "batch_label": name})
    write_pickle(folder / "batches.meta", {"label_names": NAMES10, "num_vis": 3072})


def write_binary100(root: Path, each: int = RECORDS) -> None:
    folder = root / "cifar-100-binary"
    folder.mkdir(parents=True)
    for i, (name, count) in enumerate([("train.bin", 5 * each), ("test.bin", each)]):
        pixels, fine = records(i, 100, count)
        (folder / name).write_bytes(np.concatenate([fine[:, None] // 5, fine[:, None], pixels], 1).tobytes())
    (folder / "fine_label_names.txt").write_text("\n".join(NAMES100) + "\n")


def write_pickles100(root: Path) -> None:
    folder = root / "cifar-100-python"
    for i, (name, count) in enumerate([("train", 5 * RECORDS), ("test", RECORDS)]):
        pixels, fine = records(i, 100, count)
        write_pickle(folder / name, {"data": pixels, "fine_labels": fine.tolist(), "coarse_labels": []})
    write_pickle(folder / "meta", {"fine_label_names": NAMES100, "coarse_label_names": []})


LAYOUTS = [
    ("cifar10", write_binary10, NAMES10),
    ("cifar10", write_pickles10, NAMES10),
    ("cifar100", write_binary100, NAMES100),
    ("cifar100", write_pickles100, NAMES100),
]


@pytest.mark.parametrize(("name", "write", "classes"), LAYOUTS, ids=lambda v: getattr(v, "__name__", None))
def test_a_layout_is_read_as_it_was_written(tmp_path, name, write, classes):
    write(tmp_path)
    task = data.create(name, root=tmp_path, val=5)
    assert task.class_names == classes
    assert (len(task.train), len(task.val), len(task.test)) == (15, 5, RECORDS)
    last = 5 if name == "cifar10" else 1
    pixels, labels = records(last, len(classes), RECORDS)
    assert torch.equal(task.test.images, torch.from_numpy(pixels).reshape(-1, 3, 32, 32))
    assert task.test.targets.tolist() == labels.tolist()
    if name == "cifar10":
        everything = [records(i, 10, RECORDS) for i in range(5)]
        pixels, labels = (np.concatenate(part) for part in zip(*everything, strict=True))
        at = task.train.ids
        assert torch.equal(task.train.images, torch.from_numpy(pixels).reshape(-1, 3, 32, 32)[at])
        assert torch.equal(task.train.targets, torch.from_numpy(labels).long()[at])


def test_both_layouts_give_the_same_data(tmp_path):
    write_binary10(tmp_path / "a")
    write_pickles10(tmp_path / "b")
    one, two = (data.create("cifar10", root=tmp_path / r, val=5) for r in "ab")
    for split in ("train", "val", "test"):
        a, b = getattr(one, split), getattr(two, split)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.targets, b.targets)
        assert torch.equal(a.ids, b.ids)


def test_the_split_is_the_head_of_the_legacy_shuffle_and_keeps_parts_apart(tmp_path):
    write_binary10(tmp_path)
    task = data.create("cifar10", root=tmp_path, val=5, split_seed=1)
    order = np.arange(20)
    np.random.RandomState(1).shuffle(order)
    assert task.val.ids.tolist() == order[:5].tolist()
    assert task.train.ids.tolist() == order[5:].tolist()
    fewer = data.create("cifar10", root=tmp_path, val=5, train=3, split_seed=1)
    assert fewer.train.ids.tolist() == order[5:8].tolist()


def test_a_missing_folder_is_one_sentence_that_says_where_what_and_how(tmp_path):
    with pytest.raises(InputError) as caught:
        data.create("cifar10", root=tmp_path / "nowhere")
    message = str(caught.value)
    for part in (str(tmp_path / "nowhere"), "cifar-10-batches-py", "cifar-10-batches-bin", "data.download"):
        assert part in message
    assert message.count(". ") == 0


def test_a_missing_or_cut_file_is_named(tmp_path):
    write_binary10(tmp_path)
    batch = tmp_path / "cifar-10-batches-bin" / "data_batch_3.bin"
    batch.write_bytes(batch.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"data_batch_3\.bin has 12,285 bytes"):
        data.create("cifar10", root=tmp_path, val=5)
    batch.unlink()
    with pytest.raises(InputError, match=r"lacks data_batch_3\.bin"):
        data.create("cifar10", root=tmp_path, val=5)


@pytest.mark.parametrize(("name", "write", "classes"), LAYOUTS, ids=lambda v: getattr(v, "__name__", None))
def test_every_file_is_missed(tmp_path, name, write, classes):
    write(tmp_path)
    (folder,) = tmp_path.iterdir()
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        path.unlink()
        with pytest.raises(InputError) as caught:
            data.create(name, root=tmp_path, val=5)
        message = str(caught.value)
        assert message.startswith(f"{folder} lacks {path.name}, one of the files of CIFAR-10")
        assert message.count(". ") == 0
        path.write_bytes(whole)
    assert data.create(name, root=tmp_path, val=5).class_names == classes


@pytest.mark.parametrize("file", ["data_batch_2", "batches.meta"])
def test_a_cut_pickle_is_named(tmp_path, file):
    write_pickles10(tmp_path)
    batch = tmp_path / "cifar-10-batches-py" / file
    for raw in (batch.read_bytes()[:100], b"", b"no pickle", pickle.dumps({"other": 1})):
        batch.write_bytes(raw)
        with pytest.raises(
            InputError, match=r"A file in .*cifar-10-batches-py is damaged \(.*\): fetch it again"
        ):
            data.create("cifar10", root=tmp_path, val=5)


def test_fewer_names_than_labels_are_refused(tmp_path):
    write_binary10(tmp_path)
    (tmp_path / "cifar-10-batches-bin" / "batches.meta.txt").write_text("airplane\nautomobile\n")
    with pytest.raises(InputError, match="has the label 9, but names for 2 classes: fetch it again"):
        data.create("cifar10", root=tmp_path, val=5)


def test_a_part_larger_than_the_data_is_refused(tmp_path):
    write_binary10(tmp_path)
    with pytest.raises(InputError, match=r"data\.train and data\.val"):
        data.create("cifar10", root=tmp_path, val=30)
