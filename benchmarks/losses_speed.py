"""Time each loss, forward and backward, as a ratio to torch's cross-entropy, interleaved in one run.

    python benchmarks/losses_speed.py [--losses ce mbls …] [--compiled] [--rounds 15] [--threads 1]

Prints, for three shapes of float32 logits, the median time over the rounds divided by the median time of
`torch.nn.functional.cross_entropy` in the same rounds.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from calibrant.losses import create, list_losses

SHAPES = {"256 x 10": (256, 10), "128 x 1000": (128, 1000), "8 x 21 x 256 x 256": (8, 21, 256, 256)}


def seconds(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> float:
    start = time.perf_counter()
    loss(logits, target).backward()
    elapsed = time.perf_counter() - start
    logits.grad = None
    return elapsed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--losses", nargs="+", default=list_losses())
    parser.add_argument("--compiled", action="store_true", help="time torch.compile of each loss")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for title, shape in SHAPES.items():
        classes = shape[1]
        logits = (3 * torch.randn(shape)).requires_grad_()
        target = torch.randint(0, classes, shape[:1] + shape[2:])
        context = {"num_classes": classes, "class_counts": list(range(classes, 0, -1))}
        losses = {name: create(name, **context) for name in args.losses}
        losses = {n: x for n, x in losses.items() if not x.binary and (len(shape) == 4 or not x.spatial)}
        if args.compiled:
            torch.compiler.reset()
            losses = {name: torch.compile(loss, dynamic=False) for name, loss in losses.items()}
        contestants = {"torch": F.cross_entropy} | losses
        for loss in contestants.values():
            seconds(loss, logits, target)
        times = {name: [] for name in contestants}
        for _ in range(args.rounds):
            for name, loss in contestants.items():
                times[name].append(seconds(loss, logits, target))
        base = statistics.median(times["torch"])
        print(f"{title}: torch's cross-entropy takes {1000 * base:.3f} ms")
        for name in losses:
            print(f"  {name:18}{statistics.median(times[name]) / base:8.2f}")


if __name__ == "__main__":
    main()
