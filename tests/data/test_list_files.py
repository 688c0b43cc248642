"""ImageNet-LT, Places-LT and iNaturalist 2018, as miniatures of their lists and folders."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from calibrant import data
from calibrant.errors import InputError
from tests.data.photos import save

#: Training images of each class, by its label in the list: the second and the last are as large.
COUNTS = [2, 5, 9, 5]


def write_list(path: Path, root: Path, rows: list[tuple[str, int]]) -> None:
    for i, (name, label) in enumerate(rows):
        save(root / name, label, len(path.name) * 100 + i)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name} {label}\n" for name, label in rows))


def rows_of(pattern: str, counts: list[int]) -> list[tuple[str, int]]:
    return [
        (pattern.format(label=label, i=i), label) for label, count in enumerate(counts) for i in range(count)
    ]


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Return a folder with all three sets."""
    folder = tmp_path_factory.mktemp("lists")
    write_lists(folder)
    return folder


def write_lists(folder: Path) -> None:
    """Write all three sets, the pictures of iNaturalist into a folder of their own."""
    lists = folder / "ImageNet_LT"
    write_list(lists / "ImageNet_LT_train.txt", folder, rows_of("train/n0{label}/n0{label}_{i}.JPEG", COUNTS))
    write_list(lists / "ImageNet_LT_val.txt", folder, rows_of("train/n0{label}/n0{label}_9{i}.JPEG", [2] * 4))
    write_list(lists / "ImageNet_LT_test.txt", folder, rows_of("val/n0{label}/val_{label}{i}.JPEG", [3] * 4))
    # Two kinds of a place are folders of the same name.
    kinds = ["a/airfield", "a/arena/indoor", "b/barn/indoor", "z/zoo"]
    training = [
        (f"data_256/{kind}/{i:08d}.jpg", label)
        for label, kind in enumerate(kinds)
        for i in range(1, 1 + COUNTS[label])
    ]
    write_list(folder / "Places_LT_train.txt", folder, training)
    write_list(folder / "Places_LT_test.txt", folder, rows_of("val_256/Places365_val_{label}{i}.jpg", [2] * 4))
    at, groups = folder / "pictures", ["Aves", "Aves", "Plantae", "Plantae"]
    for part, counts in (("train", COUNTS), ("val", [3] * 4)):
        rows = rows_of(f"train_val2018/?/{{label}}/{part}{{i}}.jpg", counts)
        rows = [(name.replace("?", groups[label]), label) for name, label in rows]
        write_list(folder / "iNaturalist18" / f"iNaturalist18_{part}.txt", at, rows)


def test_classes_are_renumbered_by_falling_count_in_every_list(root):
    task = data.create("imagenet_lt", root=root, groups="counts")
    assert task.class_counts.tolist() == [9, 5, 5, 2]
    # Equals keep the order of their old labels.
    assert task.class_names == ["n02", "n01", "n03", "n00"]
    assert [len(part) for part in (task.train, task.val, task.test)] == [21, 8, 12]
    for part in (task.train, task.val, task.test):
        for i in range(len(part)):
            assert part.path(i).is_file()
            assert part.path(i).parent.name == task.class_names[part.targets[i]]
    assert task.groups == "counts"
    assert task.note == "long-tailed, 9 to 2 images a class; the 8 images of ImageNet_LT_val.txt validate"


def test_the_validation_list_can_be_left_out_or_thinned(root):
    none = data.create("imagenet_lt", root=root, val=0)
    assert (len(none.val), len(none.train), none.groups) == (0, 21, "mislas")
    assert "no validation images" in none.note
    few = data.create("imagenet_lt", root=root, val=4)
    assert few.val.targets.bincount().tolist() == [1, 1, 1, 1]
    thinned = data.create("imagenet_lt", root=root, train=10)
    assert thinned.class_counts.tolist() == [4, 3, 2, 1]


def test_places_without_a_validation_list_has_no_validation(root):
    task = data.create("places_lt", root=root)
    assert len(task.val) == 0
    assert task.class_names == [
        f"data_256/{kind}" for kind in ("b/barn/indoor", "a/arena/indoor", "z/zoo", "a/airfield")
    ]
    assert task.test.targets.bincount().tolist() == [2, 2, 2, 2]
    assert task.test.path(0).name == "Places365_val_00.jpg"
    # Label 0 of the list is the smallest class.
    assert int(task.test.targets[0]) == 3


