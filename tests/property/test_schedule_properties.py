"""What holds for every schedule and every pair of levels, against Bayes' rule in float64."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from models.schedule import NoiseSchedule, ScheduleConfig

quick = settings(deadline=None, derandomize=True, max_examples=60)


@st.composite
def reverse_steps(draw: st.DrawFn) -> tuple[NoiseSchedule, int, int]:
    num_steps = draw(st.integers(2, 400))
    t = draw(st.integers(1, num_steps - 1))
    schedule = NoiseSchedule(ScheduleConfig(num_steps=num_steps))
    return schedule, t, draw(st.integers(0, t - 1))


def posterior(schedule: NoiseSchedule, t: int, t_prev: int) -> tuple[float, float, float]:
    """Return the weights of x_0 and x_t in the mean, and the variance."""
    one, none = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    from_start, variance = schedule.q_posterior(one, none, t, t_prev)
    from_x_t, _ = schedule.q_posterior(none, one, t, t_prev)
    return from_start.item(), from_x_t.item(), variance


@quick
@given(reverse_steps())
def test_q_posterior_matches_bayes_rule_for_any_stride(
    step: tuple[NoiseSchedule, int, int],
) -> None:
    schedule, t, t_prev = step
    kept = np.cumprod(1.0 - schedule.betas.numpy())
    # x_prev ~ N(sqrt(kept_prev) x_0, 1 - kept_prev), then x_t ~ N(sqrt(share) x_prev, 1 - share).
    share = np.prod(1.0 - schedule.betas.numpy()[t_prev + 1 : t + 1])
    precision = 1.0 / (1.0 - kept[t_prev]) + share / (1.0 - share)
    expected = (
        np.sqrt(kept[t_prev]) / (1.0 - kept[t_prev]) / precision,
        np.sqrt(share) / (1.0 - share) / precision,
        1.0 / precision,
    )
    assert posterior(schedule, t, t_prev) == pytest.approx(expected, rel=1e-8)


@quick
@given(reverse_steps())
def test_q_posterior_of_one_step_is_ddpm_equations_6_and_7(
    step: tuple[NoiseSchedule, int, int],
) -> None:
    schedule, t, _ = step
    betas = schedule.betas.numpy()
    kept = np.cumprod(1.0 - betas)
    noise = 1.0 - kept[t]
    expected = (
        np.sqrt(kept[t - 1]) * betas[t] / noise,
        np.sqrt(1.0 - betas[t]) * (1.0 - kept[t - 1]) / noise,
        (1.0 - kept[t - 1]) / noise * betas[t],
    )
    assert posterior(schedule, t, t - 1) == pytest.approx(expected, rel=1e-8)


@quick
@given(reverse_steps())
def test_noising_in_two_stages_is_noising_once(step: tuple[NoiseSchedule, int, int]) -> None:
    schedule, t, t_prev = step
    kept = schedule.alphas_cumprod.numpy()
    beta = schedule.step_beta(t, t_prev)
    assert kept[t_prev] * (1.0 - beta) == pytest.approx(kept[t], rel=1e-9)
    assert (1.0 - kept[t_prev]) * (1.0 - beta) + beta == pytest.approx(1.0 - kept[t], rel=1e-9)


@quick
@given(st.integers(1, 400))
def test_signal_only_falls_and_noise_never_reaches_everything(num_steps: int) -> None:
    kept = NoiseSchedule(ScheduleConfig(num_steps=num_steps)).alphas_cumprod
    assert (kept.diff() < 0).all()
    assert 0.0 < kept[-1].item() <= kept[0].item() < 1.0


@quick
@given(st.data())
def test_uneven_steps_shorten_towards_the_clean_volume(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 400))
    num_steps = data.draw(st.integers(1, total))
    exponent = data.draw(st.floats(1.0, 3.0))
    schedule = NoiseSchedule(ScheduleConfig(num_steps=total))
    pairs = schedule.strided(num_steps, exponent)
    jumps = [t - t_prev for t, t_prev in pairs]
    assert len(pairs) == num_steps
    assert (pairs[0][0], pairs[-1][1]) == (total - 1, -1)
    assert [t_prev for _, t_prev in pairs[:-1]] == [t for t, _ in pairs[1:]]
    assert min(jumps) >= 1
    # Rounding down moves a level by less than one step.
    assert all(later <= earlier + 1 for earlier, later in pairwise(jumps))
    evenly = schedule.strided(num_steps)
    assert all(t <= even for (t, _), (even, _) in zip(pairs, evenly, strict=True))


def test_steps_that_lengthen_towards_the_clean_volume_are_refused() -> None:
    with pytest.raises(ValueError, match=r"exponent is 0\.5; it must be at least 1"):
        NoiseSchedule(ScheduleConfig(num_steps=10)).strided(5, 0.5)


@quick
@given(st.data())
def test_strided_steps_lead_from_pure_noise_to_clean_in_equal_jumps(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 400))
    num_steps = data.draw(st.integers(1, total))
    pairs = NoiseSchedule(ScheduleConfig(num_steps=total)).strided(num_steps)
    jumps = [t - t_prev for t, t_prev in pairs]
    assert len(pairs) == num_steps
    assert (pairs[0][0], pairs[-1][1]) == (total - 1, -1)
    assert [t_prev for _, t_prev in pairs[:-1]] == [t for t, _ in pairs[1:]]
    assert max(jumps) - min(jumps) <= 1
    assert min(jumps) >= 1
