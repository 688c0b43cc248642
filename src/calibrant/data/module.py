"""In-memory images as a Lightning data module."""

from collections.abc import Callable
from dataclasses import dataclass

from lightning.pytorch import LightningDataModule
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Sampler

from calibrant.data.augment import normalise, random_crop, random_flip
from calibrant.data.image_set import ImageBatch, ImageSet, ImageTask
from calibrant.data.order import BatchOrder, EpochOrder, Share, epoch_seed


@dataclass(frozen=True)
class Loading:
    """How a stage reads its data.

    Attributes:
        batch_size: images a step, of all processes together.
        eval_batch_size: the same in validation and test.
        drop_last: leave out the last, incomplete batch of an epoch.
        augment: use the training augmentation.
        seed: seed of the order and of the augmentation.
        order: makes the order of the training batches of the (N,) labels; None shuffles.
        watch_test: give the test images where a stage validates.
    """

    batch_size: int = 128
    eval_batch_size: int = 500
    drop_last: bool = False
    augment: bool = True
    seed: int = 0
    order: Callable[[Tensor], BatchOrder] | None = None
    watch_test: bool = False


class ImageData(LightningDataModule):
    """Loaders over an `ImageTask`: batches are indexed on the CPU, augmented and normalised on the device.

    What an epoch draws depends on `loading.seed` and the epoch alone. `predict_dataloader` gives the
    validation and the test images, in the order of their splits.

    Args:
        task: the images.
        loading: how they are read; a stage sets its own before it trains.
    """

    def __init__(self, task: ImageTask, loading: Loading | None = None) -> None:
        super().__init__()
        self.task = task
        self.loading = loading or Loading()
        self._generator: tuple[int, Generator] | None = None

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in the order of the labels."""
        return self.task.class_names

    @property
    def class_counts(self) -> Tensor:
        """(C,) number of training images of each class."""
        return self.task.class_counts

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return self.task.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        return self.task.train.images.shape[2]

    def train_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the training batches, in the order of the epoch."""
        return self._loader(self.task.train, self.train_order())

    def train_order(self) -> BatchOrder:
        """Return the order of the training batches."""
        o = self.loading
        if o.order is not None:
            return o.order(self.task.train.targets)
        return EpochOrder(len(self.task.train), o.batch_size, seed=o.seed, drop_last=o.drop_last)

    def val_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the batches that are watched in training: of validation, or of test."""
        images = self.task.test if self.loading.watch_test else self.task.val
        return self._loader(images, EpochOrder(len(images), self.loading.eval_batch_size))

    def predict_dataloader(self) -> list[DataLoader[ImageBatch]]:
        """Return the validation batches, where there are any, and the test batches."""
        splits = [images for images in (self.task.val, self.task.test) if len(images)]
        size = self.loading.eval_batch_size
        return [self._loader(images, EpochOrder(len(images), size)) for images in splits]

    def on_after_batch_transfer(self, batch: ImageBatch, dataloader_idx: int) -> ImageBatch:
        """Augment, if training, and normalise."""
        images = batch["image"]
        if self.loading.augment and self.trainer is not None and self.trainer.training:
            generator = self._epoch_generator(images)
            if self.task.padding:
                images = random_crop(images, self.task.padding, generator)
            if self.task.flip:
                images = random_flip(images, generator)
        return {**batch, "image": normalise(images, self.task.mean, self.task.std)}

    def _loader(self, images: ImageSet, order: BatchOrder) -> DataLoader[ImageBatch]:
        sampler: Sampler[Tensor] = order
        if self.trainer is not None and self.trainer.world_size > 1:
            sampler = Share(order, self.trainer.global_rank, self.trainer.world_size)
        # A loader draws a seed for its workers even when it has none: from its own generator, not from the
        # one of the model.
        return DataLoader(images, sampler=sampler, batch_size=None, generator=Generator())

    def _epoch_generator(self, images: Tensor) -> Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        if self._generator is None or self._generator[0] != epoch:
            # Each process draws for images of its own.
            rank = self.trainer.global_rank if self.trainer else 0
            seed = epoch_seed(self.loading.seed, epoch, "augmentation") + rank
            self._generator = (epoch, Generator(images.device).manual_seed(seed))
        return self._generator[1]