def test_places_with_a_validation_list_validates_on_it(root, tmp_path):
    lists = tmp_path / "Places_LT"
    kinds = {"a/airfield": 0, "a/arena/indoor": 1, "z/zoo": 3}
    rows = [(f"data_256/{kind}/9.jpg", label) for kind, label in kinds.items()]
    write_list(lists / "Places_LT_val.txt", root, rows)
    for part in ("train", "test"):
        shutil.copy(root / f"Places_LT_{part}.txt", lists)
    task = data.create("places_lt", root=tmp_path, images=str(root))
    assert [task.val.path(i).parent.name for i in range(3)] == ["airfield", "indoor", "zoo"]
    assert task.val.targets.tolist() == [3, 1, 2]
    assert task.note == "long-tailed, 9 to 2 images a class; the 3 images of Places_LT_val.txt validate"
    assert len(data.create("places_lt", root=tmp_path, images=str(root), val=0).val) == 0


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "imagenet_lt",
            r"ImageNet_LT/ImageNet_LT_train.txt was expected; set .* to the folder that holds it\.$",
        ),
        ("inaturalist2018", r"that holds it, or put train2018\.json and val2018\.json into it\.$"),
    ],
)
def test_it_is_said_where_lists_were_looked_for(tmp_path, name, said):
    with pytest.raises(InputError, match=said) as caught:
        data.create(name, root=tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_inaturalist_has_statistics_of_its_own_and_pictures_elsewhere(root):
    task = data.create("inaturalist2018", root=root, images="pictures", size=16, resize=20)
    assert (task.train.views.mean, task.train.views.std) == ((0.466, 0.471, 0.380), (0.195, 0.194, 0.192))
    assert (task.train.views.jitter, task.train.views.interpolation) == (0.4, "bilinear")
    assert task.class_names == ["2", "1", "3", "0"]
    assert (len(task.val), len(task.test)) == (0, 12)
    assert task.train[torch.tensor([0, 20])]["image"].shape == (2, 3, 16, 16)
    held = data.create("inaturalist2018", root=root, images="pictures", val=5)
    assert held.class_counts.tolist() == [7, 4, 4, 1]
    assert (len(held.val), len(held.test)) == (5, 12)
    assert not set(held.val.ids.tolist()) & set(held.train.ids.tolist())
    assert held.note == "long-tailed, 7 to 1 images a class; 5 training images validate"


def test_inaturalist_is_read_from_its_annotations_too(root, tmp_path):
    lists = data.create("inaturalist2018", root=root, images="pictures", val=3)
    for part in ("train", "val"):
        lines = (root / "iNaturalist18" / f"iNaturalist18_{part}.txt").read_text().splitlines()
        rows = [(i, *line.split()) for i, line in enumerate(lines)]
        images = [{"id": i, "file_name": name} for i, name, _ in rows]
        # The two are in orders of their own.
        labels = [{"image_id": i, "category_id": int(label)} for i, _, label in reversed(rows)]
        (tmp_path / f"{part}2018.json").write_text(json.dumps({"images": images, "annotations": labels}))
    task = data.create("inaturalist2018", root=tmp_path, images=str(root / "pictures"), val=3)
    for ours, theirs in ((task.train, lists.train), (task.val, lists.val), (task.test, lists.test)):
        assert [ours.path(i) for i in range(len(ours))] == [theirs.path(i) for i in range(len(theirs))]
        assert torch.equal(ours.targets, theirs.targets)
    assert task.class_names == lists.class_names
    # Lists, where they are, go before.
    shutil.copytree(root / "iNaturalist18", tmp_path / "iNaturalist18")
    (tmp_path / "train2018.json").write_text("[]")
    assert len(data.create("inaturalist2018", root=tmp_path, images=str(root / "pictures"), val=3).train) == 18
    shutil.rmtree(tmp_path / "iNaturalist18")
    (tmp_path / "train2018.json").write_text((tmp_path / "val2018.json").read_text())
    (tmp_path / "val2018.json").write_text('{"images": [{"id": 0}]}')
    with pytest.raises(InputError, match=r"val2018\.json is damaged \(KeyError\('annotations'\)\)"):
        data.create("inaturalist2018", root=tmp_path, images=str(root / "pictures"))


def test_no_listed_image_trains_and_tests(root, tmp_path):
    lists = {part: (root / "ImageNet_LT" / f"ImageNet_LT_{part}.txt").read_text() for part in ("train", "test")}
    (tmp_path / "ImageNet_LT_train.txt").write_text(lists["train"])
    (tmp_path / "ImageNet_LT_test.txt").write_text(lists["test"] + "train/n00/n00_1.JPEG 0\n")
    with pytest.raises(InputError, match=r"1 images .* would both train and test, train/n00/n00_1\.JPEG for"):
        data.create("imagenet_lt", root=tmp_path, images=str(root))


def test_what_is_missing_is_one_sentence(root, tmp_path):
    def message(name: str, at: Path = tmp_path, **options) -> str:
        with pytest.raises(InputError) as caught:
            data.create(name, root=at, **options)
        said = str(caught.value)
        assert said.count(". ") == 0
        return said

    said = message("imagenet_lt")
    assert f"{tmp_path}" in said
    assert "ImageNet_LT_train.txt or ImageNet_LT/ImageNet_LT_train.txt was expected" in said
    said = message("inaturalist2018", root)
    assert f"looked for in {root}" in said
    assert "data.args.images" in said
    training = tmp_path / "Places_LT_train.txt"
    training.write_text("data_256/a/airfield/00000001.jpg\n")
    assert "Line 1 of" in message("places_lt")
    training.write_text("data_256/a/airfield/00000001.jpg one\n")
    assert "but a path and a label were expected" in message("places_lt")
    training.write_text("\n")
    assert "names no image" in message("places_lt")
    write_list(training, tmp_path, [("data_256/a/airfield/1.jpg", 0)])
    assert f"{tmp_path} lacks Places_LT_test.txt" in message("places_lt")
    assert "size must lie in" in message("imagenet_lt", root, size=0)
    assert "has no option 'sise'" in message("imagenet_lt", root, sise=3)
