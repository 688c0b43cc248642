"""Images with maps: folders, labels, augmentation that repeats itself, loaders."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from calibrant import data
from calibrant.data import DenseData, Loading, MapSet, read_folder
from calibrant.data.map_transforms import Draws
from calibrant.data.pair_set import Augmented, Pair
from calibrant.errors import InputError


def write(folder, count, *, layout=("Image", "GT"), prefix="a", seed=0, label="L"):
    """Write pictures of several sizes; the map of each is its bright part."""
    rng = np.random.default_rng(seed)
    for sub in layout:
        (folder / sub).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        height, width = 40 + 2 * i, 50 - i
        rows, columns = np.mgrid[:height, :width]
        thing = np.hypot(rows - height / 2, columns - width / 3) < 12
        pixels = np.where(thing[..., None], 220, 40) + rng.integers(0, 20, (height, width, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / layout[0] / f"{prefix}{i}.jpg", quality=95)
        picture = Image.fromarray((255 * thing).astype(np.uint8))
        if len(layout) > 1:
            picture.convert(label).save(folder / layout[1] / f"{prefix}{i}.png")


@pytest.fixture
def root(tmp_path):
    write(tmp_path / "Train", 12)
    write(tmp_path / "Val", 3, prefix="v")
    write(tmp_path / "Test", 4, prefix="t")
    write(tmp_path / "textures", 2, layout=(".",))
    return tmp_path


def test_a_sample_is_normalised_and_its_label_grey_at_the_edges(root):
    images = read_folder(root / "Train", 32)
    sample = images[3]
    assert sample["image"].shape == (3, 32, 32)
    assert sample["target"].shape == (1, 32, 32)
    assert sample["image"].dtype == sample["target"].dtype == torch.float32
    assert int(sample["id"]) == 3
    grey = sample["target"]
    assert 0 < ((grey > 0) & (grey < 1)).float().mean() < 0.4
    assert set(read_folder(root / "Train", 32, binarise=True)[3]["target"].unique().tolist()) == {0.0, 1.0}
    bright = sample["image"].mean(0)[grey[0] == 1].mean()
    assert float(bright) == pytest.approx((228 / 255 - 0.449) / 0.226, abs=0.1)


def test_a_batch_is_its_samples(root):
    images = read_folder(root / "Train", 32)
    batch = images[torch.tensor([5, 0, 2])]
    assert batch["id"].tolist() == [5, 0, 2]
    assert batch["image"].shape == (3, 3, 32, 32)
    assert torch.equal(batch["target"][1], images[0]["target"])


def test_what_is_drawn_depends_on_seed_epoch_and_image_alone(root):
    images = read_folder(root / "Train", 32)
    some = images[Augmented(0, 4, torch.tensor([1, 2, 3]))]
    again = read_folder(root / "Train", 32, keep=0)[Augmented(0, 4, torch.tensor([3, 1]))]
    assert torch.equal(some["image"][2], again["image"][0])
    assert torch.equal(some["target"][0], again["target"][1])
    for other in (Augmented(0, 5, torch.tensor([1, 2, 3])), Augmented(1, 4, torch.tensor([1, 2, 3]))):
        assert not torch.equal(images[other]["image"], some["image"])
    assert not torch.equal(images[[1, 2, 3]]["image"], some["image"])


def test_draws_have_the_published_ranges():
    generator = torch.Generator().manual_seed(0)
    draws = [Draws.draw(100, 80, generator) for _ in range(4000)]
    assert {d.width for d in draws} == set(range(70, 100))
    assert {d.height for d in draws} == set(range(50, 80))
    angles = [d.angle for d in draws if d.angle is not None]
    assert set(angles) == set(range(-15, 15))
    assert len(angles) / 4000 == pytest.approx(0.2, abs=0.03)
    assert sum(d.flip for d in draws) / 4000 == pytest.approx(0.5, abs=0.03)
    with pytest.raises(InputError, match="30x80 pixels is too small"):
        Draws.draw(30, 80, generator)


def test_image_and_label_stay_together(root):
    images = read_folder(root / "Train", 48)
    for epoch in range(6):
        batch = images[Augmented(0, epoch, torch.arange(12))]
        brightness = batch["image"].mean(1)
        for picture, label in zip(brightness, batch["target"][:, 0], strict=True):
            assert picture[label > 0.9].min() > 0.9
            assert picture[label < 0.01].max() < 0.9


def test_memory_is_kept_to_the_limit(root):
    images = read_folder(root / "Train", 32, keep=3 * 4 * 40 * 50)
    images.preload()
    assert 2 <= len(images._kept) <= 4
    (root / "Train" / "Image" / "a0.jpg").unlink()
    assert images[0]["image"].shape == (3, 32, 32)
    nothing = read_folder(root / "Val", 32, keep=0)
    nothing.preload()
    assert not nothing._kept


def test_labels_in_their_own_size(root):
    images = read_folder(root / "Train", 32)
    assert images.names[:4] == ["a0", "a1", "a10", "a11"]
    assert images.label(4).shape == (44, 48)
    assert set(images.label(4).unique().tolist()) == {0, 255}
    background, thing = images.pixel_counts().tolist()
    assert thing == sum(int((images.label(i) == 255).sum()) for i in range(12))
    assert background + thing == sum((40 + 2 * i) * (50 - i) for i in range(12))


def test_the_generic_set(root):
    task = data.create("saliency", root=root, size=32, ood_folder="textures")
    assert (len(task.train), len(task.val), len(task.test)) == (12, 3, 4)
    assert task.test.names == ["t0", "t1", "t2", "t3"]
    textures = task.ood["textures"]
    assert len(textures) == 2
    assert not textures[0]["target"].any()
    few = data.create("saliency", root=root, size=32, train=5, val=2, test=3)
    assert (len(few.train), len(few.val), len(few.test)) == (5, 2, 3)
    assert few.train.names == sorted(few.train.names)


def test_lists_of_names_divide_a_folder(root):
    (root / "train.txt").write_text("a0\na2\n\na4\na6\n")
    (root / "val.txt").write_text("a1\na3\n")
    task = data.create("saliency", root=root, size=32, train_list="train.txt", val_list="val.txt")
    assert task.train.names == ["a0", "a2", "a4", "a6"]
    assert task.val.names == ["a1", "a3"]
    task = data.create("saliency", root=root, size=32, val_list="val.txt")
    assert set(task.train.names) == {f"a{i}" for i in range(12)} - {"a1", "a3"}


def test_validation_is_held_out_where_nothing_says_which(root):
    task = data.create("saliency", root=root, size=32, val_folder=None, val=4)
    assert len(task.val) == 4
    assert not set(task.val.names) & set(task.train.names)
    assert len(task.train) == 8
    other = data.create("saliency", root=root, size=32, val_folder=None, val=4, split_seed=2)
    assert other.val.names != task.val.names
    assert len(data.create("saliency", root=root, size=32, val_folder=None).val) == 1


@pytest.mark.parametrize("nested", [True, False])
def test_duts_in_both_layouts(tmp_path, nested):
    if nested:
        write(tmp_path / "Train" / "DUTS-TR", 6)
        write(tmp_path / "Test" / "DUTS-TE", 3)
        write(tmp_path / "Test" / "DTD_Texture_500", 2, layout=("Image", "GT"), label="RGB")
        (tmp_path / "DUTS-TR-Train.txt").write_text("a0\na1\na2\na3\n")
        (tmp_path / "DUTS-TR-Validation.txt").write_text("a4\na5\n")
        task = data.create("duts", root=tmp_path, size=32)
        assert task.val.names == ["a4", "a5"]
        assert not task.ood["DTD_Texture_500"][0]["target"].any()
    else:
        write(tmp_path / "DUTS-TR", 6, layout=("DUTS-TR-Image", "DUTS-TR-Mask"))
        write(tmp_path / "DUTS-TE", 3, layout=("DUTS-TE-Image", "DUTS-TE-Mask"))
        task = data.create("duts", root=tmp_path, size=32, val=2)
        assert len(task.val) == 2
        assert task.ood == {}
    assert (len(task.train), len(task.test)) == (4, 3)


@pytest.mark.parametrize(
    ("name", "folder", "layout", "names"),
    [
        ("DUT-OMRON", "DUT-OMRON", ("DUT-OMRON-image", "pixelwiseGT-new-PNG"), "im"),
        ("PASCAL-S", "PASCAL-S", ("datasets/imgs/pascal", "datasets/masks/pascal"), ""),
        ("SOD", "Test/SOD", ("Image", "GT"), ""),
        ("ECSSD", "ECSSD", ("images", "ground_truth_mask"), "000"),
        ("HKU-IS", "TestDataset/HKU-IS", ("imgs", "gt"), "000"),
        ("COD10K", "COD10K-v3", ("Test/Image", "Test/GT_Object"), "COD10K-CAM-1-Aquatic-"),
    ],
)
def test_test_sets_are_found_as_their_authors_pack_them(tmp_path, name, folder, layout, names):
    write(tmp_path / "DUTS-TR", 4, layout=("DUTS-TR-Image", "DUTS-TR-Mask"))
    write(tmp_path / "DUTS-TE", 2, layout=("DUTS-TE-Image", "DUTS-TE-Mask"))
    write(tmp_path / folder, 3, layout=layout, prefix=names)
    if name == "COD10K":
        write(tmp_path / folder, 2, layout=layout, prefix="COD10K-NonCAM-3-Flying-")
    task = data.create("duts", root=tmp_path, size=32, val=1, test_set=name)
    assert task.test.names == [f"{names}{i}" for i in range(3)]
    assert task.test[0]["target"].sum() > 0
    beside = data.create("duts", root=tmp_path, size=32, val=1)
    assert beside.test.names == ["a0", "a1"]
    assert beside.ood[name].names == task.test.names
    assert data.create("duts", root=tmp_path, size=32, val=1, others=[]).ood == {}
    with pytest.raises(InputError, match="takes a list or null as others, not 'ECSSD'"):
        data.create("duts", root=tmp_path, others="ECSSD")
    assert task.ood.keys() == {"DUTS-TE"}  # what is there, and is not the test set, is judged too


def test_duts_finds_textures_in_either_place_and_misses_half_of_its_lists(tmp_path):
    with pytest.raises(
        InputError, match=rf"in {tmp_path}, where a folder Train/DUTS-TR or DUTS-TR was expected"
    ):
        data.create("duts", root=tmp_path)
    write(tmp_path / "DUTS-TR", 6)
    write(tmp_path / "DUTS-TE", 3)
    write(tmp_path / "Test" / "DTD_Texture_500", 2, layout=("Image",))
    assert data.create("duts", root=tmp_path, size=32, val=2).ood["DTD_Texture_500"].names == ["a0", "a1"]
    (tmp_path / "DUTS-TR-Train.txt").write_text("a0\n")
    with pytest.raises(InputError, match=r"lacks DUTS-TR-Validation\.txt, the other list"):
        data.create("duts", root=tmp_path, size=32)


def test_duts_takes_textures_as_they_are_packed_and_folders_as_others_call_them(tmp_path):
    write(tmp_path / "DUTS-TR", 6, layout=("image", "mask"))
    write(tmp_path / "DUTS-TE", 3, layout=("images", "gt"))
    for kind in ("banded", "woven"):
        write(tmp_path / "dtd" / "images" / kind, 2, layout=(".",), prefix=f"{kind}_")
    assert not data.create("duts", root=tmp_path, size=32, val=2).ood
    (tmp_path / "Texture_Image_Names.txt").write_text("woven_0.jpg\nbanded_1.jpg\n")
    task = data.create("duts", root=tmp_path, size=32, val=2)
    assert task.ood["DTD_Texture_500"].names == ["banded_1", "woven_0"]
    assert (len(task.train), len(task.test)) == (4, 3)
    everything = data.create(
        "saliency", root=tmp_path, train_folder="DUTS-TR", test_folder="DUTS-TE", ood_folder="dtd"
    )
    assert len(everything.ood["dtd"]) == 4
    write(tmp_path / "dtd" / "images" / "zigzagged", 1, layout=(".",), prefix="woven_")
    again = data.create(
        "saliency", root=tmp_path, train_folder="DUTS-TR", test_folder="DUTS-TE", ood_folder="dtd"
    )
    assert again.ood["dtd"].names == ["banded_0", "banded_1", "woven/woven_0", "woven_1", "zigzagged/woven_0"]


def test_a_missing_test_set_is_named_with_its_layout(tmp_path):
    write(tmp_path / "DUTS-TR", 4)
    with pytest.raises(InputError) as said:
        data.create("duts", root=tmp_path, val=1, test_set="DUT-OMRON")
    for part in (
        "5,168 photographs",
        str(tmp_path / "Test" / "DUT-OMRON"),
        "DUT-OMRON-image and pixelwiseGT-new-PNG",
    ):
        assert part in str(said.value)


def module(root, workers=0, **loading):
    task = data.create("saliency", root=root, size=32, ood_folder="textures")
    return DenseData(task, Loading(batch_size=5, eval_batch_size=2, **loading), workers=workers)


def epoch_of(part, epoch):
    loader = part.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_loaders_deliver_batches(root):
    part = module(root)
    assert (part.channels, part.class_names) == (3, ["background", "object"])
    assert part.class_counts.tolist() == part.task.train.pixel_counts().tolist()
    assert [len(batch["id"]) for batch in epoch_of(part, 0)] == [5, 5, 2]
    assert sorted(torch.cat([batch["id"] for batch in epoch_of(part, 0)]).tolist()) == list(range(12))
    assert len(list(part.val_dataloader())) == 2
    for images, count in ((part.task.val, 3), (part.task.test, 4)):
        assert torch.cat([b["id"] for b in part.plain(images)]).tolist() == list(range(count))
    assert not torch.cat([b["target"] for b in part.plain(part.task.ood["textures"])]).any()
    watched = torch.cat([b["id"] for b in module(root, watch_test=True).val_dataloader()])
    assert len(watched) == 4


def test_an_epoch_repeats_itself_whatever_the_number_of_workers(root):
    first, again, other = (
        epoch_of(module(root, workers), epoch) for workers, epoch in ((0, 3), (2, 3), (0, 4))
    )
    for one, two in zip(first, again, strict=True):
        for key in one:
            assert torch.equal(one[key], two[key])
    assert not torch.equal(first[0]["id"], other[0]["id"])


def test_processes_share_the_batches_of_one(root):
    alone = epoch_of(module(root), 2)
    shares = []
    for rank in range(2):
        part = module(root)
        part.trainer = SimpleNamespace(world_size=2, global_rank=rank)
        shares.append(epoch_of(part, 2))
    for whole, *parts in zip(alone, *shares, strict=True):
        for key in whole:
            assert torch.equal(torch.cat([p[key] for p in parts]), whole[key])


def test_without_augmentation_images_are_as_they_are(root):
    part = module(root, augment=False)
    for batch in epoch_of(part, 1):
        assert torch.equal(batch["image"], part.task.train[batch["id"]]["image"])


def test_what_is_missing_is_named(root):
    with pytest.raises(InputError, match="Nowhere, where the folders Image and GT or Nowhere-Image and"):
        data.create("saliency", root=root, train_folder="Nowhere")
    with pytest.raises(InputError, match=r"no folder .*Vall, which data\.args\.val_folder names"):
        data.create("saliency", root=root, val_folder="Vall")
    with pytest.raises(InputError, match=r"no list of names .*absent\.txt"):
        data.create("saliency", root=root, train_list="absent.txt")
    (root / "names.txt").write_text("a0\nzebra\n")
    with pytest.raises(InputError, match=r"lacks 1 of the 2 images that .*names\.txt names, zebra"):
        data.create("saliency", root=root, train_list="names.txt")
    with pytest.raises(InputError, match="asks for 40 images of 12"):
        data.create("saliency", root=root, train=40)
    with pytest.raises(InputError, match="hold out 12 of 12"):
        data.create("saliency", root=root, val_folder=None, val=12)
    (root / "Test" / "GT" / "t1.png").unlink()
    with pytest.raises(InputError, match=r"1 of the 4 images in .* have no map in .*: expected t1\.png"):
        data.create("saliency", root=root)
    for file in (root / "Val" / "Image").iterdir():
        file.unlink()
    with pytest.raises(InputError, match=r"holds no image: expected files ending in \.jpg"):
        read_folder(root / "Val", 32)
    with pytest.raises(InputError, match="has no option 'sise'"):
        data.create("saliency", root=root, sise=32)


def test_pictures_that_cannot_be_used(root):
    (root / "Train" / "Image" / "a0.jpg").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"a0\.jpg cannot be read as an image"):
        read_folder(root / "Train", 32)[0]
    faint = root / "Train" / "GT" / "a1.png"
    Image.fromarray(np.eye(42, 49, dtype=np.uint8)).save(faint)
    with pytest.raises(InputError, match=r"a1\.png holds the levels 0 and 1 alone, .*: multiply"):
        read_folder(root / "Train", 32)[1]


def test_a_map_of_another_size_than_its_image_trains_and_judges(root):
    files = root / "Train" / "Image" / "a1.jpg", root / "Train" / "GT" / "a2.png"
    images = MapSet([Pair("x", *files)], 32)
    assert images.label(0).shape == (44, 48)
    drawn = images[Augmented(0, 0, torch.tensor([0]))]
    assert drawn["image"].shape[2:] == drawn["target"].shape[2:] == (32, 32)
    assert drawn["target"].sum() > 0


def test_of_two_maps_of_an_image_that_of_its_size_is_taken(root):
    maps = root / "Train" / "GT"
    right = Image.open(maps / "a1.png")
    right.convert("L").save(maps / "a1.jpg")
    right.resize((20, 20)).save(maps / "a1.png")
    assert read_folder(root / "Train", 32).pairs[1].label.name == "a1.jpg"
    right.convert("L").save(maps / "a1.bmp")
    with pytest.raises(InputError, match=r"GT holds a1\.bmp and a1\.jpg and a1\.png, maps of one image"):
        read_folder(root / "Train", 32)


def test_a_map_beside_its_image_is_not_taken_for_it(root):
    folder = root / "Train" / "Image"
    Image.new("L", (50, 40)).save(folder / "a0.png")
    with pytest.raises(InputError, match=r"Image holds a0\.jpg and a0\.png, of one name"):
        read_folder(root / "Train", 32)


def test_what_a_file_manager_leaves_behind_is_no_image(root):
    (root / "Train" / "Image" / "._a0.jpg").write_bytes(b"litter")
    assert read_folder(root / "Train", 32).names[0] == "a0"


def test_no_image_trains_and_tests(root):
    with pytest.raises(InputError, match=r"12 images would both train and test, a0\.jpg for example"):
        data.create("saliency", root=root, test_folder="Train", size=32)


def test_a_sampler_of_classes_is_refused(root):
    images = DenseData(data.create("saliency", root=root, size=32), Loading(order=lambda targets: None))
    with pytest.raises(InputError, match="one with a map has none"):
        images.train_order()


def test_a_worker_that_meets_a_damaged_image_says_so_in_one_sentence(root):
    task = data.create("saliency", root=root, size=32)
    (root / "Train" / "Image" / "a0.jpg").write_bytes(b"nothing")
    task.train.keep = 0  # nothing is read before the workers start
    task.val.keep = 0
    images = DenseData(task, Loading(batch_size=12), workers=1)
    with pytest.raises(InputError) as said:
        epoch_of(images, 0)
    assert str(said.value).startswith(f"{root / 'Train' / 'Image' / 'a0.jpg'} cannot be read as an image")
