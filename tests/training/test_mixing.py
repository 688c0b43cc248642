"""Mixed batches in training."""

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import CrossEntropy, RankMixup
from calibrant.losses.mixing import mixed_loss
from calibrant.training.mixing import Mixer
from calibrant.training.recipe import MixConfig
from calibrant.training.recipe_files import load_recipe
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


def test_maps_are_mixed_by_a_share_of_each_image():
    images, _ = batch()
    maps = (images > 0.5).float()
    mixed, pair = Mixer(MixConfig("mixup"), 1, COUNTS, by_image=True).mix(images, maps, 0)
    assert pair.lam.shape == (6,)
    assert pair.lam.unique().numel() == 6
    assert sorted(pair.b.flatten(1).tolist()) == sorted(maps.flatten(1).tolist())
    share = pair.lam.view(-1, 1, 1, 1)
    partners = (mixed - share * images) / (1 - share)
    assert torch.allclose(pair.soft_target(), share * maps + (1 - share) * (partners > 0.5), atol=1e-5)


def test_a_network_of_maps_is_trained_on_mixed_grey_maps(monkeypatch):
    recipe = tiny_recipe(
        data__name="tiny_maps",
        model__name="tiny_dense_net",
        train__loss__name="bce",
        train__mix__name="mixup",
        train__batch_size=4,
    )
    images = read_data(recipe)
    module = build(recipe, images)
    seen = []
    monkeypatch.setattr(module.loss, "forward", lambda z, t, **_: seen.append(t) or z.mean())
    samples = [images.task.train[i] for i in range(4)]
    module._loss_of({key: torch.stack([torch.as_tensor(s[key]) for s in samples]) for key in samples[0]})
    (grey,) = seen
    assert grey.shape == (4, 1, 16, 16)
    assert ((grey > 0.01) & (grey < 0.99)).float().mean() > 0.1


def test_remix_lets_the_smaller_class_take_the_whole():
    images, target = batch()
    mixer = Mixer(MixConfig("remix", kappa=3.0, tau=1.0), 0, COUNTS)
    _, pair = mixer.mix(images, target, 0)
    for a, b, share in zip(pair.a.tolist(), pair.b.tolist(), pair.lam.tolist(), strict=True):
        if COUNTS[a] != COUNTS[b]:
            assert share == (0.0 if COUNTS[a] > COUNTS[b] else 1.0)


def test_regmixup_is_the_mean_of_the_loss_of_the_images_and_of_their_mixtures():
    images, target = batch()
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    config = MixConfig("regmixup", alpha=10.0)
    loss = CrossEntropy()
    value, logits, labels = Mixer(config, 0, COUNTS).loss(loss, network, images, target, 0)
    mixed, pair = Mixer(config, 0, COUNTS).mix(images, target, 0)
    own, beside = CrossEntropy()(network(images), target), mixed_loss(CrossEntropy(), network(mixed), pair)
    assert value.item() == pytest.approx((own + beside).item() / 2)
    assert torch.equal(logits, network(images))
    assert torch.equal(labels, target)
    assert loss.terms["ce"].item() == pytest.approx(value.item())


@pytest.mark.parametrize(("ranking", "copies"), [("margin", 1), ("ndcg", 3)])
def test_rankmixup_sees_the_mixtures_of_each_image(ranking, copies):
    images, target = batch()
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
    config = MixConfig("rank_mixup", ranking=ranking, copies=copies)
    loss = RankMixup(ranking)
    value, *_ = Mixer(config, 0, COUNTS).loss(loss, network, images, target, 0)
    mixer = Mixer(config, 0, COUNTS)
    mixed, pairs = zip(*(mixer.mix(images, target, 0) for _ in range(copies)), strict=True)
    logits, soft = [network(part) for part in mixed], [pair.soft_target(3) for pair in pairs]
    by_hand = loss(network(images), target, mixed_logits=torch.cat(logits), mixed_target=torch.cat(soft))
    assert value.item() == pytest.approx(by_hand.item())
    assert float(loss.terms["mixup"]) > 0


def test_the_recipe_says_how_mixtures_are_ranked():
    mix = {"name": "rank_mixup", "ranking": "ndcg", "copies": 3, "weight": 0.2, "margin": 1.0}
    recipe = tiny_recipe(**{f"train__mix__{key}": value for key, value in mix.items()})
    recipe.train.loss.args = {"pairs": "reference"}
    loss = build(recipe, read_data(recipe)).loss
    assert isinstance(loss, RankMixup)
    assert (loss.ranking, loss.alpha, loss.margin, loss.pairs) == ("ndcg", 0.2, 1.0, "reference")


@pytest.mark.parametrize("name", ["mixup", "remix", "regmixup", "rank_mixup"])
def test_mixing_changes_what_is_learned_and_repeats_itself(tmp_path, name):
    recipe = tiny_recipe(train__epochs=1, train__mix__name=name)
    first, again = (run(recipe, tmp_path / place).predictions("test").logits for place in ("a", "b"))
    plain = run(tiny_recipe(train__epochs=1), tmp_path / "plain").predictions("test").logits
    assert torch.equal(first, again)
    assert not torch.equal(first, plain)


def test_what_cannot_be_mixed_is_refused():
    with pytest.raises(InputError, match="alpha must be above 0, not 0"):
        Mixer(MixConfig("mixup", alpha=0.0), 0, COUNTS)
    with pytest.raises(InputError, match=r"train\.mix\.copies must be at least 1, not 0"):
        load_recipe("cifar10/rank_mixup", {"train": {"mix": {"copies": 0}}})
    recipe = tiny_recipe(train__mix__name="rank_mixup", train__loss__args={"alpha": 0.2})
    with pytest.raises(
        InputError, match=r"train\.loss\.args\.alpha is no option of RankMixup, which takes pairs"
    ):
        build(recipe, read_data(recipe))
    maps = {"data__name": "tiny_maps", "model__name": "tiny_dense_net", "train__loss__name": "bce"}
    recipe = tiny_recipe(**maps, train__mix__name="rank_mixup")
    with pytest.raises(InputError, match="set it to 'mixup' or 'none'"):
        build(recipe, read_data(recipe))
    recipe = tiny_recipe(train__mix__name="rank_mixup", train__loss__name="mbls")
    with pytest.raises(InputError, match=r"set train\.loss\.name to 'ce', not 'mbls'"):
        build(recipe, read_data(recipe))
    recipe = tiny_recipe(train__mix__name="mixup", train__loss__name="crl")
    with pytest.raises(InputError, match="learns from each image by itself"):
        build(recipe, read_data(recipe))
