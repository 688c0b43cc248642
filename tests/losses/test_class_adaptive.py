"""CALS: what is learned is saved, restored and shared between processes."""

import copy

import pytest
import torch

from calibrant.errors import InputError
from calibrant.losses import CALS, CALSHR, MarginLoss
from tests.together import in_two


def _course(rank, params, shards, rank_average):
    loss = CALS(
        params["num_classes"],
        params["margin"],
        penalty=params["penalty"],
        normalize=params["normalize"],
        multiplier_every=params["lambd_step"],
        rho_every=params["rho_step"],
        growth=params["gamma"],
        tau=params["tao"],
        rank_average=rank_average,
    )
    state = loss.lagrangian
    lambd, rho = [state.multipliers.clone()], [state.rho.clone()]
    for logits in shards[rank]:
        loss.observe(logits, torch.zeros(len(logits), dtype=torch.int64))
        loss.step_epoch()
        lambd.append(state.multipliers.clone())
        rho.append(state.rho.clone())
    return {"lambd": torch.stack(lambd), "rho": torch.stack(rho)}


def update_in_two_processes(params, shards, *, rank_average):
    """Run the update over two gloo processes and return the course of the state, the same on both."""
    first, second = in_two(_course, params, shards, rank_average)
    for name in first:
        assert torch.equal(first[name], second[name])
    return first


PARAMS = {
    "num_classes": 4,
    "margin": 2.0,
    "penalty": "phr",
    "normalize": True,
    "lambd_step": 1,
    "rho_step": 2,
    "gamma": 1.2,
    "tao": 0.9,
}


def test_two_processes_learn_what_one_learns_from_all():
    torch.manual_seed(0)
    logits = 4 * torch.randn(4, 11, 4, dtype=torch.float64)
    shared = update_in_two_processes(PARAMS, [logits[:, :3], logits[:, 3:]], rank_average=False)
    loss = CALS(4, 2.0, rho_every=2)
    for epoch, rows in enumerate(logits):
        loss.observe(rows, torch.zeros(11, dtype=torch.int64))
        loss.step_epoch()
        torch.testing.assert_close(shared["lambd"][epoch + 1], loss.lagrangian.multipliers, rtol=1e-12, atol=0)
        torch.testing.assert_close(shared["rho"][epoch + 1], loss.lagrangian.rho, rtol=1e-12, atol=0)


@pytest.mark.parametrize("make", [lambda: CALS(4, 2.0, rho_every=2), lambda: CALSHR(4, 2.0)])
def test_a_restored_loss_goes_on_as_the_saved_one(make):
    torch.manual_seed(0)
    epochs = 4 * torch.randn(6, 11, 4)
    target = torch.zeros(11, dtype=torch.int64)
    loss = make()
    for rows in epochs[:3]:
        loss.observe(rows, target)
        loss.step_epoch()
    loss.observe(epochs[3][:5], target[:5])
    restored = make()
    restored.load_state_dict(copy.deepcopy(loss.state_dict()))
    for one in (loss, restored):
        one.observe(epochs[3][5:], target[5:])
        one.step_epoch()
        for rows in epochs[4:]:
            one.observe(rows, target)
            one.step_epoch()
    for name, value in loss.state_dict().items():
        assert torch.equal(value, restored.state_dict()[name]), name


def test_reset_on_resume_learns_anew_and_counts_on():
    torch.manual_seed(0)
    loss, target = CALS(4, 2.0, reset_on_resume=True), torch.zeros(11, dtype=torch.int64)
    loss.observe(4 * torch.randn(11, 4), target)
    loss.step_epoch()
    assert loss.lagrangian.multipliers.max() > 1e-3
    resumed = CALS(4, 2.0, reset_on_resume=True)
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed.lagrangian.multipliers, torch.full((4,), 1e-6, dtype=torch.float64))
    assert resumed.lagrangian.previous.isnan().all()
    assert resumed.lagrangian.epoch == 1


