"""Which files are a data set's images, and what is said of those that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from calibrant import data
from calibrant.data.folders import images_below
from calibrant.data.pictures import read_picture
from calibrant.errors import InputError


@pytest.fixture
def photos(tmp_path):
    for part in ("train", "test"):
        for name in ("a", "b"):
            (tmp_path / part / name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (8, 8), (40 * i, 0, 0)).save(tmp_path / part / name / f"{i}.png")
    return tmp_path


def test_what_file_managers_and_editors_leave_behind_is_no_image_and_no_class(photos):
    checkpoints = photos / "train" / "a" / ".ipynb_checkpoints"
    checkpoints.mkdir()
    Image.new("RGB", (8, 8)).save(checkpoints / "0-checkpoint.png")
    (photos / "train" / "a" / "._0.png").write_bytes(b"litter")
    for name in ("__MACOSX", "@eaDir", ".cache"):
        (photos / "train" / name).mkdir()
    assert images_below(photos / "train", "a") == ["a/0.png", "a/1.png", "a/2.png"]
    assert data.create("image_folder", root=photos, val=2).class_names == ["a", "b"]


def test_a_class_without_a_training_image_is_refused(photos):
    (photos / "train" / "c").mkdir()
    with pytest.raises(InputError, match=r"train/c holds no image: .* delete the folder if it is no class"):
        data.create("image_folder", root=photos, val=2)


def test_more_than_eight_bits_are_not_cut_off_unsaid(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match=r"deep\.png has more than 8 bits a channel \(mode 'I;16'\)"):
        read_picture(tmp_path / "deep.png")


def test_a_picture_that_is_damaged_within_is_one_sentence(tmp_path):
    path = tmp_path / "damaged.png"
    Image.effect_noise((300, 300), 80).save(path)
    whole = bytearray(path.read_bytes())
    second = whole.index(b"IDAT", whole.index(b"IDAT") + 4)
    whole[second : second + 4] = b"\x00\x01\x02\x03"
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"damaged\.png cannot be read as an image"):
        read_picture(path)


def test_a_picture_beyond_all_bounds_is_one_sentence(tmp_path, monkeypatch):
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(InputError, match=r"large\.png is too large .*; make it smaller"):
        read_picture(tmp_path / "large.png")
