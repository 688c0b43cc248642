from types import SimpleNamespace

import torch

from calibrant import data
from calibrant.data import ImageData, ImageSet, ImageTask, Loading


def images(count: int, seed: int) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)
    return ImageSet(pixels, torch.arange(count) % 2, torch.arange(count) + 100)


def module(**loading: object) -> ImageData:
    task = ImageTask(images(20, 0), images(6, 1), images(7, 2), ["a", "b"], mean=[100.0] * 3, std=[50.0] * 3)
    return ImageData(task, Loading(batch_size=8, eval_batch_size=4, **loading))


def training(epoch: int) -> SimpleNamespace:
    return SimpleNamespace(training=True, current_epoch=epoch, world_size=1, global_rank=0)


def one_epoch(part: ImageData, epoch: int) -> list[torch.Tensor]:
    part.trainer = training(epoch)
    loader = part.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return [part.on_after_batch_transfer(batch, 0)["image"] for batch in loader]


def test_a_batch_delivers_images_targets_and_ids():
    batch = next(iter(module().val_dataloader()))
    assert batch["image"].shape == (4, 3, 8, 8)
    assert batch["image"].dtype == torch.uint8
    assert batch["id"].tolist() == [100, 101, 102, 103]
    assert batch["target"].tolist() == [0, 1, 0, 1]


def test_an_epoch_repeats_itself_and_differs_from_the_next():
    first, again, other = (torch.cat(one_epoch(module(), epoch)) for epoch in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_an_epoch_does_not_depend_on_the_ones_before():
    part = module()
    for epoch in range(3):
        one_epoch(part, epoch)
    assert torch.equal(torch.cat(one_epoch(part, 3)), torch.cat(one_epoch(module(), 3)))


def test_only_training_batches_are_augmented():
    part = module()
    part.trainer = SimpleNamespace(training=False, current_epoch=0, world_size=1, global_rank=0)
    batch = next(iter(part.val_dataloader()))
    expected = (batch["image"].float() - 100) / 50
    assert torch.equal(part.on_after_batch_transfer(batch, 0)["image"], expected)
    part.trainer = training(0)
    assert not torch.equal(part.on_after_batch_transfer(batch, 0)["image"], expected)


def test_augmentation_can_be_switched_off():
    part = module(augment=False)
    part.trainer = training(0)
    batch = next(iter(part.train_dataloader()))
    assert torch.equal(part.on_after_batch_transfer(batch, 0)["image"], (batch["image"].float() - 100) / 50)


def test_iterating_leaves_the_random_stream_of_the_model_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    for epoch in range(2):
        one_epoch(module(), epoch)
    assert torch.equal(torch.rand(3), expected)


def test_the_facts_of_the_data():
    part = ImageData(data.create("digits"))
    assert (part.channels, len(part.class_names)) == (1, 10)
    assert part.class_counts.sum() == 200
