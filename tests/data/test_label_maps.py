"""Label maps: VOC, Cityscapes and folders as they lie on disk; transforms keep image and labels together."""

import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant import data
from calibrant.data import DenseData, LabelSet, LabelTransforms, Loading
from calibrant.data.label_transforms import LabelDraws, fitted, recoloured
from calibrant.data.pair_set import Augmented, Pair
from calibrant.data.segmentation import CITYSCAPES, VOC
from calibrant.errors import InputError

SMALL = {"longest": 48, "crop": 32, "window": [40, 40]}
#: Levels of the red, green and blue channel of each class: what is learned is seen.
COLOURS = np.array([[20, 20, 20], [200, 30, 30], [30, 200, 30], [30, 30, 200], [200, 200, 30]], np.uint8)


def sample(number, height, width, classes=5):
    """Return a photograph of two blocks on ground, and its labels with an ignored edge."""
    rng = np.random.default_rng(number)
    label = np.zeros((height, width), np.uint8)
    for k in (1 + number % (classes - 1), 1 + (number + 1) % (classes - 1)):
        top, left = rng.integers(0, height - 12), rng.integers(0, width - 12)
        label[top : top + 12, left : left + 12] = 255
        label[top + 1 : top + 11, left + 1 : left + 11] = k
    image = COLOURS[np.where(label == 255, 0, label)] + rng.integers(0, 10, (height, width, 3))
    return Image.fromarray(image.astype(np.uint8)), label


