"""The page docs/metrics-disagreements.md: `python -m tests.metrics.disagreements` writes it anew."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torchmetrics.functional.classification as tm
from netcal.metrics import ACE as NetcalACE
from netcal.metrics import ECE as NetcalECE
from sklearn.metrics import brier_score_loss, log_loss, top_k_accuracy_score
from torch import Tensor

from calibrant.metrics import functional as F
from tests.metrics.data import on_edges, sample

PAGE = Path(__file__).parents[2] / "docs" / "metrics-disagreements.md"
Cell = float | str | None

HEAD = """# Where our metrics differ from other software, and why

On ordinary data, away from the edges of bins, the expected calibration errors of torchmetrics, netcal, the
class of Guo et al. (copied by focal_calibration, MbLS, CALS and ACLS), MDCA and MiSLAS agree with ours to
rounding. This page lists where they do not. Every number is made by `python -m tests.metrics.disagreements`,
and a test compares the page with what that prints. Columns that name a convention show `convention="…"` of
ours, which reproduces that software; torchmetrics, netcal and scikit-learn were run themselves. A dash: there
is no such metric, or it was not run.

"""

TAIL = """
## Why ours is as it is

- **Bins (lo, hi], 0 in the first.** The side is a convention; ours is that of the published figures. Edges
  are k/B compared as if in float64, so that the type of the data cannot move a sample.
- **1 belongs to the last bin.** torchmetrics gives it a bin of its own, beyond the last; a saturated softmax
  reaches exactly 1 often in bfloat16.
- **A number of bins is a number of bins.** MAPIE counts edges: its 15 is our 14.
- **Sums in float64, counts in int64.** torchmetrics' binary error keeps the type of the input; in float16 its
  counts overflow and the error is 0.
- **The caller says logits or probabilities.** torchmetrics takes values all inside [0, 1] for probabilities,
  and one rounding error above 1 turns probabilities into logits.
- **NaN raises.** torchmetrics on the CPU counts it without a word.
- **Class-wise means run over all classes.** The reference class stops at the largest label present;
  `absent="skip"` leaves out every class without a label.
- **Equal mass never splits equal confidences and drops no sample.** The reference opens its lowest bin below,
  which drops the least confident sample and all that tie with it: one sample alone has error 0.
- **ACE.** In netcal (and "average calibration error" elsewhere) it is the plain mean over equal-width bins,
  ours `average_ce`. Ours called `ace` is that of Nixon et al.: class by class, over equal-mass ranges.
- **Brier sums over classes.** scikit-learn's score of a binary task is half of it.
- **NLL is not clipped.** A label of probability exactly 0 has infinite loss; scikit-learn clips.
- **Ties in the arg-max go to the smaller index, for every k.** scikit-learn's top-k prefers the larger.
- **Averages over images are another quantity.** They are biased upwards and depend on the size of the image;
  ours pools unless told otherwise by name.
