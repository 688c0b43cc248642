"""How often the confidence intervals of `calibrant.metrics.evaluate` cover the truth, and how wide they are.

    python benchmarks/interval_coverage.py [--replications 200] [--samples 300 1000 5000] [--classes 10]

Labels are drawn from softmax(z) and the predictions are softmax(s z), z normal: calibrated for s = 1,
over-confident for s > 1, under-confident for s < 1. The truth of a generator comes from the exact probability
of being correct on a million samples, without label noise; a calibrated generator has an error of 0.
"""

import argparse
from collections import defaultdict
from collections.abc import Iterator

import torch
from torch import Tensor

from calibrant.metrics import evaluate
from calibrant.metrics.ranking import aurc, auroc, ks_error
from calibrant.metrics.smooth import smooth_ece

GENERATORS = {"calibrated": 1.0, "slightly over-confident": 1.2, "over-confident": 2.0, "under-confident": 0.7}
ERRORS = ("ece", "aece", "classwise_ece", "mce", "rmsce", "ks", "smooth_ece")
NAMES = (*ERRORS, "auroc", "aurc", "accuracy", "nll", "brier")


def logits(samples: int, classes: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.randn(samples, classes, generator=generator, dtype=torch.float64)


def truth(scale: float, classes: int, samples: int = 1_000_000) -> dict[str, float]:
    """Return the value of each metric in the limit of many samples."""
    z = logits(samples, classes, torch.Generator().manual_seed(12345))
    actual, predicted = z.softmax(1), (scale * z).softmax(1)
    confidence, label = predicted.max(1)
    right = actual.gather(1, label.unsqueeze(1)).squeeze(1)
    even = torch.arange(1, 15, dtype=torch.float64) / 15
    quantiles = confidence.sort().values[(torch.arange(1, 15) * samples) // 15]
    gaps, weights = gaps_and_weights(confidence, right, even)
    by_class = [gaps_and_weights(q, p, even)[0].abs().sum() for q, p in zip(predicted.T, actual.T, strict=True)]
    occupied = weights > 0
    result = {
        "ece": gaps.abs().sum(),
        "aece": gaps_and_weights(confidence, right, quantiles)[0].abs().sum(),
        "classwise_ece": sum(by_class) / classes,
        "mce": (gaps.abs() / weights)[occupied].max(),
        "rmsce": (gaps.square() / weights)[occupied].sum().sqrt(),
        "ks": ks_error(confidence, right),
        "smooth_ece": smooth_ece(confidence, right),
        "auroc": auroc(confidence, right),
        "aurc": aurc(confidence, right),
        "accuracy": right.mean(),
        "nll": -(actual * predicted.log()).sum(1).mean(),
        "brier": (predicted.square().sum(1) - 2 * (actual * predicted).sum(1) + 1).mean(),
    }
    return {name: 0.0 if scale == 1.0 and name in ERRORS else float(value) for name, value in result.items()}


def gaps_and_weights(confidence: Tensor, right: Tensor, inner: Tensor) -> tuple[Tensor, Tensor]:
    index = torch.bucketize(confidence.contiguous(), inner)
    sums = torch.zeros(2, len(inner) + 1, dtype=torch.float64)
    sums.index_add_(1, index, torch.stack([confidence - right, torch.ones_like(confidence)]))
    return sums[0] / len(confidence), sums[1] / len(confidence)


def intervals(
    scale: float, samples: int, classes: int, replications: int
) -> Iterator[dict[str, tuple[float, ...]]]:
    """Yield for each replication value, low and high by name."""
    generator = torch.Generator().manual_seed(1)
    for seed in range(replications):
        z = logits(samples, classes, generator)
        target = torch.multinomial(z.softmax(1), 1, generator=generator).squeeze(1)
        yield dict(evaluate(scale * z, target, inputs="logits", seed=seed))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--samples", type=int, nargs="+", default=[300, 1000, 5000])
    parser.add_argument("--classes", type=int, default=10)
    options = parser.parse_args()
    print(f"Nominal 95 %, {options.replications} replications, {options.classes} classes.")
    print(
        f"{'generator':25}{'samples':>8}  {'metric':15}{'truth':>8}{'mean':>8}{'covered':>9}{'mean width':>12}"
    )
    for name, scale in GENERATORS.items():
        true = truth(scale, options.classes)
        for samples in options.samples:
            found = defaultdict(list)
            for one in intervals(scale, samples, options.classes, options.replications):
                for metric in NAMES:
                    found[metric].append(one[metric])
            for metric in NAMES:
                value, low, high = torch.tensor(found[metric], dtype=torch.float64).unbind(1)
                covered = ((low <= true[metric]) & (true[metric] <= high)).double().mean()
                print(
                    f"{name:25}{samples:8}  {metric:15}{true[metric]:8.4f}{value.mean():8.4f}"
                    f"{covered:9.1%}{(high - low).mean():12.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
