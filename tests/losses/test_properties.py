"""Properties of every registered loss: exact gradients, invariances, devices."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calibrant.losses import create, list_losses
from calibrant.losses.registry import LOSSES
from calibrant.testing.loss_checks import random_batch

COUNTS = [50, 30, 20, 10, 5]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

# The losses that see a common shift of the logits: a raw logit stands in their formula.
SEE_A_SHIFT = {"acls", "logit_norm", "nacl", "cb_focal"}
# The losses on one logit a row, where a shift changes the prediction and other names mean other signs.
BINARY = {name for name in list_losses() if getattr(LOSSES.get(name), "binary", False)}
WITHOUT_DRAWS = {"binary_mmce": {"pixels": None}}
# The losses that treat classes differently by design.
KNOW_THE_CLASSES = {
    "balanced_softmax",
    "cb_ce",
    "cb_focal",
    "las",
    "ldam",
    "logit_adjustment",
}


def build(name, **options):
    return with_ids(create(name, num_classes=5, class_counts=COUNTS, num_samples=9, **options))


def with_ids(loss):
    """Call the samples of every batch 0, 1, 2, … for a loss that asks for their ids."""
    if loss.needs_index:
        loss.register_forward_pre_hook(
            lambda _, args, kwargs: (
                args,
                kwargs | {"index": torch.arange(len(args[0]), device=args[0].device)},
            ),
            with_kwargs=True,
        )
    return loss


@pytest.mark.parametrize("name", list_losses())
def test_gradcheck(name):
    torch.manual_seed(3)
    loss = build(name, ignore_index=None)
    logits, target = random_batch(loss, 5, (2, 3, 3) if loss.spatial else (4,))

    def value(z):
        torch.manual_seed(1)
        return loss(z, target)

    assert torch.autograd.gradcheck(value, (logits,))


@pytest.mark.parametrize("name", sorted(set(list_losses()) - SEE_A_SHIFT - BINARY))
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31), shift=st.floats(-30, 30))
def test_a_common_shift_changes_nothing(name, seed, shift):
    torch.manual_seed(seed)
    loss = build(name)
    logits, target = random_batch(loss, 5)
    torch.testing.assert_close(loss(logits + shift, target), loss(logits, target), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", sorted(SEE_A_SHIFT))
def test_a_common_shift_is_seen_where_we_say_so(name):
    torch.manual_seed(0)
    loss = build(name)
    logits, target = random_batch(loss, 5)
    logits = 5 * logits.detach()
    assert abs(float(loss(logits + 20, target) - loss(logits, target))) > 1e-3


@pytest.mark.parametrize("name", sorted(set(list_losses()) - KNOW_THE_CLASSES - BINARY))
@settings(max_examples=10)
@given(seed=st.integers(0, 2**31))
def test_the_names_of_the_classes_do_not_matter(name, seed):
    torch.manual_seed(seed)
    loss = build(name)
    logits, target = random_batch(loss, 5)
    order = torch.randperm(5)
    renamed = torch.argsort(order)[target]
    torch.testing.assert_close(loss(logits[:, order], renamed), loss(logits, target), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", list_losses())
def test_every_device_gives_the_value_of_the_cpu(name, device):
    torch.manual_seed(0)
    loss = build(name)
    if loss.stochastic:
        loss = build(name, **WITHOUT_DRAWS.get(name, {"mode": "expected"}))
    logits, target = random_batch(loss, 5, dtype=torch.float32)
    there = loss.to(device)(logits.to(device), target.to(device))
    torch.testing.assert_close(there.cpu(), loss.to("cpu")(logits, target), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", list_losses())
def test_two_classes_are_enough(name):
    torch.manual_seed(0)
    loss = with_ids(create(name, num_classes=2, class_counts=[30, 10], num_samples=9))
    logits, target = random_batch(loss, 2)
    value = loss(logits, target)
    value.sum().backward()
    assert value.isfinite()
    assert logits.grad.isfinite().all()
