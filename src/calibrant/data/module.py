"""In-memory images as a Lightning data module."""

from dataclasses import dataclass

from lightning.pytorch import LightningDataModule
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from calibrant.data.augment import normalise, random_crop, random_flip
from calibrant.data.image_set import ImageBatch, ImageSet, ImageTask
from calibrant.data.order import EpochOrder, epoch_seed


@dataclass(frozen=True)
class Loading:
    """How a stage reads its data; the fields are those of the recipe's stage."""

    batch_size: int = 128
    eval_batch_size: int = 500
    drop_last: bool = False
    augment: bool = True
    seed: int = 0


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
        return self.task.train.targets.bincount(minlength=len(self.class_names))

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return self.task.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height of an image in pixels."""
        return self.task.train.images.shape[2]

    def train_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the shuffled training batches."""
        o = self.loading
        return self._loader(
            self.task.train,
            EpochOrder(len(self.task.train), o.batch_size, seed=o.seed, drop_last=o.drop_last),
        )

    def val_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the validation batches."""
        return self._loader(self.task.val, EpochOrder(len(self.task.val), self.loading.eval_batch_size))

    def test_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the test batches."""
        return self._loader(self.task.test, EpochOrder(len(self.task.test), self.loading.eval_batch_size))

    def predict_dataloader(self) -> list[DataLoader[ImageBatch]]:
        """Return the validation batches, where there are any, and the test batches."""
        validation = [self.val_dataloader()] if len(self.task.val) else []
        return [*validation, self.test_dataloader()]

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

    def _loader(self, images: ImageSet, order: EpochOrder) -> DataLoader[ImageBatch]:
        # A loader draws a seed for its workers even when it has none: from its own generator, not from the
        # one of the model.
        return DataLoader(images, sampler=order, batch_size=None, generator=Generator())

    def _epoch_generator(self, images: Tensor) -> Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        if self._generator is None or self._generator[0] != epoch:
            seed = epoch_seed(self.loading.seed, epoch, "augmentation")
            self._generator = (epoch, Generator(images.device).manual_seed(seed))
        return self._generator[1]
