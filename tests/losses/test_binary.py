"""The binary form: what it takes, what it refuses, how it weighs and ignores."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from calibrant.errors import InputError
from calibrant.losses import Batch, BinaryLoss


class Plain(BinaryLoss):
    def formula(self, batch: Batch):
        return {"bce": bce(batch.logits, batch.target, reduction="none").squeeze(1)}


def _batch():
    torch.manual_seed(0)
    return torch.randn(3, 1, 4, 5, dtype=torch.float64), torch.randint(0, 2, (3, 4, 5))


def test_every_form_of_target_gives_the_same():
    logits, labels = _batch()
    expected = bce(logits, labels.unsqueeze(1).double())
    for target in (labels, labels.unsqueeze(1), labels.bool(), labels.unsqueeze(1).double()):
        torch.testing.assert_close(Plain()(logits, target), expected)


def test_grey_maps_are_taken_as_they_are():
    logits, _ = _batch()
    grey = torch.rand_like(logits)
    torch.testing.assert_close(Plain()(logits, grey), bce(logits, grey))
    torch.testing.assert_close(Plain(reduction="none")(logits, grey), bce(logits, grey, reduction="none"))


@pytest.mark.parametrize("shape", [(5, 1), (5, 1, 7), (2, 1, 3, 4, 2)])
def test_any_number_of_axes(shape):
    torch.manual_seed(1)
    logits, target = torch.randn(shape), torch.randint(0, 2, shape)
    torch.testing.assert_close(Plain()(logits, target), bce(logits, target.float()))
    assert Plain(reduction="none")(logits, target.squeeze(1)).shape == shape


def test_ignored_pixels_count_nowhere():
    logits, labels = _batch()
    logits.requires_grad_()
    labels[0, :2] = 255
    labels[1, 0, 0] = -1
    kept = (labels != 255) & (labels != -1)
    value = Plain(ignore_index=[255, -1])(logits, labels)
    torch.testing.assert_close(value, bce(logits[:, 0][kept], labels[kept].double()))
    (gradient,) = torch.autograd.grad(value, logits)
    assert not gradient[:, 0][~kept].any()


def test_weights_are_of_background_and_object():
    logits, labels = _batch()
    labels[0, 0] = 255
    valid = labels != 255
    weights = torch.where(labels == 1, 3.0, 0.5)[valid].double()
    rows = bce(logits[:, 0][valid], labels[valid].double(), reduction="none")
    loss = Plain(weight=[0.5, 3.0], ignore_index=255)
    torch.testing.assert_close(loss(logits, labels), (rows * weights).sum() / weights.sum())
    grey = torch.full_like(logits, 0.5)
    halved = Plain(weight=[0.5, 3.0], reduction="sum")(logits, grey)
    torch.testing.assert_close(halved, 1.75 * Plain(reduction="sum")(logits, grey))


def test_saturated_logits_are_safe_in_float32():
    logits = torch.tensor([60.0, -60.0, 60.0, -60.0]).view(1, 1, 4).requires_grad_()
    target = torch.tensor([1, 0, 0, 1]).view(1, 1, 4)
    value = Plain(reduction="none")(logits, target)
    assert value.flatten().tolist() == pytest.approx([8.7565e-27, 8.7565e-27, 60, 60], rel=1e-4)
    assert torch.autograd.grad(value.sum(), logits)[0].isfinite().all()


@pytest.mark.parametrize(
    ("logits", "target", "what"),
    [
        (torch.zeros(2, 3, 4), torch.zeros(2, 4).long(), r"\(N, 1, \*\)"),
        (torch.zeros(2, 1, 4), torch.zeros(2, 4), "fits no logits"),
        (torch.zeros(2, 1, 4), torch.zeros(2, 5).long(), "fits no logits"),
        (torch.zeros(2, 1, 4), torch.full((2, 1, 4), 255.0), "divide an 8-bit map by 255"),
        (torch.zeros(2, 1, 4), torch.full((2, 1, 4), float("nan")), "nan at position"),
        (torch.zeros(2, 1, 4), torch.full((2, 4), 2), r"outside \[0, 2\)"),
        (torch.full((2, 1, 4), float("nan")), torch.zeros(2, 4).long(), "NaN"),
    ],
)
def test_mistakes_are_refused(logits, target, what):
    with pytest.raises(InputError, match=what):
        Plain()(logits, target)


def test_a_weight_a_class_is_two():
    with pytest.raises(InputError, match="background and object"):
        Plain(weight=[1.0])(torch.zeros(1, 1, 2), torch.zeros(1, 2).long())
