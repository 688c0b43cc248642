"""SC-BCE: its expectation, its draws, its special cases and its levels."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from calibrant.errors import InputError
from calibrant.losses import ScBCE, create
from calibrant.testing import check_loss


def _batch(images=4):
    torch.manual_seed(0)
    logits = torch.randn(images, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    return logits, torch.randint(0, 2, (images, 1, 3, 4)).double()


@settings(max_examples=30)
@given(alpha=st.floats(0, 0.49), strength=st.floats(0.05, 2), seed=st.integers(0, 10**6))
def test_expectation_is_that_of_both_branches(alpha, strength, seed):
    torch.manual_seed(seed)
    z, y = torch.randn(2, 1, 3, 3, dtype=torch.float64), torch.rand(2, 1, 3, 3, dtype=torch.float64)
    drawn = (1 - strength) * y + strength / 2
    q = alpha * strength / 2
    expected = (1 - alpha) * bce(z, y) + alpha * bce(z, drawn)
    ours = ScBCE(alpha, strength=strength)(z, y)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(ours, bce(z, y) + q * ((2 * y - 1) * z).mean())


@pytest.mark.parametrize("granularity", ["image", "pixel"])
def test_sampled_loss_and_gradient_average_to_the_expected_ones(granularity):
    logits, target = _batch()
    generator = torch.Generator().manual_seed(0)
    sampled = ScBCE(0.3, mode="sampled", granularity=granularity, generator=generator)
    values, gradients = [], []
    for _ in range(3000):
        value = sampled(logits, target)
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value, logits)[0])
    expected = ScBCE(0.3)(logits, target)
    (gradient,) = torch.autograd.grad(expected, logits)
    assert float(torch.stack(values).mean()) == pytest.approx(expected.item(), abs=0.03)
    torch.testing.assert_close(torch.stack(gradients).mean(0), gradient, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("technique", "of_0", "of_1", "noise"),
    [
        ("hard_inversion", 1.0, 0.0, 0.0),
        ("soft_inversion", 0.75, 0.25, 0.0),
        ("moderation", 0.5, 0.5, 0.0),
        ("dynamic_moderation", 0.5, 0.5, 0.25),
    ],
)
def test_each_technique_perturbs_as_published(technique, of_0, of_1, noise):
    logits, target = _batch(50)
    loss = ScBCE(0.4, technique, mode="sampled", generator=torch.Generator().manual_seed(1))
    value = loss(logits, target)
    assert loss.drawn.any()
    assert not loss.drawn.all()
    becomes = torch.where(target == 1, of_1, of_0)
    off = (loss.realised - torch.where(loss.drawn, becomes, target)).abs()
    assert float(off.max()) <= noise + 1e-12
    assert (float(off.max()) > 0) == (noise > 0)
    torch.testing.assert_close(value, bce(logits, loss.realised))


def test_special_cases():
    logits, target = _batch()
    torch.testing.assert_close(ScBCE(0.0)(logits, target), bce(logits, target))
    smoothed = bce(logits, 0.9 * target + 0.05)
    torch.testing.assert_close(ScBCE(1.0, strength=0.1)(logits, target), smoothed)
    # DisturbLabel of rate a redraws the label uniformly with probability a.
    disturbed = 0.8 * bce(logits, target) + 0.2 * (bce(logits, target * 0) + bce(logits, target * 0 + 1)) / 2
    torch.testing.assert_close(ScBCE(0.1)(logits, target), disturbed)


def test_techniques_with_the_same_flip_mass_have_the_same_expectation():
    logits, target = _batch()
    values = [ScBCE(0.1, "hard_inversion"), ScBCE(0.2, "moderation"), ScBCE(0.2 / 1.5, "soft_inversion")]
    values = [loss(logits, target) for loss in values]
    torch.testing.assert_close(values[1], values[0])
    torch.testing.assert_close(values[2], values[0])


def test_the_optimum_is_the_promised_confidence():
    """Minimising the loss over the logit ends at 1 - q on the object and q on the background."""
    z = torch.zeros(1, 1, 2, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([z], max_iter=50, tolerance_grad=1e-12)
    loss = ScBCE(0.2, "soft_inversion")

    def closure():
        optimiser.zero_grad()
        value = loss(z, torch.tensor([[[0.0, 1.0]]], dtype=torch.float64))
        value.backward()
        return value

    optimiser.step(closure)
    assert z.detach().sigmoid().flatten().tolist() == pytest.approx([0.15, 0.85], abs=1e-6)


def test_levels_are_looked_up_by_index():
    logits, target = _batch(2)
    levels = torch.tensor([0.0, 0.1, 0.2, 0.3])
    value = ScBCE(levels)(logits, target, index=torch.tensor([3, 1]))
    expected = torch.stack([ScBCE(a)(logits[i : i + 1], target[i : i + 1]) for i, a in enumerate((0.3, 0.1))])
    torch.testing.assert_close(value, expected.mean())
    with pytest.raises(InputError, match="index=ids"):
        ScBCE(levels)(logits, target)
    with pytest.raises(InputError, match=r"\[0, 4\)"):
        ScBCE(levels)(logits, target, index=torch.tensor([3, 4]))


def test_a_subclass_may_hold_its_own_levels():
    class Learned(ScBCE):
        def level(self, batch):
            return torch.tensor([0.0, 0.25], dtype=batch.logits.dtype)

    logits, target = _batch(2)
    value = Learned()(logits, target)
    expected = (bce(logits[:1], target[:1]) + ScBCE(0.25)(logits[1:], target[1:])) / 2
    torch.testing.assert_close(value, expected)


def test_beta_of_the_code_is_half_the_strength():
    assert ScBCE(0.1, beta_code=0.75).strength == 1.5
    with pytest.raises(InputError, match="not both"):
        ScBCE(0.1, beta_code=0.75, strength=1.5)


def test_a_strength_above_2_is_for_those_who_ask():
    with pytest.raises(InputError, match="allow_out_of_range"):
        ScBCE(0.1, strength=4.0)
    with pytest.warns(UserWarning, match="no lower bound"):
        loss = ScBCE(1.0, strength=4.0, mode="sampled", allow_out_of_range=True)
    logits, target = _batch()
    loss(logits, target)
    assert set(loss.realised.unique().tolist()) == {-1.0, 2.0}


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        ({"alpha": 1.5}, "between 0 and 1, not 1.5"),
        ({"alpha": torch.tensor([0.1, -0.2])}, "not -0.2"),
        ({"alpha": torch.zeros(2, 2)}, r"\(2, 2\)"),
        ({"alpha": 0.5}, "below 0.5"),
        ({"strength": 0.0}, "strength"),
        ({"technique": "inversion"}, "technique must be one of"),
        ({"technique": "soft_inversion", "strength": 0.5}, "between 1 and 2"),
        ({"technique": "moderation", "strength": 2.0}, "leave out the technique"),
        ({"mode": "drawn"}, "mode"),
        ({"granularity": "patch"}, "granularity"),
    ],
)
def test_mistakes_are_refused(arguments, what):
    with pytest.raises(InputError, match=what):
        create("sc_bce", **arguments)


@pytest.mark.parametrize("granularity", ["image", "pixel"])
@pytest.mark.parametrize("technique", ["hard_inversion", "dynamic_moderation"])
def test_the_sampled_loss_passes_the_battery(technique, granularity):
    def make(**options):
        return create(
            "sc_bce", alpha=0.3, technique=technique, mode="sampled", granularity=granularity, **options
        )

    check_loss(make)


def test_compiles_when_sampled():
    torch.compiler.reset()
    loss = ScBCE(0.4, mode="sampled")
    logits, target = _batch(30)
    logits, target = logits.detach().float().requires_grad_(), target.float()
    value = torch.compile(loss, fullgraph=True)(logits, target)
    torch.testing.assert_close(value, bce(logits, loss.realised))
    assert loss.drawn.any()
    assert not loss.drawn.all()


def test_a_copy_draws_like_the_original():
    logits, target = _batch(30)
    loss = ScBCE(0.4, mode="sampled", generator=torch.Generator().manual_seed(3))
    twin = copy.deepcopy(loss)
    loss(logits, target), twin(logits, target)
    assert torch.equal(loss.drawn, twin.drawn)
