import torch
from torch import Generator

from calibrant.data.augment import normalise, random_crop, random_flip


def test_every_crop_is_a_window_of_the_padded_image_and_each_image_has_its_own():
    images = torch.arange(1, 1 + 64 * 2 * 5 * 5, dtype=torch.int16).reshape(64, 2, 5, 5)
    cropped = random_crop(images, 2, Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images, [2] * 4)
    corners = set()
    for image, source in zip(cropped, padded, strict=True):
        found = [
            (y, x) for y in range(5) for x in range(5) if torch.equal(image, source[:, y : y + 5, x : x + 5])
        ]
        assert len(found) == 1
        corners.add(found[0])
    assert len(corners) > 15


def test_the_windows_are_uniform():
    image = torch.zeros(1, 1, 3, 3, dtype=torch.uint8)
    image[0, 0, 1, 1] = 1
    cropped = random_crop(image.expand(9000, 1, 3, 3), 1, Generator().manual_seed(1))
    counts = cropped.sum(0).flatten().float()
    assert counts.sum() == 9000
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_a_flip_mirrors_half_of_the_images_left_to_right():
    images = torch.arange(4).reshape(1, 1, 2, 2).expand(2000, 1, 2, 2)
    flipped = random_flip(images, Generator().manual_seed(0))
    mirrored = (flipped == torch.tensor([[1, 0], [3, 2]])).all((1, 2, 3))
    plain = (flipped == torch.tensor([[0, 1], [2, 3]])).all((1, 2, 3))
    assert (mirrored | plain).all()
    assert 900 < mirrored.sum() < 1100


def test_the_same_generator_state_repeats_the_draws():
    images = torch.randint(0, 256, (32, 3, 8, 8), dtype=torch.uint8)
    one, two = (
        random_flip(random_crop(images, 4, g), g) for g in (Generator().manual_seed(3) for _ in range(2))
    )
    assert torch.equal(one, two)
    assert one.dtype == torch.uint8


def test_normalised_channels_have_their_mean_and_deviation_removed():
    images = torch.tensor([10, 30], dtype=torch.uint8).reshape(1, 2, 1, 1)
    assert torch.equal(normalise(images, [5.0, 10.0], [5.0, 40.0]).flatten(), torch.tensor([1.0, 0.5]))
