"""Images read from their files: folders of classes, what is drawn, worker processes, damage, a whole run."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from calibrant import data
from calibrant.data import FileImageData, FileImageSet, Loading
from calibrant.data.image_file_module import SeededOrder
from calibrant.data.image_views import Erase, Views, drawing
from calibrant.data.order import EpochOrder, Share
from calibrant.data.samplers import ClassBalancedOrder
from calibrant.data.splits import stratified_split
from calibrant.errors import InputError
from calibrant.training.runner import run
from tests.data.photos import picture, save, write_folders
from tests.training.test_runner import facts, run_with_interruptions
from tests.training.tiny import tiny_recipe

CLASSES = ["cat", "dog", "eel"]
SMALL = {"size": 16, "resize": 20}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    write_folders(folder / "train", [12, 8, 4], CLASSES)
    write_folders(folder / "val", [3, 3, 3], CLASSES, seed=1000)
    write_folders(folder / "test", [2, 3, 4], CLASSES, seed=2000)
    return folder


def set_of(folder: Path, count: int = 6, **changes) -> FileImageSet:
    names = [f"{i}.png" for i in range(count)]
    for i, name in enumerate(names):
        save(folder / name, i % 3, i)
    return FileImageSet(folder, names, torch.arange(count) % 3, Views(**(SMALL | changes)))


def test_folders_of_their_own_are_read_as_they_are(root):
    task = data.create("image_folder", root=root, **SMALL)
    assert task.class_names == CLASSES
    assert task.class_counts.tolist() == [12, 8, 4]
    assert [len(part) for part in (task.train, task.val, task.test)] == [24, 9, 9]
    assert task.test.targets.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert task.test.path(3) == root / "test" / "dog" / "dog_1.JPEG"
    assert "folders of their own" in task.note
    fewer = data.create("image_folder", root=root, train=12, val=3, **SMALL)
    assert fewer.class_counts.tolist() == [6, 4, 2]
    assert fewer.val.targets.tolist() == [0, 1, 2]


def test_validation_is_cut_from_the_training_images_where_a_folder_is_missing(tmp_path):
    write_folders(tmp_path / "train", [20, 10, 1], CLASSES)
    write_folders(tmp_path / "val", [2, 2, 2], CLASSES)
    task = data.create("image_folder", root=tmp_path)
    assert [len(part) for part in (task.train, task.val, task.test)] == [28, 3, 6]
    assert task.val.targets.tolist() == [0, 0, 1]
    assert not set(task.train.ids.tolist()) & set(task.val.ids.tolist())
    assert task.note == "3 training images validate; the folder val tests"
    assert task.test.path(0).parts[-3:] == ("val", "cat", "cat_0.JPEG")
    again, other = (data.create("image_folder", root=tmp_path, split_seed=s, val=8) for s in (1, 2))
    assert again.val.targets.tolist() == other.val.targets.tolist()
    assert again.val.ids.tolist() != other.val.ids.tolist()
    (tmp_path / "val").rename(tmp_path / "test")
    assert "the folder test tests" in data.create("image_folder", root=tmp_path).note


def test_what_is_missing_is_one_sentence_that_says_where_and_what(root, tmp_path):
    write_folders(tmp_path / "only" / "train", [1, 1, 1], CLASSES)
    (tmp_path / "empty" / "train").mkdir(parents=True)
    (tmp_path / "bare" / "train" / "cat").mkdir(parents=True)
    write_folders(tmp_path / "more" / "train", [1, 1, 1], CLASSES)
    write_folders(tmp_path / "more" / "test", [1, 1, 1], [*CLASSES[:2], "fox"])
    for folder, said in {
        "nowhere": ["nowhere/train", "a folder of images for each class was expected", "data.root"],
        "only": ["only", "a folder test or val was expected"],
        "empty": ["empty/train holds no folder"],
        "bare": ["bare/train holds no image", ".jpeg"],
        "more": ["more/test holds a folder fox, which is no class"],
    }.items():
        with pytest.raises(InputError) as caught:
            data.create("image_folder", root=tmp_path / folder)
        message = str(caught.value)
        assert all(part in message for part in said), message
        assert message.count(". ") == 0
    for train in (25, 2, -1):
        with pytest.raises(InputError, match=rf"{train} samples cannot be kept of 24 in 3 classes"):
            data.create("image_folder", root=root, train=train)
    with pytest.raises(InputError, match=r"24 of 24 samples cannot validate .* set data\.val to 21 at most"):
        data.create("image_folder", root=root, val_folder=None, val=24)
    with pytest.raises(InputError, match=r"There is no folder .*tset, which data\.args\.test_folder names"):
        data.create("image_folder", root=root, test_folder="tset")
    with pytest.raises(InputError, match=r"There is no folder .*vla, which data\.args\.val_folder names"):
        data.create("image_folder", root=root, val_folder="vla")
    assert len(data.create("image_folder", root=root, val=0).val) == 0
    with pytest.raises(InputError, match=r"takes a list as mean, not 0\.5"):
        data.create("image_folder", root=root, mean=0.5)


def test_every_class_gives_its_share_and_keeps_one():
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 19 + [3])
    for count in (0, 1, 7, 33, 96):
        rest, chosen = stratified_split(labels, count)
        assert sorted([*rest.tolist(), *chosen.tolist()]) == list(range(100))
        taken = labels[chosen].bincount(minlength=4)
        assert int(taken.sum()) == count
        assert int(taken[3]) == 0
        exact = count * labels.bincount() / 100
        if count < 96:
            assert (taken - exact).abs().max() < 1
    assert labels[stratified_split(labels, 96)[0]].tolist() == [0, 1, 2, 3]
    assert not torch.equal(*(stratified_split(labels, 33, seed=s)[1] for s in (1, 2)))


def test_evaluation_is_the_centre_of_the_resized_picture(tmp_path):
    save(tmp_path / "wide.png", 1, 0, (60, 30))
    original = picture(1, 0, (60, 30))
    for crop, size in (("resized", (40, 20)), ("plain", (20, 20))):
        images = FileImageSet(tmp_path, ["wide.png"], torch.tensor([1]), Views(**SMALL, crop=crop))
        resized = original.resize(size, Image.Resampling.BILINEAR)
        left, top = (size[0] - 16) // 2, (size[1] - 16) // 2
        expected = np.asarray(resized.crop((left, top, left + 16, top + 16))).transpose(2, 0, 1)
        assert np.array_equal(images[[0]]["image"][0].numpy(), expected)


def test_pictures_of_any_mode_become_three_channels(tmp_path):
    for mode in ("L", "P", "RGBA", "CMYK", "1"):
        picture(0, 0).convert(mode).save(tmp_path / f"{mode}.tif")
        image = FileImageSet(tmp_path, [f"{mode}.tif"], torch.tensor([0]), Views(**SMALL))[[0]]["image"]
        assert (image.shape, image.dtype) == ((1, 3, 16, 16), torch.uint8)


def test_the_training_views_are_those_of_torchvision(tmp_path):
    images = set_of(tmp_path, jitter=0.4, interpolation="bicubic")
    drawn = images[torch.tensor([[2, 77], [2, 78]])]["image"]
    reference = v2.Compose(
        [
            v2.RandomResizedCrop(16, interpolation=v2.InterpolationMode.BICUBIC),
            v2.RandomHorizontalFlip(),
            v2.ColorJitter(0.4, 0.4, 0.4),
            v2.PILToTensor(),
        ]
    )
    for image, seed in zip(drawn, (77, 78), strict=True):
        with drawing(seed):
            assert torch.equal(image, reference(picture(2, 2)))
    plain = set_of(tmp_path, crop="plain", flip=False)
    resized = v2.functional.pil_to_tensor(picture(0, 3).resize((20, 20), Image.Resampling.BILINEAR))
    windows = resized.unfold(1, 16, 1).unfold(2, 16, 1).permute(1, 2, 0, 3, 4).flatten(0, 1)
    found = [
        int((windows == plain[torch.tensor([[3, s]])]["image"]).flatten(1).all(1).int().argmax())
        for s in range(9)
    ]
    for seed, at in enumerate(found):
        assert torch.equal(plain[torch.tensor([[3, seed]])]["image"][0], windows[at])
    assert len(set(found)) > 3


def test_erasing_replaces_a_rectangle_by_noise_of_the_channels():
    image = torch.zeros(3, 60, 60, dtype=torch.uint8)
    mean, std = (0.5, 0.4, 0.6), (0.1, 0.1, 0.1)
    shares, noise = [], []
    for seed in range(40):
        with drawing(seed):
            erased = Erase(1.0, mean, std)(image)
        rows, columns = (erased.amax(0).amax(axis).nonzero() for axis in (1, 0))
        shares.append(len(rows) * len(columns) / 3600)
        noise.append(erased[:, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].flatten(1))
    assert min(shares) > 0.015
    assert max(shares) < 0.36
    pixels = torch.cat(noise, 1).double() / 255
    assert torch.allclose(pixels.mean(1), torch.tensor(mean).double(), atol=0.003)
    assert torch.allclose(pixels.std(1), torch.tensor(std).double(), atol=0.003)
    assert not image.any()
    erase = Erase(0.25, mean, std)
    with drawing(0):
        share = sum(bool(erase(image).any()) for _ in range(400)) / 400
    assert 0.18 < share < 0.32


def test_the_draws_leave_the_generators_of_the_model_alone(tmp_path):
    images = set_of(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert images[torch.tensor([[0, 1], [1, 2]])]["image"].shape == (2, 3, 16, 16)
    assert torch.equal(torch.rand(4), expected)


def test_a_seed_depends_on_seed_epoch_position_and_repetition_alone():
    def seeds(order) -> dict[int, int]:
        return {position: seed for batch in order for position, seed in batch.tolist()}

    def at(epoch: int, seed: int = 0, batch_size: int = 4, order_seed: int = 0) -> SeededOrder:
        order = SeededOrder(EpochOrder(10, batch_size, seed=order_seed), seed)
        order.set_epoch(epoch)
        return order

    assert seeds(at(1)) == seeds(at(1, batch_size=3, order_seed=9))
    assert not set(seeds(at(1)).values()) & (set(seeds(at(2)).values()) | set(seeds(at(1, seed=1)).values()))
    assert len(set(seeds(at(1)).values())) == 10
    shares = [seeds(Share(at(1), rank, 2)) for rank in range(2)]
    assert shares[0] | shares[1] == seeds(at(1))
    targets = torch.tensor([0] * 9 + [1])
    balanced = SeededOrder(ClassBalancedOrder(targets, 16, 8, seed=0), 0)
    rare = [seed for batch in balanced for position, seed in batch.tolist() if position == 9]
    assert len(set(rare)) == len(rare) == 8


def epoch_of(images: FileImageSet, workers: int, epoch: int = 0) -> list[dict]:
    task = data.FileImageTask(images, images, images, CLASSES)
    module = FileImageData(task, Loading(batch_size=4, eval_batch_size=4, seed=5), workers=workers)
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_worker_processes_change_nothing(tmp_path):
    images = set_of(tmp_path, 10, jitter=0.4)
    alone, helped = epoch_of(images, 0), epoch_of(images, 2)
    for a, b in zip(alone, helped, strict=True):
        assert all(torch.equal(a[key], b[key]) for key in ("image", "target", "id", "index"))
    other = epoch_of(images, 0, epoch=1)
    assert not torch.equal(alone[0]["image"], other[0]["image"])


def test_images_are_normalised_by_the_statistics_of_the_set(tmp_path):
    images = set_of(tmp_path, mean=[0.5, 0.4, 0.3], std=[0.1, 0.2, 0.4])
    module = FileImageData(data.FileImageTask(images, images, images, CLASSES))
    (batch,) = module.val_dataloader()
    normalised = module.on_after_batch_transfer(batch, 0)["image"]
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.1, 0.2, 0.4])
    expected = (batch["image"].double() / 255 - mean[:, None, None]) / std[:, None, None]
    assert normalised.dtype == torch.float32
    assert torch.allclose(normalised.double(), expected, atol=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_one_sentence_from_a_worker_too(tmp_path, workers):
    images = set_of(tmp_path)
    path = tmp_path / "4.png"
    path.write_bytes(path.read_bytes()[:400])
    with pytest.raises(InputError) as caught:
        epoch_of(images, workers)
    message = str(caught.value)
    assert message.startswith(f"{path} cannot be read as an image (")
    assert message.endswith("fetch it again.")
    assert "\n" not in message
    path.write_text("no picture")
    with pytest.raises(InputError, match=r"4\.png cannot be read as an image"):
        images[[4]]
    path.unlink()
    with pytest.raises(InputError, match=r"There is no image .*4\.png"):
        images[[4]]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": "square"}, "crop must be 'resized' or 'plain', not 'square'"),
        ({"interpolation": "area"}, "interpolation must be"),
        ({"size": 300}, r"size must lie in \[1, resize\], \[1, 256\], not 300"),
        ({"jitter": 1.5}, r"jitter must be at least 0 and at most 1, not 1\.5"),
        ({"min_scale": 0}, "min_scale must be above 0"),
        ({"erase": -0.1}, "erase must be at least 0"),
        ({"std": [0.1, 0.0, 0.1]}, "those of std above 0"),
    ],
)
def test_a_value_out_of_range_is_named(root, changes, said):
    with pytest.raises(InputError, match=said):
        data.create("image_folder", root=root, **changes)


def test_a_run_on_folders_resumes_with_the_same_numbers(root, tmp_path, monkeypatch):
    recipe = tiny_recipe(
        data={"name": "image_folder", "root": str(root), "args": {"size": 8, "resize": 10, "jitter": 0.2}},
        train__epochs=2,
        train__batch_size=8,
    )
    whole = run(recipe, tmp_path / "whole")
    torch.rand(7)
    broken = run_with_interruptions(recipe, tmp_path / "broken", [2, 5], monkeypatch)
    assert facts(broken) == facts(whole)
    for split in ("val", "test"):
        assert torch.equal(broken.predictions(split).logits, whole.predictions(split).logits)
    assert broken.history_path.read_text() == whole.history_path.read_text()
    said = whole.result()["data"]
    assert (said["name"], said["train"], said["val"], said["test"]) == ("image_folder", 24, 9, 9)
    assert said["class_counts"] == [12, 8, 4]
    assert whole.predictions("test").targets.tolist() == [0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_a_run_may_balance_the_classes_and_learn(root, tmp_path):
    recipe = tiny_recipe(
        data={"name": "image_folder", "root": str(root), "args": {"size": 8, "resize": 10, "min_scale": 0.5}},
        train__epochs=12,
        train__batch_size=8,
        train__sampler={"name": "class_balanced"},
        train__validate_every=12,
    )
    result = run(recipe, tmp_path / "run").result()
    assert result["metrics"]["test"]["none"]["accuracy"]["value"] > 0.8