"""


def expected(probs: Tensor, target: Tensor, n_bins: int = 15) -> list[Cell]:
    """Return ECE by ours, torchmetrics, netcal, and by the conventions of Guo et al. and MAPIE."""
    classes = probs.shape[1]

    def ours(convention: str) -> float:
        return float(F.ece(probs, target, inputs="probs", n_bins=n_bins, convention=convention))

    try:
        netcal: Cell = float(NetcalECE(n_bins).measure(probs.double().numpy(), target.numpy()))
    except RuntimeError:
        netcal = "raises"
    return [
        ours("calibrant"),
        float(tm.multiclass_calibration_error(probs, target, classes, n_bins=n_bins)),
        netcal,
        ours("guo2017"),
        ours("mapie"),
    ]


def exactly_one() -> list[Cell]:
    confidence = torch.tensor([1.0] * 50 + [0.95] * 50, dtype=torch.float64)
    probs = torch.stack([confidence, 1 - confidence, torch.zeros_like(confidence)], 1)
    target = torch.tensor([0] * 40 + [1] * 5 + [2] * 5 + [0] * 50)
    return expected(probs, target)


def looks_like_probabilities() -> list[Cell]:
    logits = torch.rand(500, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    _, target = sample(500)
    guessed = float(tm.multiclass_calibration_error(logits, target, 10, n_bins=15))
    return [float(F.ece(logits, target, inputs="logits")), guessed, None, None, None]


def not_a_number() -> list[Cell]:
    probs, target = sample(10_000)
    probs[17] = float("nan")
    return ["raises", float(tm.multiclass_calibration_error(probs, target, 10, n_bins=15)), None, None, None]


def half_precision() -> list[Cell]:
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(100_000, generator=generator).half()
    target = (torch.rand(100_000, generator=generator) < p.float()).long()
    ours = float(F.ece(p.unsqueeze(1), target, inputs="probs", task="event"))
    return [ours, float(tm.binary_calibration_error(p, target, n_bins=15)), None, None, None]


def two_labels_present() -> list[Cell]:
    probs, target = sample(1000)
    return expected(probs, target % 2)


ECE_ROWS: dict[str, Callable[[], list[Cell]]] = {
    "ordinary data, 10,000 x 10": lambda: expected(*sample(10_000)),
    "half of the confidences on edges (k/16, 16 bins)": lambda: expected(*on_edges(), 16),
    "half of the confidences exactly 1": exactly_one,
    "logits that all lie in [0, 1]": looks_like_probabilities,
    "NaN in one row of 10,000": not_a_number,
    "float16, binary event, 100,000 rows": half_precision,
    "labels of two classes out of ten": two_labels_present,
}


def adaptive() -> list[tuple[str, list[Cell]]]:
    one = torch.tensor([[0.7, 0.3]], dtype=torch.float64), torch.tensor([0])
    rows = {
        "one sample, confidence 0.7, right": one,
        "20 samples": sample(20),
        "10,000 samples": sample(10_000),
    }
    return [
        (name, [float(F.aece(*data, inputs="probs", convention=c)) for c in ("calibrant", "guo2017", "mdca")])
        for name, data in rows.items()
    ]


def others() -> list[tuple[str, str, Cell, Cell]]:
    probs, target = sample(400)
    target %= 9
    binary, event = sample(500, classes=2)
    sure, wrong = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64), torch.tensor([1, 0])
    tied, label = torch.full((4, 4), 0.25), torch.arange(4) % 2
    maps, labels = sample(100 * 64, classes=5)
    images = maps.reshape(100, 64, 5).movedim(2, 1), labels.reshape(100, 64)

    def ours(name: str, *data: Tensor, **settings: object) -> float:
        return float(getattr(F, name)(*data, inputs="probs", **settings))

    return [
        (
            "class-wise ECE, last of 10 classes without a label",
            "guo2017",
            ours("classwise_ece", probs, target),
            ours("classwise_ece", probs, target, convention="guo2017"),
        ),
        (
            '"ACE"',
            "netcal",
            ours("ace", probs, target),
            float(NetcalACE(15).measure(probs.numpy(), target.numpy())),
        ),
        (
            "Brier score, two classes",
            "scikit-learn",
            ours("brier", binary, event),
            float(brier_score_loss(event.numpy(), binary[:, 1].numpy())),
        ),
        (
            "NLL, a label of probability 0",
            "scikit-learn",
            ours("nll", sure, wrong),
            float(log_loss(wrong.numpy(), sure.numpy())),
        ),
        (
            "top-2 accuracy, all four classes equal",
            "scikit-learn",
            ours("accuracy", tied, label, k=2),
            float(top_k_accuracy_score(label.numpy(), tied.numpy(), k=2, labels=[0, 1, 2, 3])),
        ),
        (
            "ECE of 100 maps of 64 pixels: pooled, or the mean of images (CALS)",
            'average="image"',
            ours("ece", *images),
            ours("ece", *images, average="image"),
        ),
    ]


def shown(value: Cell) -> str:
    """Return a cell of the table."""
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.5f}"


def page() -> str:
    """Return the whole page."""
    lines = ["## ECE, 15 bins unless said", ""]
    lines += ["| data | Calibrant | torchmetrics | netcal | guo2017 | mapie |", "|---|---|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(shown(x) for x in run())} |" for name, run in ECE_ROWS.items()]
    lines += ["", "## Adaptive ECE, 15 bins", "", "| data | Calibrant | guo2017 | mdca |", "|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(shown(x) for x in found)} |" for name, found in adaptive()]
    lines += ["", "## Other metrics", "", "| metric | Calibrant | other | which |", "|---|---|---|---|"]
    lines += [f"| {name} | {shown(a)} | {shown(b)} | {which} |" for name, which, a, b in others()]
    return HEAD + "\n".join(lines) + "\n" + TAIL


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    draft = PAGE.with_suffix(".tmp")
    draft.write_text(page(), encoding="utf-8")
    os.replace(draft, PAGE)
