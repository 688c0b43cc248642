"""In-memory images as a Lightning data module."""

from typing import Any

from torch import Generator, Tensor

from calibrant.data.augment import normalise, random_crop, random_flip
from calibrant.data.image_set import ImageBatch, ImageSet, ImageTask
from calibrant.data.in_memory import InMemoryData
from calibrant.data.loading import Loading
from calibrant.data.order import epoch_seed


class ImageData(InMemoryData[ImageSet]):
    """Loaders over an `ImageTask`: batches are indexed on the CPU, augmented and normalised on the device.

    What an epoch draws depends on `loading.seed` and the epoch alone.

    Args:
        task: the images.
        loading: how they are read; a stage sets its own before it trains.
    """

    inputs = "image"
    samples = "images"
    task: ImageTask

    def __init__(self, task: ImageTask, loading: Loading | None = None) -> None:
        super().__init__(task, loading)
        self._generator: tuple[int, Generator] | None = None

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return self.task.train.images.shape[1]

    @property
    def context(self) -> dict[str, Any]:
        """The number of channels."""
        return {"in_channels": self.channels}

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

    def _epoch_generator(self, images: Tensor) -> Generator:
        epoch = self.trainer.current_epoch if self.trainer else 0
        # Each process draws for images of its own.
        rank = self.trainer.global_rank if self.trainer else 0
        # The seed tells the epochs of two stages apart.
        seed = epoch_seed(self.loading.seed, epoch, "augmentation") + rank
        if self._generator is None or self._generator[0] != seed:
            self._generator = (seed, Generator(images.device).manual_seed(seed))
        return self._generator[1]
