"""Seconds that each calibrator takes to fit and to apply.

    python benchmarks/calibrators_speed.py --rows 5000 --classes 100

Prints one line a calibrator; the logits are twice as large as they should be, which the fits must find.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch

from calibrant.errors import InputError
from calibrant.posthoc import ConvergenceWarning, create, list_calibrators


def seconds(action: Callable[[], object], repeats: int) -> float:
    """Return the median of several times."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--methods", nargs="+", default=[name for name in list_calibrators() if name != "auto"])
    options = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    generator = torch.Generator().manual_seed(0)
    logits = 4 * torch.randn(options.rows, options.classes, generator=generator)
    target = torch.multinomial((logits / 2).softmax(1), 1, generator=generator).squeeze(1)
    print(f"{options.rows} x {options.classes}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{'method':22}{'fit / s':>10}{'apply / s':>11}")
    for name in options.methods:
        calibrator = create(name, num_classes=options.classes)
        try:
            fit = seconds(lambda c=calibrator: c.fit(logits, target), options.repeats)
        except InputError as error:
            print(f"{name:22}{error}")
            continue
        apply = seconds(lambda c=calibrator: c(logits), options.repeats)
        print(f"{name:22}{fit:10.3f}{apply:11.3f}", flush=True)


if __name__ == "__main__":
    main()
