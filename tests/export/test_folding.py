"""Every calibrator goes into an export, and ONNX does without a search that it does not have."""

import warnings

import pytest
import torch
from torch import nn

from calibrant.export.folding import FoldedNetwork
from calibrant.export.formats import bisected, traced
from calibrant.posthoc import ConvergenceWarning, create, list_calibrators


class All(nn.Module):
    """Several calibrators on the same logits: one export is faster than one of each."""

    def __init__(self, calibrators):
        super().__init__()
        self.folded = nn.ModuleList(FoldedNetwork(nn.Identity(), each) for each in calibrators)

    def forward(self, logits):
        return [network(logits) for network in self.folded]


def fitted(names, logits, target):
    options = {"auto": {"candidates": ["isotonic"]}, "local_temperature": {"hidden": 2, "steps": 3}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return [
            create(name, num_classes=logits.shape[1], **options.get(name, {})).fit(logits, target)
            for name in names
        ]


@pytest.mark.parametrize(("classes", "names"), [(3, list_calibrators()), (2, ["platt", "venn_abers"])])
def test_every_calibrator_is_followed_by_an_export(classes, names):
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(60, classes, generator=generator)
    calibrators = fitted(names, logits, torch.arange(60) % classes)
    found = traced(All(calibrators).eval(), logits[:2]).module()
    for rows in (logits[:1], logits):
        with torch.no_grad():
            for name, calibrator, (probs, mended) in zip(names, calibrators, found(rows), strict=True):
                expected = calibrator(rows)
                assert torch.allclose(mended, expected, atol=1e-6), name
                assert torch.allclose(probs, expected.softmax(1), atol=1e-6), name


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("size", [1, 2, 7, 8])
def test_a_halved_interval_finds_what_searchsorted_finds(size, right):
    generator = torch.Generator().manual_seed(size)
    knots = torch.randint(0, 6, (3, size), generator=generator).double().sort(-1).values
    at = torch.cat([torch.arange(-1, 8).double(), knots[0]]).expand(3, -1).contiguous()
    assert torch.equal(bisected(knots, at, right=right), torch.searchsorted(knots, at, right=right))
    flat = knots[0].contiguous()
    assert torch.equal(bisected(flat, at, right=right), torch.searchsorted(flat, at, right=right))
