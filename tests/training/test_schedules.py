import pytest

from calibrant.training.recipe import ScheduleConfig
from calibrant.training.schedules import rate_factor


def test_the_cosine_of_ten_epochs_has_the_published_values():
    # Zhong, Cui, Liu, Jia (CVPR 2021), stage 2, learning rate 0.1.
    published = [0.1, 0.09755, 0.09045, 0.07939, 0.06545, 0.05, 0.03455, 0.02061, 0.00955, 0.00245]
    ours = [0.1 * rate_factor(ScheduleConfig("cosine"), e, 10) for e in range(10)]
    assert ours == pytest.approx(published, abs=5e-6)


def test_warm_up_then_steps():
    schedule = ScheduleConfig("multistep", milestones=[160, 180], warmup=5)
    rates = {e: rate_factor(schedule, e, 200) for e in (0, 3, 4, 5, 159, 160, 179, 180, 199)}
    assert rates == pytest.approx(
        {0: 0.2, 3: 0.8, 4: 1, 5: 1, 159: 1, 160: 0.1, 179: 0.1, 180: 0.01, 199: 0.01}
    )


def test_constant_is_constant():
    assert {rate_factor(ScheduleConfig(), e, 3) for e in range(3)} == {1.0}


def test_the_warm_up_may_start_above_nothing():
    """BBN (Zhou, Cui, Wei, Chen, CVPR 2020): from a third, five steps, the first before the first epoch."""
    schedule = ScheduleConfig("constant", warmup=4, warmup_start=7 / 15)
    ours = [0.1 * rate_factor(schedule, e, 200) for e in range(6)]
    assert ours == pytest.approx([0.14 / 3, 0.06, 0.22 / 3, 0.26 / 3, 0.1, 0.1])


def test_the_cosine_may_end_above_nothing():
    schedule = ScheduleConfig("cosine", final=0.01)
    assert rate_factor(schedule, 0, 10) == 1
    assert rate_factor(schedule, 5, 10) == pytest.approx(0.505)
    assert rate_factor(schedule, 9, 10) == pytest.approx(0.01 + 0.99 * 0.0244717, abs=1e-6)
