"""What a quantile or an order needs: every sample up to a limit, a fine histogram of the confidence beyond it.

Which of the two it is depends on the number of samples alone, so that a result does not depend on how the data
came: in which batches, in which order, over how many processes.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

#: Up to this many samples everything is exact.
EXACT_LIMIT = 65_536


@dataclass(frozen=True)
class Cells:
    """Samples, or cells of a histogram of them; (K,) float64.

    Attributes:
        confidence: mean confidence of the cell.
        correct: how many of its samples are correct.
        count: how many samples it holds.
        group: (K,) int64 class of the cell; 0 for top-label confidences.
        exact: whether each cell is one sample.
    """

    confidence: Tensor
    correct: Tensor
    count: Tensor
    group: Tensor
    exact: bool

    def where(self, chosen: Tensor) -> "Cells":
        """Return the chosen cells, (K,) bool."""
        return Cells(
            self.confidence[chosen], self.correct[chosen], self.count[chosen], self.group[chosen], self.exact
        )


@dataclass(frozen=True)
class Grid:
    """Cells of [0, 1] that narrow towards both ends: so many in each halving of the distance to the end.

    A cell is found from the bits of a float32 number, alike on every device. Half of the cells divide
    [0, 1/2] and half (1/2, 1].
    """

    per_octave: int
    octaves: int

    @property
    def cells(self) -> int:
        """Return the number of cells."""
        return 2 * self.per_octave * self.octaves

    def index(self, values: Tensor) -> Tensor:
        """Return the cell of each value in [0, 1], int64; it does not decrease with the value.

        Example:
            >>> Grid(2, 2).index(torch.tensor([0.0, 0.1, 0.25, 0.5, 0.6, 0.9, 1.0]))
            tensor([0, 0, 2, 3, 4, 7, 7])
        """
        upper = values > 0.5
        distance = torch.where(upper, 1 - values, values).float()
        # A number just above one half leaves a distance that is not below one half only by rounding.
        bits = distance.clamp(min=0.0, max=0.5).view(torch.int32) >> (23 - self.per_octave.bit_length() + 1)
        first = (126 - self.octaves) * self.per_octave
        step = (bits - first).clamp(0, self.cells // 2 - 1).long()
        return torch.where(upper, self.cells - 1 - step, step)


#: Of the top-label confidence: 512 cells an octave, down to 2^-24, the resolution of float32 at 1.
FINE = Grid(512, 24)
#: Of each class's probability: 16 cells an octave, down to 2^-12; 9 KB a class.
COARSE = Grid(16, 12)


def histogram(
    grid: Grid, groups: int, confidence: Tensor, correct: Tensor, group: Tensor | None = None
) -> dict[str, Tensor]:
    """Return the sums by cell: "count" and "correct" int64, "confidence" float64, (groups * cells,)."""
    index = grid.index(confidence)
    if group is not None:
        index = index + grid.cells * group
    size = groups * grid.cells
    count = torch.bincount(index, minlength=size)
    right = torch.bincount(index[correct.bool()], minlength=size)
    return {"count": count, "correct": right, "confidence": _sums(index, confidence.double(), size)}


def _sums(index: Tensor, values: Tensor, size: int) -> Tensor:
    return values.new_zeros(size).index_add_(0, index, values)
