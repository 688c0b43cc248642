"""Neighbourhoods of labels against a slow loop, and the losses built on them."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import one_hot

from calibrant.errors import InputError
from calibrant.losses import create
from calibrant.losses.neighbours import neighbourhood

OPERATORS = ["mean", "gaussian", "mode", "median", "max", "min"]


def slow_neighbourhood(target, classes, valid, operator, size, sigma, border):
    """What `neighbourhood` returns for one map of labels, pixel by pixel."""
    reach, shape = size // 2, target.shape
    offsets = list(itertools.product(range(-reach, reach + 1), repeat=len(shape)))
    weights = {o: math.exp(-sum(v * v for v in o) / (2 * sigma**2)) for o in offsets}
    if operator == "gaussian":
        centre = (0,) * len(shape)
        weights[centre] = sum(w for o, w in weights.items() if o != centre)
    else:
        weights = dict.fromkeys(offsets, 1.0)
    result = torch.zeros(classes, *shape, dtype=torch.float64)
    for pixel in itertools.product(*map(range, shape)):
        seen = []
        for offset in offsets:
            at = tuple(p + o for p, o in zip(pixel, offset, strict=True))
            inside = all(0 <= a < n for a, n in zip(at, shape, strict=True))
            at = tuple(min(max(a, 0), n - 1) for a, n in zip(at, shape, strict=True))
            if not inside and border == "zeros":
                seen.append((0, weights[offset]))
            elif valid[at]:
                seen.append((int(target[at]), weights[offset]))
        mass = torch.zeros(classes, dtype=torch.float64)
        for label, weight in seen:
            mass[label] += weight
        if seen and operator in ("mean", "gaussian"):
            result[(slice(None), *pixel)] = mass / mass.sum()
        elif seen:
            labels = sorted(label for label, _ in seen)
            picked = {
                "mode": max(range(classes), key=lambda k: (labels.count(k), -k)),
                "median": labels[(len(labels) - 1) // 2],
                "max": labels[-1],
                "min": labels[0],
            }[operator]
            result[(picked, *pixel)] = 1
    return result


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("border", ["replicate", "zeros"])
@pytest.mark.parametrize(("shape", "size"), [((5, 4), 3), ((4, 4), 5), ((3, 3, 2), 3), ((6,), 3), ((1, 2), 3)])
def test_neighbourhood_is_that_of_a_slow_loop(operator, border, shape, size):
    torch.manual_seed(0)
    target, valid = torch.randint(0, 3, (2, *shape)), torch.rand(2, *shape) > 0.3
    onehot = one_hot(target, 3).movedim(-1, 1).double()
    ours = neighbourhood(onehot, valid, operator=operator, kernel_size=size, sigma=0.8, border=border)
    for i in range(2):
        slow = slow_neighbourhood(target[i], 3, valid[i], operator, size, 0.8, border)
        torch.testing.assert_close(ours[i][:, valid[i]], slow[:, valid[i]], rtol=1e-10, atol=1e-10)


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6), operator=st.sampled_from(OPERATORS), size=st.sampled_from([3, 5]))
def test_shares_sum_to_1_and_all_valid_equals_no_mask(seed, operator, size):
    torch.manual_seed(seed)
    onehot = one_hot(torch.randint(0, 4, (2, 5, 6)), 4).movedim(-1, 1).double()
    shares = neighbourhood(onehot, operator=operator, kernel_size=size)
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 5, 6, dtype=torch.float64))
    everything = torch.ones(2, 5, 6, dtype=torch.bool)
    masked = neighbourhood(onehot, everything, operator=operator, kernel_size=size)
    torch.testing.assert_close(masked, shares)


@pytest.mark.parametrize("sigma", [0.25, 0.6, 1.0, 3.0])
def test_the_centre_keeps_half_whatever_sigma(sigma):
    impulse = torch.zeros(1, 2, 5, 5, dtype=torch.float64)
    impulse[:, 1] = 1
    impulse[0, :, 2, 2] = torch.tensor([1.0, 0.0])
    assert neighbourhood(impulse, operator="gaussian", sigma=sigma)[0, 0, 2, 2] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["svls", "nacl"])
def test_a_map_of_one_class_has_onehot_labels(name):
    torch.manual_seed(1)
    logits, target = torch.randn(2, 3, 6, 5, dtype=torch.float64), torch.full((2, 6, 5), 1)
    ce = torch.nn.functional.cross_entropy(logits, target)
    expected = ce if name == "svls" else ce + 0.1 * (logits - one_hot(target, 3).movedim(-1, 1)).abs().mean()
    torch.testing.assert_close(create(name)(logits, target), expected)


@pytest.mark.parametrize("operator", ["mean", "gaussian"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
@pytest.mark.parametrize("pull", ["logits", "probs"])
def test_nacl_is_that_of_a_slow_loop(operator, distance, pull):
    torch.manual_seed(2)
    logits, target = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    target[0, :2] = 255
    valid = target != 255
    loss = create(
        "nacl", alpha=0.3, operator=operator, distance=distance, pull=pull, ignore_index=255, reduction="none"
    )
    values = loss(logits, target)
    everything = torch.where(valid, target, 0)
    for i in range(2):
        tau = slow_neighbourhood(everything[i], 3, valid[i], operator, 3, 1.0, "replicate")
        z = logits[i] if pull == "logits" else logits[i].softmax(0)
        gap = (tau - z).abs() if distance == "l1" else (tau - z) ** 2
        expected = 0.3 * gap.mean(0) - logits[i].log_softmax(0).gather(0, everything[i][None])[0]
        torch.testing.assert_close(values[i], expected * valid[i])


def test_an_ignored_neighbour_tells_nothing():
    """Its label, whatever it is, changes neither value nor gradient."""
    torch.manual_seed(3)
    logits = torch.randn(1, 3, 5, 5, dtype=torch.float64, requires_grad=True)
    target = torch.randint(0, 3, (1, 5, 5))
    results = []
    for label in (255, -1):
        target[0, 2, 2] = label
        for name in ("svls", "nacl"):
            value = create(name, ignore_index=[255, -1])(logits, target)
            results.append((value, torch.autograd.grad(value, logits)[0]))
    for first, second in (results[0::2], results[1::2]):
        assert torch.equal(first[0], second[0])
        assert torch.equal(first[1], second[1])
        assert not first[1][0, :, 2, 2].any()


def test_the_border_of_the_published_code_sees_more_of_class_0():
    target = torch.ones(1, 3, 3, dtype=torch.long)
    onehot = one_hot(target, 2).movedim(-1, 1).double()
    assert neighbourhood(onehot, border="zeros")[0, 0, 0, 0] == pytest.approx(5 / 9)
    assert neighbourhood(onehot)[0, 0, 0, 0] == 0


@pytest.mark.parametrize("name", ["svls", "nacl"])
def test_soft_targets_are_blurred_like_labels(name):
    torch.manual_seed(4)
    logits, soft = torch.randn(1, 3, 4, 4, dtype=torch.float64), torch.rand(1, 3, 4, 4, dtype=torch.float64)
    soft = soft / soft.sum(1, keepdim=True)
    labels = neighbourhood(soft, operator="gaussian")
    expected = -(labels * logits.log_softmax(1)).sum(1).mean()
    if name == "nacl":
        tau = neighbourhood(soft)
        expected = -(soft * logits.log_softmax(1)).sum(1).mean() + 0.1 * (tau - logits).abs().mean()
    torch.testing.assert_close(create(name)(logits, soft), expected)


@pytest.mark.parametrize(
    ("name", "arguments", "what"),
    [
        ("svls", {"kernel_size": 4}, "odd"),
        ("svls", {"sigma": 0.01}, "sigma"),
        ("svls", {"border": "reflect"}, "border"),
        ("nacl", {"alpha": -1.0}, "alpha"),
        ("nacl", {"operator": "sum"}, "operator"),
        ("nacl", {"distance": "l3"}, "distance"),
        ("nacl", {"pull": "odds"}, "pull"),
    ],
)
def test_mistakes_are_refused(name, arguments, what):
    with pytest.raises(InputError, match=what):
        create(name, **arguments)


@pytest.mark.parametrize("name", ["svls", "nacl"])
def test_logits_without_neighbours_are_refused(name):
    with pytest.raises(InputError, match="without neighbours use 'ce'"):
        create(name)(torch.zeros(3, 4), torch.zeros(3, dtype=torch.long))
