"""Images with label maps: which class each pixel belongs to."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL.Image import Image
from torch import Generator, Tensor

from calibrant.data.label_transforms import IGNORED, LabelTransforms
from calibrant.data.pair_set import GIB, Pair, PairSet
from calibrant.data.pictures import opened
from calibrant.errors import InputError

#: What Pillow multiplies the levels of a grey PNG picture of two or four bits with, by how it reads them.
_SPREAD = {"L;2": 85, "L;4": 17}


class LabelSet(PairSet):
    """Images with label maps: pictures whose palette indices, or grey levels, are the classes; 255 is ignored.

    Args:
        pairs: the files.
        num_classes: C.
        transforms: how they become the input of a network.
        table: the label of each level that a file holds, 255 for all others; None where files hold labels.
        keep: bytes of decoded pictures that are kept in memory; the others are read again each time.

    Raises:
        InputError: when a sample is read whose files cannot be, that differ in size, or hold other labels.
    """

    def __init__(
        self,
        pairs: Iterable[Pair],
        num_classes: int,
        transforms: LabelTransforms,
        *,
        table: Mapping[int, int] | None = None,
        keep: float = 2 * GIB,
    ) -> None:
        super().__init__(pairs, keep=keep)
        self.num_classes, self.transforms = num_classes, transforms
        self._table: np.ndarray | None = None
        if table is not None:
            self._table = np.full(256, IGNORED, np.uint8)
            self._table[list(table)] = list(table.values())

    def decode_map(self, path: Path) -> np.ndarray:
        """Return the (H, W) labels of a file."""
        with opened(path) as picture:
            # Asked first: nothing says it any more once the pixels are read.
            spread = _SPREAD.get(str(picture.tile[0].args), 1) if picture.tile else 1
            mode, kind, label = picture.mode, picture.format, np.asarray(picture)
        if mode not in ("P", "L", "1") or kind == "JPEG":
            raise InputError(
                f"{path} is a {kind} picture of mode {mode!r}: labels were expected as a PNG picture "
                "with a palette, or in 8-bit grey, whose levels are the classes."
            )
        label = label.astype(np.uint8) // spread
        if self._table is not None:
            label = self._table[label]
        wrong = label[(label >= self.num_classes) & (label != IGNORED)]
        if wrong.size:
            raise InputError(
                f"{path} holds the label {wrong[0]}, but there are {self.num_classes} classes, from 0 to "
                f"{self.num_classes - 1}, and {IGNORED} for what is ignored."
            )
        return label

    def to_network(self, image: Image, label: Image, generator: Generator | None) -> tuple[Tensor, Tensor]:
        """Return an image (3, H, W), normalised, and its labels (H, W) int64."""
        if generator is not None:
            return self.transforms.train(image, label, generator)
        return self.transforms.judge(image, label)

    def pixel_counts(self) -> Tensor:
        """Return (C,) the pixels of each class, in the sizes of the files; the images are not read."""
        counts = np.zeros(self.num_classes, np.int64)
        for position in range(len(self)):
            counts += np.bincount(self.label(position).flatten(), minlength=256)[: self.num_classes]
        return torch.from_numpy(counts)
