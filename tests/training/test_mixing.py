"""Mixed batches in training."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.training.mixing import Mixer
from calibrant.training.recipe import MixConfig
from calibrant.training.runner import read_data, run
from calibrant.training.stages import build
from tests.training.tiny import tiny_recipe

COUNTS = torch.tensor([90, 9, 1])


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(6, 1, 2, 2, generator=generator), torch.tensor([0, 1, 2, 0, 1, 2])


def test_an_epoch_repeats_itself_whatever_came_before():
    images, target = batch()
    one, other = (Mixer(MixConfig("mixup"), 0, COUNTS) for _ in range(2))
    one.mix(images, target, 0)
    for _ in range(3):
        (a, p), (b, q) = one.mix(images, target, 1), other.mix(images, target, 1)
        assert torch.equal(a, b)
        assert p.lam == q.lam
    assert one.mix(images, target, 2)[1].lam != other.mix(images, target, 1)[1].lam


def test_images_and_labels_are_mixed_by_the_same_share_and_partner():
    images, target = batch()
    mixed, pair = Mixer(MixConfig("mixup", alpha=0.5), 1, COUNTS).mix(images, target, 0)
    partners = [
        i
        for row, a in zip(mixed, images, strict=True)
        for i, b in enumerate(images)
        if torch.allclose(row, pair.lam * a + (1 - pair.lam) * b)
    ]
    assert sorted(partners) == list(range(6))
    assert torch.equal(pair.b, target[partners])


def test_remix_lets_the_smaller_class_take_the_whole():
    images, target = batch()
    mixer = Mixer(MixConfig("remix", kappa=3.0, tau=1.0), 0, COUNTS)
    _, pair = mixer.mix(images, target, 0)
    for a, b, share in zip(pair.a.tolist(), pair.b.tolist(), pair.lam.tolist(), strict=True):
        if COUNTS[a] != COUNTS[b]:
            assert share == (0.0 if COUNTS[a] > COUNTS[b] else 1.0)


@pytest.mark.parametrize("name", ["mixup", "remix"])
def test_mixing_changes_what_is_learned_and_repeats_itself(tmp_path, name):
    recipe = tiny_recipe(train__epochs=1, train__mix__name=name)
    first, again = (run(recipe, tmp_path / place).predictions("test").logits for place in ("a", "b"))
    plain = run(tiny_recipe(train__epochs=1), tmp_path / "plain").predictions("test").logits
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(InputError, match="alpha must be above 0, not 0"):
        Mixer(MixConfig("mixup", alpha=0.0), 0, COUNTS)
    recipe = tiny_recipe(train__mix__name="mixup", train__loss__name="crl")
    with pytest.raises(InputError, match="learns from each image by itself"):
        build(recipe, read_data(recipe))
