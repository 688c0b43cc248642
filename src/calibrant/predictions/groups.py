"""Sums over groups of rows or of maps: what is drawn again, swapped or turned where rows cannot all be held."""

import math

import torch
from torch import Tensor

from calibrant.metrics import PairedTest
from calibrant.metrics.binning import bin_index, convention
from calibrant.metrics.equal_mass import equal_mass_bins
from calibrant.metrics.paired import paired_test_of_sums
from calibrant.metrics.rows import Piece, Rows
from calibrant.metrics.samples import Cells, Grid
from calibrant.metrics.smooth import smooth_ece

#: Groups, at most, and numbers that the sums of all classes hold, at most.
GROUPS, _BUDGET, _LEAST = 1000, 8_000_000, 50
#: Fine bins in which the confidences of the maps of a group are kept.
_GRID = Grid(16, 16)
PAIRED = ("accuracy", "ece", "classwise_ece", "mce", "nll", "brier")
_RESAMPLES = 400


class GroupSums:
    """Sums by group; row, or map, i belongs to group i modulo their number.

    Up to 1000 rows each is a group of its own (fewer where there are more than 500 classes).

    Args:
        classes: C.
        n_bins: B, number of equal-width bins.
        maps: whether a row is a map; then confidences are kept in fine bins too.
    """

    def __init__(self, classes: int, n_bins: int, *, maps: bool) -> None:
        self.classes, self.n_bins = classes, n_bins
        self.groups = min(GROUPS, max(_LEAST, _BUDGET // (classes * n_bins)))
        self._seen = 0
        shapes = {
            "rows": (),
            "accuracy": (),
            "nll": (),
            "brier": (),
            "top_count": (n_bins,),
            "top_residual": (n_bins,),
            "class_residual": (classes, n_bins),
        }
        if maps:
            cells = (_GRID.cells,)
            shapes |= {"cell_count": cells, "cell_correct": cells, "cell_confidence": cells}
        self._sums = {
            name: torch.zeros(self.groups, *shape, dtype=torch.float64) for name, shape in shapes.items()
        }

    def __getitem__(self, name: str) -> Tensor:
        """Return the sums of a name, a group an entry of the first axis; groups without a row are left out."""
        return self._sums[name][: min(self._seen, self.groups)]

    def add(self, rows: Rows) -> None:
        """Add the next rows, or maps."""
        piece = Piece(rows.values, rows.target, rows.valid, rows.inputs, rows)
        n, pixels = rows.target.shape
        own = (torch.arange(self._seen, self._seen + n) % self.groups).unsqueeze(1).expand(n, pixels)
        self._seen += n
        group = piece.counted(own)
        confidence, correct = piece.confidence.double(), piece.correct.double()
        scores = {"rows": torch.ones_like(correct), "accuracy": correct, "nll": piece.nll, "brier": piece.brier}
        for name, values in scores.items():
            self._sums[name].index_add_(0, group, values)
        rule = convention("calibrant")
        top = bin_index(piece.confidence, self.n_bins, rule)
        self._add("top_count", group, top, torch.ones_like(correct))
        self._add("top_residual", group, top, confidence - correct)
        if "cell_count" in self._sums:
            cell = _GRID.index(piece.confidence)
            for name, values in (("count", scores["rows"]), ("correct", correct), ("confidence", confidence)):
                self._add(f"cell_{name}", group, cell, values)
        self._add_classes(piece, own, group)

    def _add_classes(self, piece: Piece, own: Tensor, group: Tensor) -> None:
        """Add the residuals of each class: the few probabilities above the first bin, then what is left."""
        rule = convention("calibrant")
        probs = piece.probs
        if piece.valid is not None:
            probs = probs.masked_fill(~piece.valid.unsqueeze(1), 0.0)
        row, k, pixel = (probs > 0.9 / self.n_bins).nonzero(as_tuple=True)
        high = probs[row, k, pixel]
        place = k * self.n_bins + bin_index(high, self.n_bins, rule)
        self._add("class_residual", own[row, 0], place, high.double())
        self._add("class_residual", own[row, 0], k * self.n_bins, -high.double())
        self._sums["class_residual"][:, :, 0].index_add_(0, own[:, 0], probs.sum(2, dtype=torch.float64))
        place = piece.labels * self.n_bins + bin_index(piece.at_label, self.n_bins, rule)
        self._add("class_residual", group, place, -torch.ones(len(place), dtype=torch.float64))

    def _add(self, name: str, group: Tensor, index: Tensor, values: Tensor) -> None:
        flat = self._sums[name].view(-1)
        flat.index_add_(0, group * (len(flat) // self.groups) + index, values)

    def test_against(self, other: "GroupSums", metric: str, *, draws: int = 2000, seed: int = 0) -> PairedTest:
        """Return the paired test of these predictions less others on the same samples.

        Where each sample is a group, it is that of `calibrant.metrics.paired_test`; else whole groups are
        swapped, which keeps its size.
        """
        ours, theirs = ({name: each[name] for name in each._sums} for each in (self, other))
        return paired_test_of_sums([ours], [theirs], metric, draws=draws, seed=seed)

    def intervals(
        self, values: dict[str, float], *, level: float = 0.95, seed: int = 0
    ) -> dict[str, tuple[float, float]]:
        """Return intervals of metrics of maps: the groups are drawn again (bootstrap), bias corrected.

        Args:
            values: metrics by name; those that cannot be had from groups are left out.
            level: probability that an interval covers the truth.
            seed: of the draws.
        """
        groups = len(self["rows"])
        if groups < 2:
            return {}
        generator = torch.Generator().manual_seed(seed)
        places = torch.randint(groups, (_RESAMPLES, groups), generator=generator)
        weights = torch.stack([row.bincount(minlength=groups).double() for row in places])
        drawn = self._drawn(weights)
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        found = {}
        for name, value in values.items():
            if name in drawn and math.isfinite(value):
                ends = drawn[name].quantile(tails) + value - drawn[name].mean()
                least, most = (-1.0, 1.0) if name == "gap" else (0.0, 1.0 if name == "accuracy" else math.inf)
                found[name] = (float(ends[0].clamp(least, most)), float(ends[1].clamp(least, most)))
        return found

    def _drawn(self, weights: Tensor) -> dict[str, Tensor]:
        """Return (R,) values of each metric at (R, G) weights of the groups."""
        rows = weights @ self["rows"]
        drawn = {name: weights @ self[name] / rows for name in ("accuracy", "nll", "brier")}
        residual, count = weights @ self["top_residual"], weights @ self["top_count"]
        drawn["gap"] = residual.sum(1) / rows
        drawn["ece"] = residual.abs().sum(1) / rows
        drawn["mce"] = (residual.abs() / count.clamp(min=1)).amax(1)
        by_class = [weights @ each for each in self["class_residual"].unbind(1)]
        drawn["classwise_ece"] = sum(each.abs().sum(1) for each in by_class) / rows / self.classes
        cells = {name: weights @ self[f"cell_{name}"] for name in ("count", "correct", "confidence")}
        kept = cells["count"].sum(0) > 0
        count, correct, confidence = (values[:, kept] for values in cells.values())
        mean = self["cell_confidence"].sum(0)[kept] / self["cell_count"].sum(0)[kept]
        drawn["smooth_ece"] = smooth_ece(mean, correct, count)
        drawn["aece"] = torch.stack(
            [self._aece(*each) for each in zip(count, correct, confidence, strict=True)]
        )
        return drawn

    def _aece(self, count: Tensor, correct: Tensor, confidence: Tensor) -> Tensor:
        kept = count > 0
        count, correct, mean = count[kept], correct[kept], confidence[kept] / count[kept]
        cells = Cells(mean, correct, count, torch.zeros_like(count, dtype=torch.int64), exact=False)
        return equal_mass_bins(cells, self.n_bins, convention("calibrant")).gap.abs().sum()
