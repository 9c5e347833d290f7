"""The learning rate is a pure function of the step."""

import pytest

from jobs.train.config import TrainConfig
from jobs.train.learning_rate import learning_rate_at


def test_without_settings_every_step_has_the_papers_rate() -> None:
    assert {learning_rate_at(TrainConfig(), step) for step in (0, 1, 99_999, 10**7)} == {1e-5}


def test_the_first_steps_climb_in_a_line_to_the_peak() -> None:
    config = TrainConfig(learning_rate=4e-4, warmup_steps=4)
    found = [learning_rate_at(config, step) for step in range(6)]
    assert found == pytest.approx([1e-4, 2e-4, 3e-4, 4e-4, 4e-4, 4e-4], rel=1e-12)


def test_half_a_cosine_leads_from_the_warm_up_to_the_last_rate_and_stays_there() -> None:
    config = TrainConfig(
        learning_rate=1e-3, warmup_steps=10, decay_steps=110, final_learning_rate=2e-4
    )
    # cos(pi / 3) = 1/2: a third of the way, three quarters of the height are left.
    expected = {10: 1e-3, 60: 6e-4, 110: 2e-4, 5000: 2e-4}
    for step, rate in expected.items():
        assert learning_rate_at(config, step) == pytest.approx(rate, rel=1e-12)
    third = TrainConfig(learning_rate=1e-3, decay_steps=90)
    assert learning_rate_at(third, 30) == pytest.approx(7.5e-4, rel=1e-12)


def test_more_steps_leave_the_rate_of_those_before() -> None:
    short, long = (TrainConfig(steps=n, warmup_steps=5, decay_steps=50) for n in (20, 200))
    assert all(learning_rate_at(short, k) == learning_rate_at(long, k) for k in range(20))
