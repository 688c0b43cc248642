"""Where in the image confidence and truth part: the mean over the test images, and the worst of them."""

import csv
import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL.Image import Image, fromarray
from PIL.Image import open as open_picture
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from calibrant.training.files import opened_table, replacing
from calibrant.training.run_folder import RunFolder, reading

if TYPE_CHECKING:
    # A page is made without the trainer that data need.
    from calibrant.data import PairSet

#: Cells of the mean along each side; how many images are kept; the longer side of their pictures.
_CELLS, _KEPT, _SIDE = 48, 6, 128
_RAW = "none"


@dataclass(frozen=True)
class WorstImage:
    """A test image whose mean confidence is far from its accuracy.

    Attributes:
        name: of the sample.
        confidence: mean over its pixels.
        accuracy: share of its pixels that are right.
        photograph: the image, small.
        label: its map, likewise.
        gap: (H, W) confidence less correctness of each pixel, in [-1, 1], small; 0 where nothing is labelled.
    """

    name: str
    confidence: float
    accuracy: float
    photograph: Image
    label: Image
    gap: Tensor


class GapMaps:
    """Gathers, image by image, the difference of confidence and correctness.

    Args:
        images: the test images.
    """

    def __init__(self, images: "PairSet") -> None:
        self.images = images
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._worst: list[tuple[float, int, float, float, Tensor]] = []

    def add(self, stage: str, position: int, confidence: Tensor, correct: Tensor) -> None:
        """Add an image.

        Args:
            stage: of calibration; images are kept as trained.
            position: of the image.
            confidence: (H, W), nan where nothing is labelled.
            correct: (H, W), whether the prediction is right.
        """
        known = ~confidence.isnan()
        if not known.any():
            return
        gap = torch.where(known, confidence - correct.to(confidence.dtype), 0.0).float()
        sums, counts = (_shrunk(each, (_CELLS, _CELLS)).double().cpu() for each in (gap, known.float()))
        self._sums[stage] = self._sums.get(stage, 0) + sums
        self._counts[stage] = self._counts.get(stage, 0) + counts
        if stage != _RAW:
            return
        said, right = float(confidence[known].mean()), float(correct[known].double().mean())
        height, width = gap.shape
        scale = min(1.0, _SIDE / max(height, width))
        small = _shrunk(gap, (max(1, round(height * scale)), max(1, round(width * scale)))).cpu()
        # Of equals the first stays.
        heapq.heappush(self._worst, (abs(said - right), -position, said, right, small))
        if len(self._worst) > _KEPT:
            heapq.heappop(self._worst)

    def write(self, run: RunFolder) -> None:
        """Write the means and the worst images."""
        means = {stage: (self._sums[stage] / self._counts[stage]).float() for stage in self._sums}
        with replacing(run.gaps_path) as temporary:
            save_file(means, temporary)
        rows = []
        for place, (_, position, said, right, gap) in enumerate(sorted(self._worst, reverse=True), 1):
            photograph, label = self.images.thumbnail(-position, _SIDE)
            levels = fromarray((128 + 127 * gap).round().clamp(0, 255).to(torch.uint8).numpy())
            for picture, ending in ((photograph, ".jpg"), (label, "-label.png"), (levels, "-gap.png")):
                with replacing(run.path / "gaps" / f"{place}{ending}") as temporary:
                    picture.save(temporary, format="jpeg" if ending == ".jpg" else "png")
            rows.append([self.images.names[-position], repr(said), repr(right)])
        with (
            replacing(run.path / "gaps" / "worst.csv") as temporary,
            opened_table(temporary, "w") as file,
        ):
            csv.writer(file).writerows([("name", "confidence", "accuracy"), *rows])


def _shrunk(values: Tensor, size: tuple[int, int]) -> Tensor:
    small: Tensor = adaptive_avg_pool2d(values[None, None], size)[0, 0]
    return small


def read_means(run: RunFolder) -> Mapping[str, Tensor]:
    """Return by stage the (48, 48) mean of confidence less correctness over the test images, if it is kept."""
    if not run.gaps_path.is_file():
        return {}
    with reading(run.gaps_path):
        return load_file(run.gaps_path)


def read_worst(run: RunFolder) -> list[WorstImage]:
    """Return the test images of a run whose mean confidence is furthest from their accuracy."""
    path = run.path / "gaps" / "worst.csv"
    if not path.is_file():
        return []
    with reading(path):
        return list(_worst(path))


def _worst(path: Path) -> Iterator[WorstImage]:
    with opened_table(path) as file:
        rows = list(csv.DictReader(file))
    for place, row in enumerate(rows, 1):
        shown = []
        for ending in (".jpg", "-label.png", "-gap.png"):
            with open_picture(path.with_name(f"{place}{ending}")) as picture:
                shown.append(picture.copy())
        photograph, label, levels = shown
        gap = (torch.from_numpy(np.array(levels)).float() - 128) / 127
        yield WorstImage(row["name"], float(row["confidence"]), float(row["accuracy"]), photograph, label, gap)
