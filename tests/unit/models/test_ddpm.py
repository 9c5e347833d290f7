import math

import pytest
import torch
from torch import Tensor, nn

from models.ddpm import ddpm_sample, eps_l1_loss, p_sample
from models.schedule import NoiseSchedule, ScheduleConfig

SCHEDULE = NoiseSchedule(ScheduleConfig(num_steps=10))
LAYOUT = torch.full((1, 2, 4, 4, 4), -1.0)


def draws(seed: int) -> "Draws":
    return Draws(seed)


class Draws:
    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self.count = 0

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        self.count += 1
        return torch.randn(shape, generator=self.generator)


def half_of_the_volume(x: Tensor, t: Tensor) -> Tensor:
    return 0.5 * x[:, :1]


def step(t: int, t_prev: int, **options: object) -> Tensor:
    x_t = draws(1)((1, 1, 4, 4, 4)).double()
    settings = {"condition": LAYOUT.double(), "noise": torch.ones_like(x_t), **options}
    return p_sample(half_of_the_volume, SCHEDULE, x_t, t, t_prev, **settings)


@pytest.mark.parametrize("t", [1, 5, 9])
def test_reverse_step_is_line_4_of_ddpm_algorithm_2(t: int) -> None:
    x_t = draws(1)((1, 1, 4, 4, 4)).double()
    beta, kept = SCHEDULE.betas[t].item(), SCHEDULE.alphas_cumprod[t].item()
    eps = 0.5 * x_t
    mean = (x_t - beta / math.sqrt(1 - kept) * eps) / math.sqrt(1 - beta)
    found = step(t, t - 1, clip_x0=False, variance="beta")
    torch.testing.assert_close(found, mean + math.sqrt(beta), rtol=1e-9, atol=1e-9)


def test_posterior_variance_adds_less_noise_than_beta() -> None:
    beta, kept = SCHEDULE.betas[5].item(), SCHEDULE.alphas_cumprod
    lesser = beta * (1 - kept[4].item()) / (1 - kept[5].item())
    difference = step(5, 4, variance="beta") - step(5, 4, variance="posterior")
    torch.testing.assert_close(
        difference, torch.full_like(difference, math.sqrt(beta) - math.sqrt(lesser))
    )


def test_last_step_adds_no_noise_and_stays_in_the_window() -> None:
    for variance in ("posterior", "beta"):
        clean = step(0, -1, noise=torch.tensor(math.nan), variance=variance)
        assert clean.abs().max() <= 1.0
    assert step(9, -1, clip_x0=False).abs().max() > 1.0


def test_unknown_variance_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="variance is 'learned'; known are posterior, beta"):
        step(5, 4, variance="learned")


@pytest.mark.parametrize(("num_steps", "calls"), [(None, 10), (4, 4)])
def test_sampling_takes_the_steps_asked_for_and_draws_noise_for_each(
    num_steps: int | None, calls: int
) -> None:
    steps, noise = [], draws(0)

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        steps.append(t.tolist())
        return half_of_the_volume(x, t)

    ddpm_sample(denoiser, SCHEDULE, condition=LAYOUT, draw_noise=noise, num_steps=num_steps)
    assert (len(steps), noise.count, steps[0]) == (calls, calls + 1, [9])


def test_same_noise_gives_the_same_volume_and_other_noise_another() -> None:
    def volume(seed: int) -> Tensor:
        return ddpm_sample(half_of_the_volume, SCHEDULE, condition=LAYOUT, draw_noise=draws(seed))

    assert torch.equal(volume(3), volume(3))
    assert not torch.equal(volume(3), volume(4))


def test_a_perfect_denoiser_of_a_single_volume_returns_that_volume() -> None:
    target = draws(8)((1, 1, 4, 4, 4)).clamp(-1, 1)

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        kept = SCHEDULE.alphas_cumprod[t].item()
        return (x[:, :1] - math.sqrt(kept) * target) / math.sqrt(1 - kept)

    for num_steps in (1, 3, 10):
        found = ddpm_sample(
            denoiser, SCHEDULE, condition=LAYOUT, draw_noise=draws(0), num_steps=num_steps
        )
        torch.testing.assert_close(found, target, rtol=0, atol=1e-4)


def test_sampling_works_without_data_on_the_meta_device() -> None:
    found = ddpm_sample(
        half_of_the_volume, SCHEDULE, condition=LAYOUT.to("meta"), draw_noise=draws(0)
    )
    assert (found.device.type, found.shape) == ("meta", (1, 1, 4, 4, 4))


def test_noise_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"returned shape \(1,\) where \(1, 1, 4, 4, 4\)"):
        ddpm_sample(
            half_of_the_volume,
            SCHEDULE,
            condition=LAYOUT,
            draw_noise=lambda shape: torch.zeros(1),
        )


def test_loss_is_the_mean_absolute_error_of_the_noise() -> None:
    noise = torch.full((2, 1, 4, 4, 4), 0.75)
    loss = eps_l1_loss(
        lambda x, t: torch.full_like(x[:, :1], 0.25),
        SCHEDULE,
        torch.zeros_like(noise),
        LAYOUT.expand(2, -1, -1, -1, -1),
        torch.tensor([0, 9]),
        noise,
    )
    assert loss.item() == 0.5


def test_loss_shows_each_volume_at_its_step_with_its_layout() -> None:
    seen = []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return torch.zeros_like(x[:, :1])

    t, x_start = torch.tensor([0, 9]), draws(1)((2, 1, 4, 4, 4))
    noise, layout = draws(2)((2, 1, 4, 4, 4)), LAYOUT.expand(2, -1, -1, -1, -1)
    eps_l1_loss(denoiser, SCHEDULE, x_start, layout, t, noise)
    ((x, steps),) = seen
    assert torch.equal(steps, t)
    assert torch.equal(x[:, 1:], layout)
    for i in range(2):
        expected = SCHEDULE.q_sample(x_start[i], int(t[i]), noise[i])
        torch.testing.assert_close(x[i, :1], expected)


def test_training_on_the_loss_learns_the_noise() -> None:
    torch.manual_seed(0)
    network = nn.Conv3d(3, 1, 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.05)
    noise_of, losses = draws(5), []
    for _ in range(60):
        t, noise = torch.tensor([9, 9]), noise_of((2, 1, 4, 4, 4))
        layout = LAYOUT.expand(2, -1, -1, -1, -1)
        loss = eps_l1_loss(
            lambda x, t: network(x), SCHEDULE, torch.zeros_like(noise), layout, t, noise
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # At the last step a volume is nearly all noise, so the answer is the input itself.
    assert losses[-1] < 0.2 * losses[0]
