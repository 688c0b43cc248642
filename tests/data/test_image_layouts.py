"""ImageNet, Tiny-ImageNet and CUB-200-2011, as miniatures of their exact layouts."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant import data
from calibrant.data.image_views import IMAGENET_MEAN, IMAGENET_STD, Views
from calibrant.errors import InputError
from tests.data.photos import save, write_folders

#: Numbers of WordNet and what stands behind them in the lists of words.
WORDS = {"n01440764": "tench, Tinca tinca", "n02012849": "crane", "n03126707": "crane"}
NUMBERS = list(WORDS)


def sentence(caught) -> str:
    message = str(caught.value)
    assert message.count(". ") == 0
    assert "\n" not in message
    return message


def write_imagenet(root: Path, each: int = 5) -> dict[str, int]:
    """Write the training folders and a flat folder of validation images, in no order of classes."""
    write_folders(root / "train", [4, 3, 2], NUMBERS)
    labels = {f"ILSVRC2012_val_{i + 1:08d}.JPEG": (7 * i) % 3 for i in range(3 * each)}
    for i, (name, label) in enumerate(labels.items()):
        save(root / "val" / name, label, 1000 + i)
    return labels


def write_val_txt(path: Path, labels: dict[str, int]) -> None:
    path.write_text("".join(f"{name} {label}\n" for name, label in labels.items()))


def test_imagenet_divides_its_validation_images_by_class(tmp_path):
    labels = write_imagenet(tmp_path, each=15)
    write_val_txt(tmp_path / "val.txt", labels)
    (tmp_path / "LOC_synset_mapping.txt").write_text("".join(f"{n} {w}\n" for n, w in WORDS.items()))
    task = data.create("imagenet", root=tmp_path)
    assert task.class_names == ["tench", "crane (n02012849)", "crane (n03126707)"]
    assert task.class_counts.tolist() == [4, 3, 2]
    assert task.val.targets.bincount().tolist() == [10, 10, 10]
    assert task.test.targets.bincount().tolist() == [5, 5, 5]
    ids = torch.cat([task.val.ids, task.test.ids])
    assert ids.sort().values.tolist() == list(range(45))
    # The rule of the published division of Tiny-ImageNet, on the images sorted by class and name.
    in_order = sorted(labels, key=lambda name: (labels[name], name))
    random, chosen = np.random.RandomState(1), []
    for label in range(3):
        positions = [i for i, name in enumerate(in_order) if labels[name] == label]
        random.shuffle(positions)
        chosen += positions[-10:]
    assert task.val.ids.tolist() == sorted(chosen)
    for split in (task.val, task.test):
        for i in range(len(split)):
            assert split.path(i).name == in_order[split.ids[i]]
            assert labels[split.path(i).name] == int(split.targets[i])
    assert "30 of the 45 official validation images validate" in task.note
    assert data.create("imagenet", root=tmp_path, val=6).val.targets.bincount().tolist() == [2, 2, 2]
    with pytest.raises(InputError, match=r"data\.val must be a multiple of the 3 classes, not 7"):
        data.create("imagenet", root=tmp_path, val=7)


def test_imagenet_is_the_same_in_every_layout(tmp_path):
    flat, table, folders = (tmp_path / name for name in ("flat", "table", "folders"))
    labels = write_imagenet(flat / "imagenet")
    write_val_txt(flat / "val.txt", {name: NUMBERS[label] for name, label in labels.items()})
    at = table / "ILSVRC" / "Data" / "CLS-LOC"
    write_imagenet(at)
    rows = [f"{name.removesuffix('.JPEG')},{NUMBERS[label]} 1 2 30 40 " for name, label in labels.items()]
    (table / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
    write_imagenet(folders)
    for name, label in labels.items():
        (folders / "val" / NUMBERS[label]).mkdir(exist_ok=True)
        (folders / "val" / name).rename(folders / "val" / NUMBERS[label] / name)
    tasks = [data.create("imagenet", root=root, val=6) for root in (flat, table, folders)]
    for other in tasks[1:]:
        for split in ("train", "val", "test"):
            a, b = getattr(tasks[0], split), getattr(other, split)
            assert torch.equal(a.targets, b.targets)
            assert torch.equal(a.ids, b.ids)
            assert [a.path(i).name for i in range(len(a))] == [b.path(i).name for i in range(len(b))]
            assert b.path(len(b) - 1).is_file()


def test_imagenet_takes_published_positions(tmp_path):
    write_val_txt(tmp_path / "val.txt", write_imagenet(tmp_path))
    (tmp_path / "positions.txt").write_text("3\n0\n11\n")
    task = data.create("imagenet", root=tmp_path, val_indices="positions.txt")
    assert (task.val.ids.tolist(), len(task.test)) == ([0, 3, 11], 12)
    assert task.val.targets.tolist() == [0, 0, 2]
    for text in ("3\n3\n", "15\n", "-1\n"):
        (tmp_path / "positions.txt").write_text(text)
        with pytest.raises(InputError, match="must hold different numbers from 0 to 14"):
            data.create("imagenet", root=tmp_path, val_indices="positions.txt")
    with pytest.raises(InputError, match=r"no list of validation images .*absent\.txt"):
        data.create("imagenet", root=tmp_path, val_indices="absent.txt")


def test_imagenet_says_what_is_missing(tmp_path):
    with pytest.raises(InputError) as caught:
        data.create("imagenet", root=tmp_path)
    for part in (str(tmp_path), "imagenet/train or ILSVRC/Data/CLS-LOC/train or train", "data.root"):
        assert part in sentence(caught)
    labels = write_imagenet(tmp_path)
    with pytest.raises(InputError) as caught:
        data.create("imagenet", root=tmp_path)
    for part in (f"{tmp_path}/val", "val.txt", "LOC_val_solution.csv"):
        assert part in sentence(caught)
    first = next(iter(labels))
    for text, said in (
        (f"{first} 3\n", rf"Line 1 of .*val\.txt is '{first} 3', but a file name and one of the 3 classes"),
        (f"{first}\n", "but a file name"),
        (f"{first} 0\n", "which the list does not name"),
    ):
        (tmp_path / "val.txt").write_text(text)
        with pytest.raises(InputError, match=said) as caught:
            data.create("imagenet", root=tmp_path)
        sentence(caught)
    with pytest.raises(InputError, match=r"other\.txt was expected"):
        data.create("imagenet", root=tmp_path, val_list="other.txt")
    (tmp_path / "val").rename(tmp_path / "away")
    with pytest.raises(InputError, match="where a folder val was expected"):
        data.create("imagenet", root=tmp_path)


def test_the_views_of_each_set_are_those_published(tmp_path):
    write_val_txt(tmp_path / "val.txt", write_imagenet(tmp_path))
    views = data.create("imagenet", root=tmp_path, val=3).train.views
    assert views == Views("resized", 224, 256, 0.08, True, 0.4, 0.0, "bicubic", IMAGENET_MEAN, IMAGENET_STD)
    changed = data.create("imagenet", root=tmp_path, val=3, erase=0.25, size=160).test.views
    assert (changed.erase, changed.size, changed.jitter) == (0.25, 160, 0.4)
    write_cub(tmp_path)
    birds = data.create("cub200", root=tmp_path, val=2)
    assert birds.train.views == Views(crop="plain", size=224, resize=256)
    assert birds.test[[0]]["image"].shape == (1, 3, 224, 224)


def write_cub(root: Path) -> Path:
    """Write the five parts; of each class the first four train."""
    folder = root / "CUB_200_2011"
    kinds = ["001.Black_footed_Albatross", "002.Laysan_Albatross"]
    tables = {name: [] for name in ("images", "image_class_labels", "train_test_split")}
    for label, kind in enumerate(kinds):
        for i in range(6):
            number, name = len(tables["images"]) + 1, f"{kind}/{kind[4:]}_{i:04d}_{796 + i}.jpg"
            save(folder / "images" / name, label, number, (50, 36))
            tables["images"].append(f"{number} {name}")
            tables["image_class_labels"].append(f"{number} {label + 1}")
            tables["train_test_split"].append(f"{number} {int(i < 4)}")
    tables["classes"] = [f"{label + 1} {kind}" for label, kind in enumerate(kinds)]
    for name, lines in tables.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


def test_cub_validates_on_training_images_unless_told_otherwise(tmp_path):
    folder = write_cub(tmp_path)
    task = data.create("cub200", root=tmp_path, val=2)
    assert task.class_names == ["Black footed Albatross", "Laysan Albatross"]
    assert task.class_counts.tolist() == [3, 3]
    assert (task.val.targets.tolist(), task.test.targets.tolist()) == ([0, 1], [0, 0, 1, 1])
    assert task.test.ids.tolist() == [4, 5, 10, 11]
    assert task.test.path(0) == folder / "images/001.Black_footed_Albatross/Black_footed_Albatross_0004_800.jpg"
    assert not set(task.train.ids.tolist()) & set(task.val.ids.tolist())
    published = data.create("cub200", root=folder, validate_on="test")
    assert torch.equal(published.val.ids, published.test.ids)
    assert published.class_counts.tolist() == [4, 4]
    assert "published protocol" in published.note
    with pytest.raises(InputError, match="validate_on must be 'train' or 'test', not 'both'"):
        data.create("cub200", root=tmp_path, validate_on="both")


def test_cub_says_what_is_missing(tmp_path):
    with pytest.raises(InputError) as caught:
        data.create("cub200", root=tmp_path)
    for part in (str(tmp_path), "CUB_200_2011/images.txt or images.txt was expected"):
        assert part in sentence(caught)
    folder = write_cub(tmp_path)
    labels = folder / "image_class_labels.txt"
    whole = labels.read_text()
    labels.write_text(whole.replace("3 1\n", "3 one\n", 1))
    with pytest.raises(InputError, match="has a line '3 one', but a number and a value were expected"):
        data.create("cub200", root=tmp_path)
    labels.write_text(whole.removesuffix("12 2\n"))
    with pytest.raises(InputError, match=r"names image 12, which .* lacks"):
        data.create("cub200", root=tmp_path)
    labels.unlink()
    with pytest.raises(InputError, match=r"lacks image_class_labels\.txt, one of the files of CUB-200-2011"):
        data.create("cub200", root=tmp_path)


def write_tiny(root: Path, each: int = 6) -> Path:
    folder = root / "tiny-imagenet-200"
    for label, number in enumerate(NUMBERS):
        for i in range(each):
            save(folder / "train" / number / "images" / f"{number}_{i}.JPEG", label, 10 * label + i, (64, 64))
    lines = []
    for i in range(4):
        save(folder / "val" / "images" / f"val_{i}.JPEG", (i + 1) % 3, 500 + i, (64, 64))
        lines.append(f"val_{i}.JPEG\t{NUMBERS[(i + 1) % 3]}\t0\t0\t62\t62")
    (folder / "val" / "val_annotations.txt").write_text("\n".join(lines) + "\n")
    (folder / "words.txt").write_text("".join(f"{n}\t{w}\n" for n, w in WORDS.items()))
    return folder


def test_tiny_imagenet_is_divided_as_published_and_kept_in_memory(tmp_path):
    folder = write_tiny(tmp_path, each=12)
    task = data.create("tiny_imagenet", root=tmp_path, val=9)
    assert task.class_names == ["tench", "crane (n02012849)", "crane (n03126707)"]
    assert (task.train.images.shape, task.train.images.dtype) == ((27, 3, 64, 64), torch.uint8)
    assert (task.padding, task.flip) == (4, True)
    assert task.mean == pytest.approx([255 * v for v in (0.485, 0.456, 0.406)])
    assert task.std == pytest.approx([255 * v for v in (0.229, 0.224, 0.225)])
    assert task.test.targets.tolist() == [1, 2, 0, 1]
    assert task.test_names == ["val_0", "val_1", "val_2", "val_3"]
    random, training, validation = np.random.RandomState(1), [], []
    for label in range(3):
        positions = list(range(12 * label, 12 * label + 12))
        random.shuffle(positions)
        training += positions[:-3]
        validation += positions[-3:]
    assert (task.train.ids.tolist(), task.val.ids.tolist()) == (training, validation)
    paths = sorted((folder / "train").rglob("*.JPEG"))
    for part in (task.train, task.val):
        for i, at in enumerate(part.ids.tolist()):
            pixels = np.asarray(Image.open(paths[at])).transpose(2, 0, 1)
            assert np.array_equal(part.images[i].numpy(), pixels)
            assert NUMBERS[part.targets[i]] == paths[at].parts[-3]
    for i, label in enumerate(task.test.targets.tolist()):
        at = folder / "val" / NUMBERS[label] / "images"
        at.mkdir(parents=True, exist_ok=True)
        (folder / "val" / "images" / f"val_{i}.JPEG").rename(at / f"val_{i}.JPEG")
    (folder / "val" / "images").rmdir()
    # With its list left behind, and without.
    for _ in range(2):
        again = data.create("tiny_imagenet", root=tmp_path, val=9)
        assert torch.equal(again.test.images, task.test.images)
        assert torch.equal(again.test.targets, task.test.targets)
        (folder / "val" / "val_annotations.txt").unlink(missing_ok=True)
    fewer = data.create("tiny_imagenet", root=folder, val=0, train=6)
    assert (fewer.class_counts.tolist(), len(fewer.val)) == ([2, 2, 2], 0)


def test_tiny_imagenet_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError) as caught:
        data.create("tiny_imagenet", root=tmp_path)
    assert "tiny-imagenet-200/train or train was expected" in sentence(caught)
    folder = write_tiny(tmp_path)
    with pytest.raises(InputError, match=r"Class 0 has 6 samples, so that 50 of them cannot validate"):
        data.create("tiny_imagenet", root=tmp_path)
    with pytest.raises(InputError, match=r"data\.val must be a multiple of the 3 classes, not 4"):
        data.create("tiny_imagenet", root=tmp_path, val=4)
    damaged = folder / "train" / NUMBERS[1] / "images" / f"{NUMBERS[1]}_2.JPEG"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:200])
    with pytest.raises(InputError, match=rf"{damaged.name} cannot be read as an image"):
        data.create("tiny_imagenet", root=tmp_path, val=3)
    save(damaged, 1, 0, (32, 64))
    with pytest.raises(InputError, match="has 32x64 pixels, not 64x64"):
        data.create("tiny_imagenet", root=tmp_path, val=3)
    damaged.write_bytes(whole)
    notes = folder / "val" / "val_annotations.txt"
    notes.write_text("val_0.JPEG\tn99999999\t0\t0\t62\t62\n")
    with pytest.raises(InputError, match=r"has a line 'val_0\.JPEG n99999999 0 0 62 62'"):
        data.create("tiny_imagenet", root=tmp_path, val=3)
    notes.unlink()
    with pytest.raises(InputError, match=r"where val_annotations\.txt was expected"):
        data.create("tiny_imagenet", root=tmp_path, val=3)


@pytest.mark.parametrize("wrong", ["0", "3"])
def test_a_class_that_cub_does_not_have_is_refused(tmp_path, wrong):
    folder = write_cub(tmp_path)
    labels = folder / "image_class_labels.txt"
    labels.write_text(labels.read_text().replace("7 2", f"7 {wrong}"))
    with pytest.raises(
        InputError, match=rf"Image 7 has the class {wrong} in .*, but classes\.txt names 1 to 2"
    ):
        data.create("cub200", root=tmp_path, val=2)
