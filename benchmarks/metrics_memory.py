"""Memory while 1,449 maps of 21 x 512 x 512 stream through: the size of PASCAL VOC's validation set.

Run `python benchmarks/metrics_memory.py [MAPS]`. The maps are made on the fly, into the same buffer. Printed
per 100 maps: the largest resident memory so far, and by how much it has grown since the first map.
"""

import resource
import sys
import time

import torch

from calibrant.metrics import State
from calibrant.metrics.definitions import DEFINITIONS

#: One pass feeds them all.
NAMES = ("ece", "aece", "classwise_ece", "nll", "macro_accuracy")


def peak_megabytes() -> float:
    """Return the largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(maps: int) -> None:
    torch.manual_seed(0)
    parts = frozenset[str]().union(*(DEFINITIONS[name].parts for name in NAMES))
    state = State(parts, num_classes=21)
    logits = torch.empty(1, 21, 512, 512)
    first, spent = 0.0, 0.0
    for i in range(maps):
        logits.normal_().mul_(2)
        target = torch.where(
            torch.rand(1, 512, 512) < 0.5, logits.argmax(1), torch.randint(0, 21, (1, 512, 512))
        )
        target[:, :8] = 255
        start = time.perf_counter()
        state.update(logits, target, inputs="logits", ignore_index=255)
        spent += time.perf_counter() - start
        if i == 0:
            first = peak_megabytes()
        if i == 0 or (i + 1) % 100 == 0 or i + 1 == maps:
            peak = peak_megabytes()
            print(f"{i + 1:5} maps  peak {peak:8.1f} MB  since the first +{peak - first:6.1f} MB", flush=True)
    pixels = state.count()
    kept = sum(tensor.numel() * tensor.element_size() for tensor in state.sums.values())
    print(
        f"{pixels:,} pixels in {spent:.0f} s, {1e9 * spent / pixels:.0f} ns a pixel; state {kept / 1e6:.2f} MB"
    )
    for name in NAMES:
        print(f"  {name} {float(DEFINITIONS[name].view(state)):.6f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1449)
