"""Entropy of the wrong rows alone, and nothing where none is wrong."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from calibrant.errors import InputError
from calibrant.losses import create


def _batch():
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (2, 4, 5))
    target[0, 0] = 255
    return logits, target


def slow(logits, target, kind, entropy):
    doubts = []
    for z, y in zip(logits.movedim(1, -1).reshape(-1, 3), target.flatten().tolist(), strict=True):
        if y == 255 or int(z.argmax()) == y:
            continue
        p = z.softmax(0)
        if kind == "uniform":
            doubts.append(-p.log().mean())
        elif entropy == "classes":
            doubts.append(-(p * p.log()).sum())
        else:
            doubts.append(-(p * p.log() + (1 - p) * (1 - p).log()).mean())
    return torch.stack(doubts).mean()


@pytest.mark.parametrize(
    ("kind", "entropy", "sign"),
    [("entropy", "classes", -1), ("entropy", "per_class", -1), ("uniform", "classes", 1)],
)
def test_value_and_gradient_are_those_of_a_slow_loop(kind, entropy, sign):
    logits, target = _batch()
    loss = create("meep", alpha=0.4, kind=kind, entropy=entropy, ignore_index=255)
    ours = loss(logits, target)
    theirs = cross_entropy(logits, target, ignore_index=255) + sign * 0.4 * slow(logits, target, kind, entropy)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(torch.autograd.grad(ours, logits)[0], torch.autograd.grad(theirs, logits)[0])


@pytest.mark.parametrize("kind", ["entropy", "uniform"])
def test_no_wrong_row_leaves_the_cross_entropy(kind):
    logits, _ = _batch()
    target = logits.detach().argmax(1)
    value = create("meep", kind=kind)(logits, target)
    torch.testing.assert_close(value, cross_entropy(logits, target))
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


@pytest.mark.parametrize("entropy", ["classes", "per_class"])
def test_confident_mistakes_have_a_finite_gradient(entropy):
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    value = create("meep", entropy=entropy)(logits, torch.tensor([1]))
    assert value.isfinite()
    assert torch.autograd.grad(value, logits)[0].isfinite().all()


def test_both_entropies_agree_on_two_classes():
    torch.manual_seed(1)
    logits, target = torch.randn(20, 2, dtype=torch.float64), torch.randint(0, 2, (20,))
    values = [create("meep", entropy=e)(logits, target) for e in ("classes", "per_class")]
    torch.testing.assert_close(*values)


@pytest.mark.parametrize("arguments", [{"alpha": -0.1}, {"kind": "kl"}, {"entropy": "joint"}])
def test_mistakes_are_refused(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        create("meep", **arguments)
