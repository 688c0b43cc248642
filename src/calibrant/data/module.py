"""In-memory images as a Lightning data module."""

from torch import Generator, Tensor
from torch.utils.data import DataLoader

from calibrant.data.augment import normalise, random_crop, random_flip
from calibrant.data.image_set import ImageBatch, ImageSet, ImageTask
from calibrant.data.loading import Loading, TaskData
from calibrant.data.order import BatchOrder, epoch_seed


class ImageData(TaskData[ImageSet]):
    """Loaders over an `ImageTask`: batches are indexed on the CPU, augmented and normalised on the device.

    What an epoch draws depends on `loading.seed` and the epoch alone. `predict_dataloader` gives the
    validation and the test images, in the order of their splits.

    Args:
        task: the images.
        loading: how they are read; a stage sets its own before it trains.
    """

    task: ImageTask

    def __init__(self, task: ImageTask, loading: Loading | None = None) -> None:
        super().__init__(task, loading)
        self._generator: tuple[int, Generator] | None = None

    @property
    def train_targets(self) -> Tensor:
        """The (N,) labels of the training images."""
        return self.task.train.targets

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

    def val_dataloader(self) -> DataLoader[ImageBatch]:
        """Return the batches that are watched in training: of validation, or of test."""
        return self._loader(self.watched, self.plain_order(self.watched))

    def predict_dataloader(self) -> list[DataLoader[ImageBatch]]:
        """Return the validation batches, where there are any, and the test batches."""
        splits = [images for images in (self.task.val, self.task.test) if len(images)]
        return [self._loader(images, self.plain_order(images)) for images in splits]

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
        # A loader draws a seed for its workers even when it has none: from its own generator, not from the
        # one of the model.
        return DataLoader(images, sampler=self.shared(order), batch_size=None, generator=Generator())

    def _epoch_generator(self, images: Tensor) -> Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        if self._generator is None or self._generator[0] != epoch:
            # Each process draws for images of its own.
            rank = self.trainer.global_rank if self.trainer else 0
            seed = epoch_seed(self.loading.seed, epoch, "augmentation") + rank
            self._generator = (epoch, Generator(images.device).manual_seed(seed))
        return self._generator[1]
