import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from models.schedule import NoiseSchedule, ScheduleConfig
from models.solvers import Ancestral, DpmSolverPP, Solver, make_solver, predict_start

SCHEDULE = NoiseSchedule(ScheduleConfig(num_steps=10))


def volume(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, 1, 4, 4, 4, generator=generator, dtype=torch.float64)


def kept(t: int) -> float:
    return SCHEDULE.alphas_cumprod[t].item()


@pytest.mark.parametrize("t", [1, 5, 9])
def test_ancestral_step_is_line_4_of_ddpm_algorithm_2(t: int) -> None:
    x_t, eps, noise = volume(1), volume(2), volume(3)
    beta = SCHEDULE.betas[t].item()
    x_start = SCHEDULE.predict_start_from_noise(x_t, t, eps)
    mean = (x_t - beta / math.sqrt(1 - kept(t)) * eps) / math.sqrt(1 - beta)
    found = Ancestral(SCHEDULE, "beta").step(x_start, x_t, t, t - 1, noise)
    torch.testing.assert_close(found, mean + math.sqrt(beta) * noise, rtol=1e-9, atol=1e-9)


def test_posterior_variance_adds_less_noise_than_beta() -> None:
    beta = SCHEDULE.betas[5].item()
    lesser = beta * (1 - kept(4)) / (1 - kept(5))
    step = (volume(1), volume(2), 5, 4, torch.ones(1, 1, 4, 4, 4, dtype=torch.float64))
    difference = Ancestral(SCHEDULE, "beta").step(*step) - Ancestral(SCHEDULE).step(*step)
    torch.testing.assert_close(
        difference, torch.full_like(difference, math.sqrt(beta) - math.sqrt(lesser))
    )


def test_an_ancestral_step_without_noise_is_refused() -> None:
    with pytest.raises(ValueError, match="an ancestral step from 5 to 4 needs noise; found none"):
        make_solver("ddpm", SCHEDULE).step(volume(1), volume(2), 5, 4, None)


@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
def test_last_step_ends_in_the_predicted_volume_and_adds_no_noise(sampler: str) -> None:
    solver, x_start = make_solver(sampler, SCHEDULE), volume(1)
    noise = torch.full_like(x_start, math.nan)
    solver.step(volume(4), volume(5), 5, 0, volume(6))
    assert torch.equal(solver.step(x_start, volume(2), 0, -1, noise), x_start)


@pytest.mark.parametrize(("t", "t_prev"), [(9, 6), (5, 4), (3, 0)])
def test_ddim_step_is_equation_12_without_noise(t: int, t_prev: int) -> None:
    x_t, x_start = volume(1), volume(2)
    eps = (x_t - math.sqrt(kept(t)) * x_start) / math.sqrt(1 - kept(t))
    expected = math.sqrt(kept(t_prev)) * x_start + math.sqrt(1 - kept(t_prev)) * eps
    found = make_solver("ddim", SCHEDULE).step(x_start, x_t, t, t_prev, None)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_second_step_of_dpmpp_2m_is_algorithm_2_of_its_paper() -> None:
    levels, starts, x = (9, 5, 2), (volume(1), volume(2)), volume(3)
    signal = [math.sqrt(kept(t)) for t in levels]
    spread = [math.sqrt(1 - kept(t)) for t in levels]
    half_log_snr = [math.log(a / s) for a, s in zip(signal, spread, strict=True)]
    h = [b - a for a, b in pairwise(half_log_snr)]
    r = h[0] / h[1]
    first = spread[1] / spread[0] * x - signal[1] * (math.exp(-h[0]) - 1) * starts[0]
    ahead = (1 + 1 / (2 * r)) * starts[1] - 1 / (2 * r) * starts[0]
    second = spread[2] / spread[1] * first - signal[2] * (math.exp(-h[1]) - 1) * ahead
    solver = DpmSolverPP(SCHEDULE, order=2)
    torch.testing.assert_close(solver.step(starts[0], x, 9, 5), first)
    torch.testing.assert_close(solver.step(starts[1], first, 5, 2), second)


def error_on_gaussian_data(solver: Solver, schedule: NoiseSchedule, num_steps: int) -> float:
    """Relative error of the ODE where its solution is known: voxels are N(0, 0.25)."""
    top, bottom = 800, 200
    step = (top - bottom) // num_steps
    x = start = volume(0)
    for t in range(top, bottom, -step):
        signal, spread = schedule.signal_and_spread(t)
        share = signal * 0.25 / (signal**2 * 0.25 + spread**2)
        x = solver.step(share * x, x, t, t - step, None)

    def deviation(t: int) -> float:
        signal, spread = schedule.signal_and_spread(t)
        return math.sqrt(signal**2 * 0.25 + spread**2)

    exact = start * deviation(bottom) / deviation(top)
    return ((x - exact).norm() / exact.norm()).item()


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpmpp_2m", 2)])
def test_twice_the_steps_leave_half_the_error_or_a_quarter(sampler: str, order: int) -> None:
    schedule = NoiseSchedule(ScheduleConfig(num_steps=1000))
    errors = [
        error_on_gaussian_data(make_solver(sampler, schedule), schedule, num_steps)
        for num_steps in (25, 50, 100)
    ]
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.25)


def test_a_fresh_solver_remembers_nothing() -> None:
    used = make_solver("dpmpp_2m", SCHEDULE)
    step = (volume(1), volume(2), 9, 5, None)
    first = used.step(*step)
    used.step(volume(3), volume(4), 5, 2, None)
    assert torch.equal(make_solver("dpmpp_2m", SCHEDULE).step(*step), first)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: make_solver("euler", SCHEDULE), "sampler is 'euler'; known are ddpm, ddim, dpm"),
        (lambda: make_solver("ddpm", SCHEDULE, "learned"), "variance is 'learned'; known are post"),
    ],
)
def test_unknown_ways_are_refused_with_the_known_ones(
    make: Callable[[], Solver], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("clip_x0", [True, False])
def test_the_predicted_volume_stays_in_the_window_where_it_is_clipped(clip_x0: bool) -> None:
    seen = []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x.shape, t.tolist()))
        return 0.5 * x[:, :1]

    x_t = volume(1)
    found = predict_start(
        denoiser, SCHEDULE, x_t, 9, condition=torch.cat([x_t, x_t], dim=1), clip_x0=clip_x0
    )
    expected = (x_t - math.sqrt(1 - kept(9)) * 0.5 * x_t) / math.sqrt(kept(9))
    torch.testing.assert_close(found, expected.clamp(-1, 1) if clip_x0 else expected)
    assert expected.abs().max() > 1
    assert seen == [((1, 3, 4, 4, 4), [9])]
