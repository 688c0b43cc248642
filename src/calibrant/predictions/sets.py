"""Sets of classes, judged: how often they hold the label, and how large they are."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from calibrant.errors import InputError
from calibrant.metrics import Estimate
from calibrant.metrics.intervals import wilson
from calibrant.predictions.file import PredictionFile
from calibrant.predictions.labels import IGNORED
from calibrant.predictions.mended import as_logits


@dataclass(frozen=True)
class SetFacts:
    """What sets of classes are worth.

    Attributes:
        coverage: share of the sets that hold their label, with its 95 % interval (Wilson); of maps without
            one, as their pixels depend on one another.
        sizes: C + 1 numbers of sets, by how many classes they hold.
    """

    coverage: Estimate
    sizes: list[int]

    @property
    def mean_size(self) -> float:
        """Classes a set, on average."""
        return sum(size * count for size, count in enumerate(self.sizes)) / sum(self.sizes)


def judge_sets(file: PredictionFile, sets: Callable[[Tensor, int], Tensor]) -> SetFacts:
    r"""Judge the sets of the predictions of a file; labels that do not count are left out.

    Args:
        file: predictions with labels.
        sets: takes (n, C, *) logits and the index of their first row, and returns booleans of that shape.

    Raises:
        InputError: no label counts.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from calibrant.predictions import open_predictions
        >>> path = Path(tempfile.mkdtemp()) / "said.csv"
        >>> _ = path.write_text("logit_0,logit_1,logit_2,label\n3,1,0,0\n2,3,0,0\n1,1,1,2\n0,0,5,1\n")
        >>> found = judge_sets(open_predictions(path), lambda logits, _: logits > 0.5)
        >>> found.coverage.value, found.sizes, found.mean_size
        (0.75, [0, 1, 2, 1], 2.0)
    """
    sizes, held, start = torch.zeros(file.classes + 1, dtype=torch.int64), 0, 0
    for values, target in file.batches():
        found = sets(as_logits(values, file.inputs), start)
        start += len(values)
        counts = target != IGNORED
        at_label = found.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
        held += int(at_label[counts].sum())
        sizes += found.sum(1)[counts].flatten().bincount(minlength=len(sizes))
    total = int(sizes.sum())
    if not total:
        raise InputError(f"No label of {file.path} counts: each is one that --ignore-index names.")
    low, high = (math.nan, math.nan)
    if not file.dense:
        low, high = (float(end) for end in wilson(held, total))
    return SetFacts(Estimate(held / total, low, high), sizes.tolist())
