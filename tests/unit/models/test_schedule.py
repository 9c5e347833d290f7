import math

import pytest
import torch
from torch import Tensor

from models.schedule import NoiseSchedule, ScheduleConfig


def schedule(num_steps: int = 250) -> NoiseSchedule:
    return NoiseSchedule(ScheduleConfig(num_steps=num_steps))


def volume() -> Tensor:
    return torch.randn(1, 1, 4, 4, 4, generator=torch.Generator().manual_seed(0))


def test_betas_are_the_cosine_schedule_of_nichol_and_dhariwal() -> None:
    def f(t: float) -> float:
        return math.cos((t / 250 + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = schedule().betas
    for t in (0, 1, 124, 248):
        assert betas[t].item() == pytest.approx(1 - f(t + 1) / f(t), rel=1e-12)
    assert betas[249].item() == 0.999


def test_the_reference_of_step_zero_keeps_the_noise_that_was_measured() -> None:
    # 0.01394 in window units, about 11 HU of a 1624 HU window.
    assert (1 - schedule().alphas_cumprod[0]).sqrt().item() == pytest.approx(0.01394, abs=5e-6)


def test_coefficients_are_float64() -> None:
    made = schedule()
    assert made.betas.dtype == made.alphas_cumprod.dtype == torch.float64
    torch.testing.assert_close(
        made.alphas_cumprod, torch.cumprod(1 - made.betas, 0), rtol=1e-13, atol=0
    )


def test_clean_level_returns_the_volume_bit_for_bit() -> None:
    x = volume()
    assert torch.equal(schedule().q_sample(x, -1, torch.full_like(x, math.nan)), x)


def test_q_sample_mixes_signal_and_noise_by_their_variances() -> None:
    made, x, noise = schedule(), volume(), torch.ones(1, 1, 4, 4, 4)
    share = made.alphas_cumprod[100].item()
    expected = math.sqrt(share) * x + math.sqrt(1 - share)
    torch.testing.assert_close(made.q_sample(x, 100, noise), expected)


def test_a_batch_is_noised_at_a_step_for_each_volume() -> None:
    made, x = schedule(), volume().expand(3, 1, 4, 4, 4)
    noise = torch.randn(3, 1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    steps = [0, 249, 17]
    together = made.q_sample_batch(x, torch.tensor(steps), noise)
    for i, t in enumerate(steps):
        torch.testing.assert_close(together[i], made.q_sample(x[i], t, noise[i]))


def test_the_clean_volume_is_recovered_from_the_true_noise() -> None:
    made, x = schedule(), volume().double()
    for t in (0, 100, 248):
        x_t = made.q_sample(x, t, torch.ones_like(x))
        back = made.predict_start_from_noise(x_t, t, torch.ones_like(x))
        torch.testing.assert_close(back, x, rtol=0, atol=1e-9)


def test_last_reverse_step_gives_the_predicted_volume_without_variance() -> None:
    x = volume()
    mean, variance = schedule().q_posterior(x, torch.full_like(x, 9.0), 3, -1)
    assert torch.equal(mean, x)
    assert variance == 0.0


def test_all_steps_are_taken_one_by_one() -> None:
    assert schedule(4).strided(4) == [(3, 2), (2, 1), (1, 0), (0, -1)]


def test_fewer_steps_are_equally_long_and_start_from_pure_noise() -> None:
    assert schedule(250).strided(5) == [(249, 199), (199, 149), (149, 99), (99, 49), (49, -1)]
    assert schedule(250).strided(1) == [(249, -1)]


@pytest.mark.parametrize("num_steps", [0, -1, 251])
def test_more_steps_than_the_schedule_has_are_refused_with_both_numbers(num_steps: int) -> None:
    with pytest.raises(ValueError, match=rf"^{num_steps} sampling steps .* schedule has 250"):
        schedule().strided(num_steps)


@pytest.mark.parametrize("t", [-2, 250])
def test_a_step_outside_the_schedule_is_refused(t: int) -> None:
    x = volume()
    with pytest.raises(ValueError, match=rf"step {t} is outside -1\.\.249"):
        schedule().q_sample(x, t, x)
    with pytest.raises(ValueError, match=rf"step {t} is outside"):
        schedule().predict_start_from_noise(x, t, x)


@pytest.mark.parametrize("t_prev", [5, 6])
def test_a_reverse_step_that_does_not_go_down_is_refused(t_prev: int) -> None:
    with pytest.raises(ValueError, match=rf"t_prev is {t_prev} and t is 5; a reverse step goes"):
        schedule().q_posterior(volume(), volume(), 5, t_prev)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps is 0; it must be at least 1"),
        ({"s": -0.1}, r"s is -0.1; it must lie in \[0, 1\]"),
        ({"s": math.nan}, r"s is nan; it must lie in \[0, 1\]"),
        ({"max_beta": 1.0}, "max_beta is 1.0; it must lie between 0 and 1"),
    ],
)
def test_an_impossible_schedule_is_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(**settings)
