"""Time of streaming calibration metrics against torchmetrics, and of class-wise ECE over 50,000 x 1,000.

Run `python benchmarks/metrics_speed.py [THREADS]`. The contestants take turns within a round, so that another
load on the machine meets them alike; ratios are of the medians over the rounds.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassCalibrationError

from calibrant.metrics import AECE, ECE, Brier, ClasswiseECE

ROUNDS = 7


def stream(metric: Callable[[], object], batches: list[tuple[Tensor, Tensor]]) -> Callable[[], None]:
    """Return a function that feeds a new metric and reads it."""

    def run() -> None:
        built = metric()
        for values, target in batches:
            built.update(values, target)  # type: ignore[attr-defined]
        built.compute()  # type: ignore[attr-defined]

    return run


def race(title: str, contestants: dict[str, Callable[[], None]], unit: str) -> None:
    """Print the median time of each contestant and its ratio to that of `unit`."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    base = statistics.median(times[unit])
    print(f"\n{title}")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"  {name:32}{1e3 * median:9.1f} ms (best {1e3 * min(found):7.1f}) {median / base:8.2f} x {unit}")


def rows() -> None:
    torch.manual_seed(0)
    probs = torch.randn(50_000, 1000).mul_(3).softmax(1)
    target = torch.where(torch.rand(50_000) < 0.6, probs.argmax(1), torch.randint(0, 1000, (50_000,)))
    batches = list(zip(probs.split(500), target.split(500), strict=True))
    state = ClasswiseECE(inputs="probs", num_classes=1000)
    size = sum(t.numel() * t.element_size() for t in state.metric_state.values() if isinstance(t, Tensor))
    race(
        "50,000 x 1,000 float32, batches of 500",
        {
            "amax alone (one reading)": lambda: [p.amax(1) for p, _ in batches] and None,
            "ECE": stream(lambda: ECE(inputs="probs"), batches),
            "ECE, torchmetrics": stream(lambda: MulticlassCalibrationError(1000, 15), batches),
            "AECE": stream(lambda: AECE(inputs="probs"), batches),
            "Brier score": stream(lambda: Brier(inputs="probs"), batches),
            "class-wise ECE": stream(lambda: ClasswiseECE(inputs="probs", num_classes=1000), batches),
        },
        "amax alone (one reading)",
    )
    print(f"  state of class-wise ECE: {size / 1e6:.2f} MB")


def maps() -> None:
    torch.manual_seed(0)
    probs = torch.randn(20, 21, 256, 256).mul_(3).softmax(1)
    target = torch.where(torch.rand(20, 256, 256) < 0.6, probs.argmax(1), torch.randint(0, 21, (20, 256, 256)))
    batches = list(zip(probs.split(4), target.split(4), strict=True))
    race(
        "20 maps of 21 x 256 x 256 float32, batches of 4",
        {
            "amax alone (one reading)": lambda: [p.amax(1) for p, _ in batches] and None,
            "ECE": stream(lambda: ECE(inputs="probs"), batches),
            "ECE, torchmetrics": stream(lambda: MulticlassCalibrationError(21, 15), batches),
            "class-wise ECE": stream(lambda: ClasswiseECE(inputs="probs", num_classes=21), batches),
        },
        "amax alone (one reading)",
    )


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    rows()
    maps()
