import pytest
import torch
from torch import nn

from calibrant.errors import InputError
from calibrant.losses import LDAM
from calibrant.models.heads import NormedLinear, ScaledLinear, tau_normalise

X = torch.randn(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
LEARNED = {"crt": ["classifier"], "lws": ["scale"], "mislas": ["classifier", "scale"]}


def stage_1(bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(4, 3, bias).double()


def train(head: ScaledLinear, steps: int = 5, weight_decay: float = 0.0) -> None:
    optimizer = torch.optim.SGD(head.parameter_groups(), lr=0.3, weight_decay=weight_decay)
    target = torch.arange(9) % 3
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(X), target).backward()
        optimizer.step()


@pytest.mark.parametrize("decay", ["sum", "delta"])
@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("bias", [True, False])
def test_each_method_learns_its_parts_and_folds_into_a_layer(name, decay, bias):
    linear = stage_1(bias)
    before = linear.weight.clone()
    head = getattr(ScaledLinear, name)(linear, decay=decay)
    groups = {group["name"]: group["params"] for group in head.parameter_groups()}
    assert list(groups) == LEARNED[name]
    assert sum(len(params) for params in groups.values()) == len(list(head.parameters()))
    starts_where_stage_1_ended = torch.equal(head(X), linear(X))
    assert starts_where_stage_1_ended == (name != "crt")
    train(head)
    assert torch.equal(linear.weight, before)
    assert torch.equal(head.scale, torch.ones(3).double()) == (name == "crt")
    torch.testing.assert_close(head.fold()(X), head(X))
    assert (head.fold().bias is not None) == bias
    other = getattr(ScaledLinear, name)(stage_1(bias), decay=decay)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(X), head(X))


def test_learnable_weight_scaling_keeps_the_layer():
    linear = stage_1()
    head = ScaledLinear.lws(linear)
    train(head)
    torch.testing.assert_close(head(X), head.scale * linear(X))


def test_both_forms_of_decay_agree_without_decay_and_differ_with_it():
    free = [ScaledLinear.mislas(stage_1(), decay=decay) for decay in ("sum", "delta")]
    for head in free:
        train(head)
    torch.testing.assert_close(free[0](X), free[1](X))
    bound = [ScaledLinear.mislas(stage_1(), decay=decay) for decay in ("sum", "delta")]
    for head in bound:
        train(head, steps=200, weight_decay=2.0)
    assert bound[0].linear()[0].norm() < 0.05 * stage_1().weight.norm()
    torch.testing.assert_close(bound[1].linear()[0], stage_1().weight, atol=0.05, rtol=0)


def test_a_share_of_the_layer_is_kept():
    linear = stage_1()
    head = ScaledLinear(linear.weight, linear.bias, 0.5)
    torch.testing.assert_close(head(X), 0.5 * linear(X))


def test_re_training_starts_at_a_fresh_draw_of_the_usual_size():
    linear = nn.Linear(400, 300)
    nn.init.constant_(linear.weight, 7.0)
    head = ScaledLinear.crt(linear)
    assert head.weight.abs().max() <= 400**-0.5
    assert head.weight.std().item() == pytest.approx((1 / 400 / 3) ** 0.5, rel=0.02)


def test_cosines_in_training_and_scaled_ones_in_evaluation():
    head = NormedLinear(4, 3, factor=16).double()
    norms = X.norm(dim=1, keepdim=True) * head.weight.norm(dim=1)
    torch.testing.assert_close(head(X), X @ head.weight.T / norms)
    torch.testing.assert_close(head.eval()(X), 16 * head.train()(X))
    torch.testing.assert_close(head.weight.norm(dim=1), torch.ones(3).double())


def test_the_test_logits_are_those_that_the_margin_loss_trains():
    """Without margins LDAM is cross-entropy on the evaluation logits of the head."""
    head = NormedLinear(4, 3)
    target = torch.arange(9) % 3
    loss = LDAM([5, 5, 5], max_margin=0.0)
    expected = nn.functional.cross_entropy(head.eval()(X.float()), target)
    torch.testing.assert_close(loss(head.train()(X.float()), target), expected)


def test_tau_normalisation_between_the_ends():
    linear = stage_1()
    linear.weight.data[1] = 0
    torch.testing.assert_close(tau_normalise(linear, 0.0).weight, linear.weight)
    norms = tau_normalise(linear, 1.0).weight.norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor([1.0, 0.0, 1.0]).double())
    assert tau_normalise(linear, 1.0).bias is None
    assert torch.equal(tau_normalise(linear, 1.0, keep_bias=True).bias, linear.bias)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: ScaledLinear(torch.ones(3), None), r"\(K, D\)"),
        (lambda: ScaledLinear(torch.ones(3, 2), torch.ones(2)), r"\(3, 2\) and \(2,\)"),
        (lambda: ScaledLinear(torch.ones(3, 2), None, decay="both"), "'both'"),
        (lambda: ScaledLinear(torch.ones(3, 2), None, learn_scale=False, learn_shift=False), "Nothing"),
        (lambda: NormedLinear(3, 2, factor=0), "above 0"),
    ],
)
def test_mistakes_are_refused(make, what):
    with pytest.raises(InputError, match=what):
        make()
