"""Corruptions: every one at its strength, the same for an image in any company; published sets on disk."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import zoom

from calibrant.data import FileImageSet, FileImageTask, ImageSet, ImageTask
from calibrant.data.corrupted import CorruptedSets, CorruptedTest
from calibrant.data.corruptions import CORRUPTIONS, EXTRA, STANDARD, Frost, corrupt
from calibrant.data.corruptions.blur import _disk, _taken, moved
from calibrant.data.corruptions.kind import zoomed
from calibrant.data.corruptions.strengths import SIDES, STRENGTHS, strength
from calibrant.data.folders import read_split
from calibrant.data.image_views import Views
from calibrant.errors import InputError
from tests.data import photos

IDS = torch.arange(6)


@pytest.fixture(scope="module")
def images():
    """Photographs of a kind: smooth colours with edges and a little noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32] / 32
    waves = [np.sin(a * rows + b * columns + c) for a, b, c in random.uniform(2, 9, (18, 3))]
    pixels = 128 + 70 * np.stack(waves).reshape(6, 3, 32, 32) + random.normal(0, 4, (6, 3, 32, 32))
    pixels[:, :, 10:20, 12:24] = random.integers(20, 236, (6, 3, 1, 1))
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


def test_all_are_there_but_the_one_that_needs_photographs():
    assert [*CORRUPTIONS] == [name for name in (*STANDARD, *EXTRA) if name != "frost"]
    assert set(STRENGTHS) == {*CORRUPTIONS, "frost"}
    assert len(STANDARD) == 15
    for sizes in STRENGTHS.values():
        assert [len(levels) for levels in sizes] == [5] * len(SIDES)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_what_becomes_of_an_image_depends_on_its_id_alone(images, name):
    together = corrupt(images, name, 3, ids=IDS, seed=1)
    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    alone = corrupt(images[4:5], name, 3, ids=torch.tensor([4]), seed=1)
    assert torch.equal(alone[0], together[4])
    apart = (together.float() - images.float()).abs().mean((1, 2, 3))
    assert (apart > 0.4).all()
    still = {"defocus_blur", "zoom_blur", "gaussian_blur", "brightness", "contrast", "saturate", "pixelate"}
    drawn = not torch.equal(together, corrupt(images, name, 3, ids=IDS, seed=2))
    assert drawn == (name not in {*still, "jpeg_compression"})


@pytest.fixture(scope="module")
def photograph():
    """One of the size of ImageNet: smooth colours, a grid of dark lines, a square with sharp edges."""
    rows, columns = np.mgrid[:224, :224] / 224
    pixels = 128 + 90 * np.stack([np.sin(a * rows + b * columns) for a, b in ((5, 9), (12, 3), (7, 7))])
    pixels[:, 80:140, 60:150] += np.array([40, -40, 20])[:, None, None]
    pixels[:, ::9] -= 30
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))[None]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_large_photograph_is_corrupted_and_stays_itself(photograph, name):
    number = torch.tensor([7])
    changed = corrupt(photograph, name, 5, ids=number)
    assert (changed.shape, changed.dtype) == (photograph.shape, torch.uint8)
    assert (changed.double() - photograph.double()).abs().mean() > 4
    assert 0.3 < np.corrcoef(changed.flatten(), photograph.flatten())[0, 1] < 0.995
    assert torch.equal(changed, corrupt(photograph, name, 5, ids=number))
    assert not torch.equal(changed, corrupt(photograph, name, 1, ids=number))


