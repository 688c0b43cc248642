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