def test_reset_on_resume_leaves_the_weights_of_the_heuristic_out_too():
    torch.manual_seed(0)
    loss, target = CALSHR(4, 1.0, reset_on_resume=True), torch.zeros(11, dtype=torch.int64)
    for scale in (2, 20):
        loss.observe(scale * torch.randn(11, 4), target)
        loss.step_epoch()
    assert loss.multipliers.max() > 0.1
    resumed = CALSHR(4, 1.0, reset_on_resume=True)
    resumed.load_state_dict(loss.state_dict())
    assert torch.equal(resumed.multipliers, torch.full_like(resumed.multipliers, 0.1))
    assert (resumed.score.tolist(), resumed.epoch) == ([0.0] * 4, 2)


@pytest.mark.parametrize("create", [lambda **s: CALS(3, 2.0, **s), lambda **s: MarginLoss(2.0, **s)])
def test_a_sum_over_the_classes_is_so_many_times_their_mean(create):
    logits, target = 5 * torch.randn(7, 3), torch.tensor([0, 1, 2, 0, 1, 2, 0])
    terms = []
    for reduction in ("mean", "sum"):
        loss = create(class_reduction=reduction)
        loss(logits, target)
        terms.append([value for name, value in loss.terms.items() if name != "ce"])
    ((mean,), (total,)) = terms
    assert mean > 0
    torch.testing.assert_close(total, 3 * mean)


def test_penalty_weights_can_be_checked_against_the_check_before():
    # At margin 1 a row (d + 1, 0) has h = -1 for the first class and d for the second.
    def rho_after(distances, **settings):
        loss = CALS(2, 1.0, rho_every=2, **settings)
        for distance in distances:
            loss.observe(torch.tensor([[distance + 1.0, 0.0]]), torch.tensor([0]))
            loss.step_epoch()
        return loss.lagrangian.rho.tolist()

    # Worse than the epoch before, far better than at the check before; at the first check nothing is known.
    course = [9.0, 8.0, 2.0, 3.0]
    assert rho_after(course[:2], rho_against="check") == [1.0, 1.0]
    assert rho_after(course, rho_against="check") == [1.0, 1.0]
    assert rho_after(course) == [1.0, 1.2]
    # And the other way round.
    course = [9.0, 8.0, 20.0, 10.0]
    assert rho_after(course, rho_against="check") == [1.0, 1.2]
    assert rho_after(course) == [1.0, 1.0]
    with pytest.raises(InputError, match="rho_against must be 'epoch' or 'check', not 'batch'"):
        CALS(2, rho_against="batch")


def test_ignored_rows_teach_nothing():
    torch.manual_seed(0)
    logits = 4 * torch.randn(6, 4)
    target = torch.tensor([0, 255, 1, 255, 2, 3])
    one, other = CALS(4, 2.0, ignore_index=255), CALS(4, 2.0)
    one.observe(logits, target)
    other.observe(logits[target != 255], target[target != 255])
    one.step_epoch()
    other.step_epoch()
    torch.testing.assert_close(one.lagrangian.multipliers, other.lagrangian.multipliers)


def test_an_epoch_without_observation_changes_no_multiplier():
    loss = CALS(4, 2.0, multipliers=[0.1, 0.2, 0.3, 0.4])
    loss.step_epoch()
    assert loss.lagrangian.multipliers.tolist() == [0.1, 0.2, 0.3, 0.4]


def test_equal_weights_make_the_heuristic_the_margin_loss():
    torch.manual_seed(0)
    logits, target = 8 * torch.randn(7, 4), torch.randint(0, 4, (7,))
    torch.testing.assert_close(CALSHR(4, 3.0)(logits, target), MarginLoss(3.0, 0.1)(logits, target))


def test_mistakes():
    with pytest.raises(InputError, match="one value or 3"):
        CALS(3, multipliers=[1.0, 2.0])
    with pytest.raises(InputError, match="no penalty 'phi'"):
        CALS(3, penalty="phi")
    with pytest.raises(InputError, match="margin must lie above 0"):
        CALS(3, margin=0.0)