def test_noise_has_the_published_strength():
    grey = torch.full((8, 3, 32, 32), 127, dtype=torch.uint8)
    ids = torch.arange(8)
    for severity in (1, 5):
        (deviation,) = strength("gaussian_noise", severity, 32)
        noisy = corrupt(grey, "gaussian_noise", severity, ids=ids).double() / 255
        assert float(noisy.std()) == pytest.approx(deviation, rel=0.03)
        (photons,) = strength("shot_noise", severity, 32)
        shots = corrupt(grey, "shot_noise", severity, ids=ids).double() / 255
        assert float(shots.std()) == pytest.approx((127 / 255 / photons) ** 0.5, rel=0.03)
        (share,) = strength("impulse_noise", severity, 32)
        salted = corrupt(grey, "impulse_noise", severity, ids=ids)
        for end in (0, 255):
            assert float((salted == end).double().mean()) == pytest.approx(share / 2, rel=0.15)
    means = corrupt(grey // 2, "speckle_noise", 5, ids=ids).double() / 255
    assert float(means.std()) == pytest.approx(0.2 * 63 / 255, rel=0.03)


def test_colours_follow_their_formulas(images):
    less = corrupt(images, "contrast", 5, ids=IDS).double()
    mean = images.double().mean((2, 3), keepdim=True)
    assert float((less - (0.15 * (images - mean) + mean)).abs().max()) <= 1
    bright = corrupt(images, "brightness", 5, ids=IDS).double()
    top = images.double().amax(1)
    assert float((bright.amax(1) - (top + 0.3 * 255).clamp(max=255)).abs().max()) <= 1
    dull = corrupt(images, "saturate", 2, ids=IDS).double()
    expected = top[:, None] - 0.1 * (top[:, None] - images)
    assert float((dull - expected).abs().max()) <= 1


def test_a_zoom_is_that_of_scipy_cut_to_the_size():
    image = np.random.default_rng(0).random((37, 37)).astype(np.float32)
    for factor in (1.0, 1.06, 1.25, 3.0):
        inner = int(np.ceil(37 / factor))
        top = (37 - inner) // 2
        whole = zoom(image[top : top + inner, top : top + inner], factor, order=1)
        cut = (len(whole) - 37) // 2
        np.testing.assert_allclose(
            zoomed(image, factor), whole[cut : cut + 37, cut : cut + 37], atol=1e-5, err_msg=str(factor)
        )


def test_motion_goes_along_its_angle_and_a_disk_is_round():
    point = np.zeros((2, 1, 21, 21), np.float32)
    point[:, :, 10, 10] = 1
    across, down = moved(point, 4, 2, [0.0, 90.0])[:, 0]
    assert (across[10] > 0).sum() == (down[:, 10] > 0).sum() == 9
    assert across.sum() == pytest.approx(1, abs=1e-5)
    assert across[10].sum() == pytest.approx(1, abs=1e-5)
    disk = _disk(3, 0.1)
    assert disk.sum() == pytest.approx(1, abs=1e-6)
    assert len(disk) == 7
    assert (disk > 1e-9).sum() == 29


def test_glass_takes_colours_in_turn():
    slow = np.arange(12 * 11).reshape(12, 11)
    random = np.random.default_rng(5)
    down, right = random.integers(-2, 2, (2, 12, 11))
    for row in range(10, 2, -1):
        for column in range(9, 2, -1):
            slow[row, column] = slow[row + down[row, column], column + right[row, column]]
    np.testing.assert_array_equal(_taken(12, 11, 2, np.random.default_rng(5)), slow.ravel())


@pytest.fixture
def frost(tmp_path):
    """Six photographs whose pixels tell which they are, and where."""
    rows, columns = np.mgrid[:400, :500]
    for i in range(6):
        pixels = np.stack([rows // 2, columns // 2, np.full((400, 500), 40 * i)], -1)
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / f"frost{i + 1}.png")
    (tmp_path / "README.txt").write_text("no photograph")
    return Frost(tmp_path)


@pytest.mark.parametrize(
    ("side", "severity", "own", "share", "scale"),
    [(32, 4, 0.85, 0.4, 0.2), (64, 2, 0.9, 0.4, 0.3), (224, 1, 1, 0.4, 1)],
)
def test_frost_is_a_part_of_a_photograph_over_a_darker_image(frost, side, severity, own, share, scale):
    ids = torch.arange(40)
    dark = torch.full((40, 3, side, side), 60, dtype=torch.uint8)
    frosted = corrupt(dark, "frost", severity, ids=ids, frost=frost).double()
    layers = (frosted - own * 60) / share
    which = layers[:, 2].mean((1, 2)) / 40
    assert set(which.round().int().tolist()) == set(range(5))
    # The published photographs are shrunk: a pixel of the layer is 1 / scale of theirs.
    slope = (layers[:, 0, -1] - layers[:, 0, 0]).mean(1) / (side - 1)
    assert torch.allclose(slope, torch.full_like(slope, 0.5 / scale), rtol=0.05)
    starts = layers[:, 0, 0, 0]
    assert len(starts.round().unique()) > 5
    alone = corrupt(dark[7:8], "frost", severity, ids=ids[7:8], frost=frost)
    assert torch.equal(alone[0].double(), frosted[7])


def test_photographs_of_frost_that_do_not_do_are_refused(frost, tmp_path):
    large = torch.zeros(1, 3, 420, 420, dtype=torch.uint8)
    with pytest.raises(InputError, match="shrunk by 1, has 500x400 pixels, fewer than an image of 420x420"):
        corrupt(large, "frost", 1, ids=IDS[:1], frost=frost)
    for folder in (tmp_path / "none", tmp_path / "README.txt"):
        with pytest.raises(InputError, match=r"were looked for in .* the package imagecorruptions holds some"):
            Frost(folder)
    (tmp_path / "frost1.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"frost1.png cannot be read as an image"):
        Frost(tmp_path)


def test_what_cannot_be_made_is_said(images):
    with pytest.raises(InputError, match="photographs of frost"):
        corrupt(images, "frost", 1, ids=IDS)
    with pytest.raises(InputError, match="did you mean 'motion_blur'"):
        corrupt(images, "motion_blurr", 1, ids=IDS)
    with pytest.raises(InputError, match="1 to 5, not 6"):
        corrupt(images, "fog", 6, ids=IDS)
    with pytest.raises(InputError, match="3 channels, not 1"):
        corrupt(images[:, :1], "fog", 1, ids=IDS)


@pytest.fixture
def task(images):
    part = ImageSet(images, torch.arange(6) % 2, IDS)
    return ImageTask(part, part, part, ["cat", "dog"])


def test_cifar_c_is_read_by_severity(tmp_path, task):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    np.save(tmp_path / "fog.npy", pixels)
    np.save(tmp_path / "spatter.npy", pixels)
    np.save(tmp_path / "labels.npy", np.tile(np.arange(6) % 2, 5).astype(np.uint8))
    sets = CorruptedSets(tmp_path, task)
    assert sets.names() == ["fog", "spatter"]
    third = sets.read("fog", 3)
    batch = third[torch.tensor([5, 0])]
    assert batch["target"].tolist() == [1, 0]
    np.testing.assert_array_equal(batch["image"][0].permute(1, 2, 0).numpy(), pixels[12 + 5])
    test = CorruptedTest(task, tmp_path, images=4, seed=3)
    assert test.names() == ["fog"]
    some, clean = test.read("fog", 1), test.clean()
    assert len(some) == len(clean) == 4
    assert torch.equal(some[torch.arange(4)]["id"], clean[torch.arange(4)]["id"])
    with pytest.raises(InputError, match=r"has no frost of severity 1: frost.npy.*it holds fog, spatter"):
        sets.read("frost", 1)
    for labels, said in (
        (np.full(30, 7, np.uint8), "label 7, but the run knows 2 classes"),
        (np.full(30, -1), "label -1, but the run knows 2 classes"),
        (np.array(1), "shape (), and fog.npy 30 images"),
        (np.tile(np.arange(6) // 3, 5), "are not those of the 6 test images of the run's data"),
        (np.zeros((30, 2), int), "shape (30, 2), and fog.npy 30 images"),
        (np.full(30, np.nan), "float64 values of shape (30,)"),
    ):
        np.save(tmp_path / "labels.npy", labels)
        with pytest.raises(InputError, match=re.escape(said)):
            sets.read("fog", 1)
    np.save(tmp_path / "fog.npy", pixels[:0])
    with pytest.raises(InputError, match=r"fog\.npy 0 images"):
        sets.read("fog", 1)
    np.save(tmp_path / "fog.npy", pixels[:, :8, :8])
    with pytest.raises(InputError, match="images of 8 x 8 pixels, and those of the run have 32 x 32"):
        sets.read("fog", 1)


def test_tiny_imagenet_c_is_read_in_the_order_of_the_test_images(tmp_path):
    classes = ["n01", "n02"]
    fog = tmp_path / "c" / "fog" / "1"
    photos.write_folders(fog, [3, 3], classes)
    paths = {path.stem: path for path in sorted(fog.rglob("*.JPEG"))}
    # The list of the test images mixes the classes, whose folders are read one after the other.
    names = ["n02_1", "n01_2", "n01_0", "n02_2", "n02_0", "n01_1"]
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(paths[name]))) for name in names])
    targets = torch.tensor([classes.index(name[:3]) for name in names])
    part = ImageSet(pixels.permute(0, 3, 1, 2).contiguous(), targets, IDS)
    task = ImageTask(part, part, part, ["tench", "crane"], test_names=names)
    # What is called corrupted are the clean photographs themselves, so that any other one shows.
    test = CorruptedTest(task, tmp_path / "c", images=4, seed=3)
    clean, foggy = (images[torch.arange(4)] for images in (test.clean(), test.read("fog", 1)))
    assert torch.equal(foggy["image"], clean["image"])
    assert torch.equal(foggy["target"], clean["target"])
    assert not test.others(test.read("fog", 1))
    strange = replace(task, test_names=["val_0", *names[1:]])
    # Some are missing, the others are those of the test.
    assert not CorruptedTest(strange, tmp_path / "c").others(
        CorruptedSets(tmp_path / "c", strange).read("fog", 1)
    )
    foreign = replace(task, test_names=[f"val_{i}" for i in range(6)])
    assert CorruptedTest(foreign, tmp_path / "c").others(CorruptedSets(tmp_path / "c", foreign).read("fog", 1))
    assert CorruptedSets(tmp_path / "c", strange).read("fog", 1).targets.tolist() == [0, 0, 0, 1, 1, 1]


def test_grey_images_are_refused_before_any_is_judged(images):
    part = ImageSet(images[:, :1], torch.arange(6) % 2, IDS)
    with pytest.raises(InputError, match="3 channels, not 1"):
        CorruptedTest(ImageTask(part, part, part, ["cat", "dog"])).read("fog", 1)


def test_imagenet_c_is_read_from_its_folders(tmp_path):
    classes = ["n01", "n02"]
    photos.write_folders(tmp_path / "train", [2, 3], classes)
    photos.write_folders(tmp_path / "c" / "weather" / "fog" / "2", [1, 2], classes)
    train = read_split(tmp_path / "train", classes, Views(size=32, resize=36))
    # Labels by falling number of images, as of a long-tailed set.
    train.targets = 1 - train.targets
    task = FileImageTask(train, train.subset(torch.arange(0)), train, ["second", "first"])
    found = CorruptedSets(tmp_path / "c", task).read("fog", 2)
    assert found.targets.tolist() == [1, 0, 0]
    image = found[torch.tensor([0])]["image"]
    assert image.shape == (1, 3, 32, 32)
    # The files are called like those of the second class: they alone test, in their order.
    test = train.subset(torch.tensor([3, 2]))
    part = CorruptedSets(tmp_path / "c", replace(task, test=test)).read("fog", 2)
    assert [part.path(at).stem for at in range(2)] == ["n02_1", "n02_0"]
    assert part.targets.tolist() == [0, 0]
    # Where a name comes once a class, it does not tell which image is meant.
    alike = tmp_path / "c" / "weather" / "snow" / "1"
    for name in classes:
        (alike / name).mkdir(parents=True)
        for i in range(2):
            Image.new("RGB", (32, 32)).save(alike / name / f"{i}.png")
    twice = FileImageSet(
        alike, [f"{name}/{i}.png" for name in classes for i in range(2)], IDS[:4] // 2, Views()
    )
    snow = CorruptedSets(tmp_path / "c", replace(task, test=twice)).read("snow", 1)
    assert snow.targets.tolist() == [1, 1, 0, 0]
    with pytest.raises(InputError, match=r"gaussian_noise\.npy with labels\.npy, or folders"):
        CorruptedSets(tmp_path, task).names()
    (tmp_path / "c" / "weather" / "fog" / "2" / "n02").rename(tmp_path / "c" / "weather" / "fog" / "2" / "n03")
    with pytest.raises(InputError, match="not the 2 of the run's data"):
        CorruptedSets(tmp_path / "c", task).read("fog", 2)
