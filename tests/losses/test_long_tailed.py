"""LDAM and the losses that adjust logits by the prior."""

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from calibrant.errors import InputError
from calibrant.losses import create
from calibrant.losses.long_tailed import ldam_margins

COUNTS = [810, 160, 10]


def _cosines():
    torch.manual_seed(0)
    return 2 * torch.rand(8, 3, dtype=torch.float64) - 1, torch.tensor([0, 1, 2, 2, 1, 0, 0, 1])


def test_ldam_is_that_of_a_slow_loop():
    cosines, target = _cosines()
    total = 0.0
    for z, y in zip(cosines.tolist(), target.tolist(), strict=True):
        margin = 0.5 * (COUNTS[y] / min(COUNTS)) ** -0.25
        moved = [30 * (v - margin * (k == y)) for k, v in enumerate(z)]
        total += math.log(sum(math.exp(v) for v in moved)) - moved[y]
    loss = create("ldam", class_counts=COUNTS)
    assert float(loss(cosines, target)) == pytest.approx(total / 8, rel=1e-12)


def test_margins_grow_towards_the_tail():
    assert ldam_margins(COUNTS, 0.5).tolist() == pytest.approx([0.5 / 3, 0.25, 0.5])


def test_ldam_without_margin_is_cross_entropy_of_scaled_logits():
    cosines, target = _cosines()
    loss = create("ldam", class_counts=COUNTS, max_margin=0.0, scale=5.0)
    torch.testing.assert_close(loss(cosines, target), cross_entropy(5 * cosines, target))


def test_ldam_leaves_the_logits_of_the_caller_alone():
    cosines, target = _cosines()
    before = cosines.clone()
    create("ldam", class_counts=COUNTS)(cosines, target)
    assert torch.equal(cosines, before)


def test_balanced_softmax_multiplies_each_exponential_by_its_count():
    logits, target = _cosines()
    counts = torch.tensor(COUNTS, dtype=torch.float64)
    p = counts * logits.exp() / (counts * logits.exp()).sum(1, keepdim=True)
    expected = -p.gather(1, target.unsqueeze(1)).log().mean()
    torch.testing.assert_close(create("balanced_softmax", class_counts=COUNTS)(logits, target), expected)
    torch.testing.assert_close(create("logit_adjustment", class_counts=COUNTS)(logits, target), expected)


def test_adjustment_is_on_dense_logits_too_and_tau_scales_it():
    torch.manual_seed(1)
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    prior = torch.tensor(COUNTS) / sum(COUNTS)
    expected = cross_entropy(logits + 0.7 * prior.log().view(1, 3, 1, 1), target)
    torch.testing.assert_close(
        create("logit_adjustment", class_counts=COUNTS, tau=0.7)(logits, target), expected
    )


def test_equal_counts_adjust_nothing():
    logits, target = _cosines()
    loss = create("balanced_softmax", class_counts=[5, 5, 5])
    torch.testing.assert_close(loss(logits, target), cross_entropy(logits, target))


def test_counts_are_scale_free():
    """Twice the data with the same frequencies gives the same loss."""
    logits, target = _cosines()
    for name in ("balanced_softmax", "ldam", "logit_adjustment"):
        a = create(name, class_counts=COUNTS)(logits, target)
        b = create(name, class_counts=[2 * n for n in COUNTS])(logits, target)
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("ldam", {"max_margin": -0.1}), ("ldam", {"scale": 0.0}), ("logit_adjustment", {"tau": -1.0})],
)
def test_mistakes_are_refused(name, arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        create(name, class_counts=COUNTS, **arguments)
