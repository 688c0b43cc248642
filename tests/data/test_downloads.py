"""What is fetched when it is asked for, and what is said when it cannot be; the network is a stand-in."""

import re
import tarfile
from http.client import IncompleteRead
from pathlib import Path
from urllib.error import URLError

import pytest
from torchvision.datasets import CIFAR10, SVHN, FashionMNIST
from torchvision.datasets.voc import DATASET_YEAR_DICT

from calibrant import data
from calibrant.data import downloads
from calibrant.errors import InputError
from tests.data.test_cifar import write_pickles10
from tests.data.test_label_maps import SMALL, write_voc
from tests.data.test_small_images import write_fashion, write_svhn


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder whose files are fetched by the end of their address; returns it and what was asked for."""
    folder, asked = tmp_path / "served", []

    def answer(url: str, root: Path, filename: str, md5: str) -> None:
        asked.append((url, md5))
        root.mkdir(parents=True, exist_ok=True)
        (root / filename).write_bytes((folder / url.rsplit("/", 1)[1]).read_bytes())

    monkeypatch.setattr(downloads, "download_url", answer)
    return folder, asked


def test_cifar_is_fetched_and_unpacked(tmp_path, served):
    folder, asked = served
    write_pickles10(tmp_path / "made")
    folder.mkdir()
    with tarfile.open(folder / CIFAR10.filename, "w:gz") as archive:
        archive.add(tmp_path / "made" / CIFAR10.base_folder, CIFAR10.base_folder)
    root = tmp_path / "root"
    assert len(data.create("cifar10", root=root, val=5, download=True).train) == 15
    assert len(data.create("cifar10", root=root, val=5, download=True).val) == 5
    assert asked == [(CIFAR10.url, CIFAR10.tgz_md5)]
    (root / CIFAR10.base_folder / "batches.meta").unlink()
    assert data.create("cifar10", root=root, val=5, download=True).class_names[0] == "airplane"
    assert len(asked) == 2


def test_voc_is_fetched_and_unpacked(tmp_path, served):
    folder, asked = served
    published = DATASET_YEAR_DICT["2012"]
    write_voc(tmp_path / "made" / published["base_dir"])
    folder.mkdir()
    with tarfile.open(folder / published["filename"], "w") as archive:
        archive.add(tmp_path / "made" / "VOCdevkit", "VOCdevkit")
    root = tmp_path / "root"
    for _ in range(2):
        assert len(data.create("voc", root=root, download=True, **SMALL).test) == 3
    assert asked == [(published["url"], published["md5"])]
    assert sorted(path.name for path in root.iterdir()) == ["VOCdevkit", published["filename"]]
    with pytest.raises(InputError, match="SegmentationClassAug: the label maps were expected there"):
        data.create("voc", root=root, download=True, augmented=True, **SMALL)


def test_an_archive_that_cannot_be_unpacked_leaves_no_half(tmp_path, served, monkeypatch):
    folder, _ = served
    folder.mkdir()
    (folder / CIFAR10.filename).write_bytes(b"")

    def interrupted(archive: str, place: str) -> None:
        (Path(place) / CIFAR10.base_folder).mkdir()
        raise OSError("no space left on device")

    monkeypatch.setattr(downloads, "extract_archive", interrupted)
    root = tmp_path / "root"
    with pytest.raises(InputError, match=r"CIFAR-10 could not be downloaded \(no space"):
        data.create("cifar10", root=root, download=True)
    assert [path.name for path in root.iterdir()] == [CIFAR10.filename]


@pytest.mark.parametrize("place", [".", "svhn"])
def test_of_svhn_only_what_is_missing_is_fetched(tmp_path, served, place):
    folder, asked = served
    write_svhn(folder)
    write_svhn(tmp_path / place)
    (tmp_path / place / "test_32x32.mat").unlink()
    assert len(data.create("svhn", root=tmp_path, val=4, download=True).test) == 10
    assert [tuple(SVHN.split_list["test"][i] for i in (0, 2))] == asked
    assert (tmp_path / place / "test_32x32.mat").is_file()
    assert len(data.create("svhn", root=tmp_path / "empty", val=4, download=True).train) == 20
    assert len(asked) == 3


@pytest.mark.parametrize("place", [".", "FashionMNIST/raw"])
def test_of_fashion_mnist_only_what_is_missing_is_fetched(tmp_path, served, place):
    folder, asked = served
    write_fashion(folder, packed=True)
    root = tmp_path / "root"
    write_fashion(root / place)
    for name in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        (root / place / name).unlink()
    whole = data.create("fashion_mnist", root=root, val=5, download=True)
    assert [len(part) for part in (whole.train, whole.val, whole.test)] == [25, 5, 7]
    wanted = [FashionMNIST.resources[at] for at in (1, 2)]
    assert asked == [(FashionMNIST.mirrors[0] + name, md5) for name, md5 in wanted]
    assert len(data.create("fashion_mnist", root=tmp_path / "empty", val=5, download=True).train) == 25
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (URLError("no route to host"), "no route to host"),
        (RuntimeError("File not found or corrupted."), "File not found or corrupted"),
        (IncompleteRead(b"half"), "4 bytes read"),
        (TimeoutError(), "TimeoutError"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("cifar10", "CIFAR-10"),
        ("cifar100", "CIFAR-100"),
        ("cifar10_lt", "CIFAR-10"),
        ("svhn", "SVHN"),
        ("fashion_mnist", "Fashion-MNIST"),
        ("newsgroups", "20 Newsgroups"),
        ("voc", "PASCAL VOC 2012"),
    ],
)
def test_a_download_that_fails_is_one_sentence(tmp_path, monkeypatch, name, title, error, said):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(downloads, "download_url", fail)
    monkeypatch.setattr("sklearn.datasets.fetch_20newsgroups", fail)
    with pytest.raises(InputError) as caught:
        data.create(name, root=tmp_path, download=True)
    message = str(caught.value)
    remedy = rf"try again, or put its files into {re.escape(str(tmp_path))}\S*\."
    assert re.fullmatch(rf"{title} could not be downloaded \(.*{re.escape(said)}.*\): {remedy}", message)
    assert message.count(". ") == 0


def test_half_a_file_does_not_get_its_name(tmp_path, monkeypatch):
    def half(url: str, root: Path, filename: str, md5: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        (root / filename).write_bytes(b"half")
        raise URLError("the line went dead")

    monkeypatch.setattr(downloads, "download_url", half)
    with pytest.raises(InputError, match="the line went dead"):
        data.create("svhn", root=tmp_path, download=True)
    assert not (tmp_path / "train_32x32.mat").exists()
    with pytest.raises(InputError, match=r"train_32x32\.mat was expected; .* or data\.download to true\.$"):
        data.create("svhn", root=tmp_path)


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet", "duts", "quickdraw_lt", "inaturalist2018"])
def test_what_cannot_be_fetched_is_refused(tmp_path, name):
    said = rf"'{name}' is not fetched from anywhere: put its files into data\.root, {tmp_path}, and leave"
    with pytest.raises(InputError, match=said):
        data.create(name, root=tmp_path, download=True)


def test_what_comes_with_a_package_needs_no_download(tmp_path):
    assert len(data.create("digits", root=tmp_path, train=100, download=True).train) == 100