def save_labels(label, path, palette=True):
    picture = Image.fromarray(label)
    if palette:
        picture = picture.convert("P")
        picture.putpalette([value for k in range(256) for value in (k, 255 - k, k // 2)])
        picture.putdata(label.ravel().tolist())
    picture.save(path)


def write_voc(folder, train=6, val=3, *, augmented=0):
    """Write a VOC 2012 of a few small photographs."""
    for sub in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (folder / sub).mkdir(parents=True)
    names = [f"2007_{i:06d}" for i in range(train + val + augmented)]
    for i, name in enumerate(names):
        image, label = sample(i, 40 + i, 56 - i)
        image.save(folder / "JPEGImages" / f"{name}.jpg", quality=95)
        if i < train + val:
            save_labels(label, folder / "SegmentationClass" / f"{name}.png")
        if augmented:
            (folder / "SegmentationClassAug").mkdir(exist_ok=True)
            save_labels(label, folder / "SegmentationClassAug" / f"{name}.png", palette=False)
    lists = {"train": names[:train], "val": names[train : train + val]}
    if augmented:
        lists["trainaug"] = names[:train] + names[train + val :]
    for name, listed in lists.items():
        (folder / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(listed) + "\n")


def write_cityscapes(folder, *, ready=False, count=4):
    for part, cities in (("train", ("aachen", "bochum")), ("val", ("lindau",))):
        for city in cities:
            for i in range(count // 2):
                image, label = sample(i, 32, 64)
                raw = np.full((32, 64), 3, np.uint8)
                for k, number in zip(range(5), CITYSCAPES.values(), strict=False):
                    raw[label == k] = number
                for sub in ("leftImg8bit", "gtFine"):
                    (folder / sub / part / city).mkdir(parents=True, exist_ok=True)
                name = f"{city}_00000{i}_000019"
                image.save(folder / "leftImg8bit" / part / city / f"{name}_leftImg8bit.png")
                kind = "labelTrainIds" if ready else "labelIds"
                file = folder / "gtFine" / part / city / f"{name}_gtFine_{kind}.png"
                save_labels(label if ready else raw, file, palette=False)


def write_folders(folder, *, names=True, val=2):
    for part, count in (("train", 5), ("val", val), ("test", 2)):
        for sub in ("images", "masks") if count else ():
            (folder / part / sub).mkdir(parents=True)
        for i in range(count):
            image, label = sample(i, 36, 44)
            image.save(folder / part / "images" / f"{part}{i}.png")
            save_labels(label, folder / part / "masks" / f"{part}{i}.png", palette=False)
    if names:
        (folder / "classes.txt").write_text("ground\nred\ngreen\nblue\nyellow\n")


@pytest.mark.parametrize("place", ["VOCdevkit/VOC2012", "VOC2012", "."])
def test_voc_is_found_where_it_lies(tmp_path, place):
    write_voc(tmp_path / place)
    task = data.create("voc", root=tmp_path, **SMALL)
    assert (len(task.train), len(task.val), len(task.test)) == (5, 1, 3)
    assert task.test.names == ["2007_000006", "2007_000007", "2007_000008"]
    assert task.class_names == list(VOC)
    assert task.background
    assert not set(task.train.names) & set(task.val.names)
    label = task.test.label(0)
    assert torch.equal(label, torch.from_numpy(sample(6, 46, 50)[1]))
    counts = sum(np.bincount(task.train.label(i).ravel(), minlength=256)[:21] for i in range(5))
    assert task.class_counts.tolist() == counts.tolist()
    few = data.create("voc", root=tmp_path, train=2, val=3, test=1, **SMALL)
    assert (len(few.train), len(few.val), len(few.test)) == (2, 3, 1)
    other = data.create("voc", root=tmp_path, val=3, split_seed=2, **SMALL)
    assert other.val.names != few.val.names
    assert len(data.create("voc", root=tmp_path, val=0, **SMALL).val) == 0


def test_the_augmented_maps_have_a_list_and_a_folder_of_their_own(tmp_path):
    write_voc(tmp_path, augmented=2)
    task = data.create("voc", root=tmp_path, augmented=True, val=1, **SMALL)
    assert (len(task.train), len(task.val)) == (7, 1)
    assert {pair.label.parent.name for pair in task.train.pairs + task.val.pairs} == {"SegmentationClassAug"}
    # Judged on the maps that were drawn for it, with their borders that are ignored.
    assert {pair.label.parent.name for pair in task.test.pairs} == {"SegmentationClass"}
    lists = tmp_path / "ImageSets" / "Segmentation"
    names = (lists / "trainaug.txt").read_text().split()
    # As the authors of DeepLab's list have it.
    both = "".join(f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n" for name in names)
    (lists / "trainaug.txt").unlink()
    (lists / "train_aug.txt").write_text(both)
    assert data.create("voc", root=tmp_path, augmented=True, val=1, **SMALL).train.names == task.train.names


def test_no_image_trains_that_validates_or_tests(tmp_path):
    write_voc(tmp_path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "some.txt").write_text("2007_000001\n2007_000002\n")
    task = data.create("voc", root=tmp_path, val_list="some", **SMALL)
    assert not set(task.train.names) & set(task.val.names)
    assert (len(task.train), len(task.val)) == (4, 2)
    with pytest.raises(InputError, match=r"2 images would both train and test, 2007_000001\.jpg for example"):
        data.create("voc", root=tmp_path, test_list="some", **SMALL)


def test_a_set_of_the_layout_of_voc_names_its_classes_and_lists(tmp_path):
    write_voc(tmp_path)
    lists = tmp_path / "ImageSets" / "Segmentation"
    (lists / "test.txt").write_text("2007_000008\n")
    (tmp_path / "classes.txt").write_text("ground\nred\ngreen\nblue\nyellow\n")
    task = data.create("voc", root=tmp_path, val_list="val", test_list="test", **SMALL)
    assert task.class_names == ["ground", "red", "green", "blue", "yellow"]
    assert (len(task.train), len(task.val), len(task.test)) == (6, 3, 1)


@pytest.mark.parametrize("ready", [True, False])
def test_cityscapes_has_its_19_classes(tmp_path, ready):
    write_cityscapes(tmp_path, ready=ready)
    task = data.create("cityscapes", root=tmp_path, val=1, longest=64, crop=32, window=[32, 64])
    assert (len(task.train), len(task.val), len(task.test)) == (3, 1, 2)
    assert (len(task.class_names), task.class_names[13], task.background) == (19, "car", False)
    assert task.test.names == ["lindau_000000_000019", "lindau_000001_000019"]
    assert torch.equal(task.test.label(1), torch.from_numpy(sample(1, 32, 64)[1]))


def test_folders_of_images_and_masks(tmp_path):
    write_folders(tmp_path)
    task = data.create("segmentation", root=tmp_path, **SMALL)
    assert (len(task.train), len(task.val), len(task.test)) == (5, 2, 2)
    assert task.class_names[3] == "blue"
    without = tmp_path / "other"
    write_folders(without, names=False, val=0)
    task = data.create("segmentation", root=without, num_classes=5, **SMALL)
    assert (len(task.train), len(task.val), task.class_names) == (4, 1, ["0", "1", "2", "3", "4"])


def test_a_sample_is_fitted_into_the_window_and_padded(tmp_path):
    write_voc(tmp_path)
    images = data.create("voc", root=tmp_path, **SMALL).test
    got = images[0]
    assert (got["image"].shape, got["target"].shape) == ((3, 40, 40), (40, 40))
    assert (got["image"].dtype, got["target"].dtype) == (torch.float32, torch.int64)
    top, left, height, width = fitted((46, 50), (40, 40))
    assert (top, left, height, width) == (1, 0, 37, 40)
    assert (got["target"][0] == 255).all()
    assert (got["target"][38:] == 255).all()
    black = (0 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    assert torch.allclose(got["image"][:, 0, 0], black)
    batch = images[torch.tensor([2, 0])]
    assert torch.equal(batch["image"][1], got["image"])
    assert batch["id"].tolist() == [2, 0]


def test_logits_go_back_to_the_size_of_the_file():
    transforms = LabelTransforms(window=(40, 40))
    rows = torch.linspace(0, 1, 37)[None, :, None].expand(2, 37, 40)
    logits = torch.full((2, 40, 40), 99.0)
    logits[:, 1:38] = rows
    back = transforms.restored(logits, (46, 50))
    assert back.shape == (2, 46, 50)
    assert float(back.max()) <= 1
    same = LabelTransforms(window=(46, 50)).restored(back, (46, 50))
    assert torch.equal(same, back)


def test_what_is_drawn_depends_on_seed_epoch_and_image_alone(tmp_path):
    write_voc(tmp_path)
    images = data.create("voc", root=tmp_path, scale=[0.7, 1.3], **SMALL).train
    some = images[Augmented(0, 4, torch.tensor([1, 2, 3]))]
    images.keep, images._kept = 0, {}
    again = images[Augmented(0, 4, torch.tensor([3, 1]))]
    assert torch.equal(some["image"][2], again["image"][0])
    assert torch.equal(some["target"][0], again["target"][1])
    for other in (Augmented(0, 5, torch.tensor([1, 2, 3])), Augmented(1, 4, torch.tensor([1, 2, 3]))):
        assert not torch.equal(images[other]["image"], some["image"])


def test_draws_have_their_ranges():
    generator = torch.Generator().manual_seed(0)
    draws = [LabelDraws.draw(0.5, 2.0, 0.3, generator) for _ in range(3000)]
    assert all(0.5 <= d.scale <= 2 for d in draws)
    assert max(d.scale for d in draws) > 1.9
    for share in (
        sum(d.flip for d in draws),
        sum(d.contrast is None for d in draws),
        sum(d.hue is None for d in draws),
    ):
        assert share / 3000 == pytest.approx(0.5, abs=0.03)
    factors = [d.contrast for d in draws if d.contrast is not None]
    assert 0.7 <= min(factors) < 0.72 < 1.28 < max(factors) <= 1.3
    plain = [LabelDraws.draw(1.0, 1.0, 0.0, generator) for _ in range(50)]
    assert all((d.scale, d.contrast, d.hue) == (1.0, None, None) for d in plain)


def test_image_and_labels_stay_together_in_training(tmp_path):
    write_voc(tmp_path)
    task = data.create("voc", root=tmp_path, scale=[0.5, 1.5], **SMALL | {"jitter": 0.0})
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    seen = set()
    for epoch in range(6):
        batch = task.train[Augmented(0, epoch, torch.arange(5))]
        assert batch["image"].shape == (5, 3, 32, 32)
        for pixels, label in zip(batch["image"] * std + mean, batch["target"], strict=True):
            for k in range(1, 5):
                if (label == k).sum() > 30:
                    # Colours run over the edges in a JPEG picture.
                    median = pixels[:, label == k].median(1).values * 255
                    assert (median - torch.tensor(COLOURS[k].astype(np.float32))).abs().max() < 70
                    seen.add(k)
            # Where nothing is, there is black, and no label.
            assert (label[(pixels < 1e-3).all(0)] == 255).float().mean().nan_to_num(1.0) > 0.9
    assert seen == {1, 2, 3, 4}


def test_light_and_colours_change_and_labels_do_not(tmp_path):
    write_voc(tmp_path)
    calm, wild = (data.create("voc", root=tmp_path, **SMALL | {"jitter": j}).train for j in (0.0, 0.5))
    drawn = Augmented(0, 0, torch.arange(5))
    assert torch.equal(calm[drawn]["target"], wild[drawn]["target"])
    changed = (calm[drawn]["image"] - wild[drawn]["image"]).abs().amax((1, 2, 3)) > 0.1
    assert 1 <= int(changed.sum()) <= 5


def test_loaders_deliver_label_maps(tmp_path):
    write_voc(tmp_path)
    part = DenseData(data.create("voc", root=tmp_path, **SMALL), Loading(batch_size=2, eval_batch_size=2))
    assert part.context == {"in_channels": 3, "num_classes": 21}
    loader = part.train_dataloader()
    loader.sampler.set_epoch(0)
    assert sorted(torch.cat([batch["id"] for batch in loader]).tolist()) == [0, 1, 2, 3, 4]
    assert [batch["target"].shape for batch in part.plain(part.task.test)] == [(2, 40, 40), (1, 40, 40)]
    with pytest.raises(InputError, match="one with a map has none"):
        _ = part.train_targets


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"looked for in .*VOC2012, .*where a folder JPEGImages was expected"):
        data.create("voc", root=tmp_path)
    write_voc(tmp_path)
    with pytest.raises(InputError, match=r"SegmentationClassAug: .* data\.args\.augmented is true"):
        data.create("voc", root=tmp_path, augmented=True)
    with pytest.raises(InputError, match=r"no list of names .*nothing\.txt"):
        data.create("voc", root=tmp_path, train_list="nothing")
    with pytest.raises(InputError, match="hold out 6 of 6"):
        data.create("voc", root=tmp_path, val=6)
    with pytest.raises(InputError, match=r"scale and data\.args\.window take two numbers"):
        data.create("voc", root=tmp_path, scale=[1.0])
    with pytest.raises(InputError, match="a least and a largest factor"):
        data.create("voc", root=tmp_path, scale=[2.0, 1.0])
    (tmp_path / "SegmentationClass" / "2007_000007.png").unlink()
    with pytest.raises(InputError, match=r"1 of the 3 images in .* have no map .*expected 2007_000007\.png"):
        data.create("voc", root=tmp_path)
    with pytest.raises(InputError, match=r"Cityscapes was looked for in .*leftImg8bit/train, where CITY"):
        data.create("cityscapes", root=tmp_path)
    with pytest.raises(InputError, match=r"no file .*classes\.txt .*data\.args\.num_classes"):
        data.create("segmentation", root=tmp_path)
    with pytest.raises(InputError, match=r"no folder .*train/images: images were expected there"):
        data.create("segmentation", root=tmp_path, num_classes=3)
    write_cityscapes(tmp_path)
    file = next((tmp_path / "gtFine").glob("val/*/*0_000019*"))
    file.unlink()
    with pytest.raises(InputError, match=r"has no label map: expected .*labelTrainIds\.png or .*labelIds\.png"):
        data.create("cityscapes", root=tmp_path)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_maps_of_few_bits_hold_their_levels(tmp_path, bits):
    levels = torch.arange(8) % min(2**bits, 5)
    write_grey(tmp_path / "label.png", levels.tolist(), bits)
    images = LabelSet([Pair("x", tmp_path / "image.png", tmp_path / "label.png")], 5, LabelTransforms())
    assert torch.equal(images.label(0), levels[None])


def write_grey(path, row, bits):
    """Write a PNG picture of one row, whose levels have so many bits, which Pillow cannot write."""
    packed = "0" * 8 + "".join(f"{level:0{bits}b}" for level in row)
    data = bytes(int(packed[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(packed), 8))
    header = struct.pack(">IIBBBBB", len(row), 1, bits, 0, 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(data)), (b"IEND", b"")):
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(kind + content)))


def test_maps_that_cannot_be_used(tmp_path):
    image, label = sample(0, 40, 40)
    image.save(tmp_path / "image.png")
    image.save(tmp_path / "colours.png")
    Image.fromarray(label).save(tmp_path / "labels.jpg")
    label[0, 0] = 7
    save_labels(label, tmp_path / "wrong.png")
    for name, said in (
        ("colours.png", "a PNG picture of mode 'RGB': labels were expected"),
        ("labels.jpg", "a JPEG picture of mode 'L'"),
        ("wrong.png", "holds the label 7, but there are 5 classes, from 0 to 4"),
        ("absent.png", r"There is no image .*absent\.png"),
    ):
        images = LabelSet([Pair("x", tmp_path / "image.png", tmp_path / name)], 5, LabelTransforms())
        with pytest.raises(InputError, match=said):
            images[0]


def test_colours_turn_by_degrees():
    red = Image.new("RGB", (4, 4), (200, 20, 20))
    plain = LabelDraws(1.0, 0.0, 0.0, False, None, 0.0, None, 0.0)
    assert np.array_equal(np.asarray(recoloured(red, plain)), np.asarray(red))
    turned = np.asarray(recoloured(red, replace(plain, hue=120.0)))[0, 0]
    assert np.abs(turned.astype(int) - [20, 200, 20]).max() <= 8
    back = np.asarray(recoloured(red, replace(plain, hue=-240.0)))[0, 0]
    assert np.abs(back.astype(int) - [20, 200, 20]).max() <= 8
    grey = np.asarray(recoloured(red, replace(plain, hue=0.0, saturation=-255.0)))[0, 0]
    assert np.ptp(grey) == 0
    bright = np.asarray(recoloured(red, replace(plain, contrast=0.5, brightness=0.2)))[0, 0]
    assert bright.tolist() == [151, 61, 61]
