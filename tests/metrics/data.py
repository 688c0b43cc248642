"""Data for the tests of metrics, and the part of a test that runs in other processes."""

import torch

from calibrant.metrics import AECE, ECE, ClasswiseECE


def sample(n=400, classes=10, seed=0, dtype=torch.float64, sharpness=2.0):
    """Return calibrated probabilities and labels drawn from them."""
    generator = torch.Generator().manual_seed(seed)
    probs = (sharpness * torch.randn(n, classes, generator=generator, dtype=torch.float64)).softmax(1)
    target = torch.multinomial(probs, 1, generator=generator).squeeze(1)
    return probs.to(dtype), target


def on_edges():
    """Return rows whose confidences are k/16 or halfway between, right and wrong in turn: every side tells.

    In bins (lo, hi] an edge shares its bin with the midpoint below it, of which one is right and one wrong; in
    bins [lo, hi) with the midpoint above it, and both are alike.
    """
    k = torch.arange(9, 17).repeat(50)
    confidence = torch.cat([k / 16, (k - 0.5) / 16]).double()
    right = torch.cat([k % 2 == 0, k % 2 == 1])
    probs = torch.stack([confidence, 1 - confidence, torch.zeros_like(confidence)], 1)
    wrong = 1 + torch.arange(len(right)) % 2
    return probs, torch.where(right, 0, wrong)


def measure_share(rank, sizes):
    """Measure one process's share of `sample(sum(sizes))`, and return what both together found."""
    probs, target = sample(sum(sizes))
    metrics = [
        ECE(inputs="probs"),
        ClasswiseECE(inputs="probs", num_classes=10),
        AECE(inputs="probs"),
        AECE(inputs="probs", exact_limit=100),
    ]
    for metric in metrics:
        metric.update(probs.split(sizes)[rank], target.split(sizes)[rank])
    return torch.stack([metric.compute() for metric in metrics])
