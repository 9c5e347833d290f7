import math

import pytest
import torch
from torch import Tensor, nn

from models.ddpm import ddpm_sample, eps_loss
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


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
def test_few_step_samplers_draw_noise_once(sampler: str) -> None:
    noise = draws(0)
    ddpm_sample(
        half_of_the_volume,
        SCHEDULE,
        condition=LAYOUT,
        draw_noise=noise,
        num_steps=4,
        sampler=sampler,
    )
    assert noise.count == 1


def test_a_perfect_denoiser_of_a_single_volume_returns_that_volume() -> None:
    target = draws(8)((1, 1, 4, 4, 4)).clamp(-1, 1)

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        kept = SCHEDULE.alphas_cumprod[t].item()
        return (x[:, :1] - math.sqrt(kept) * target) / math.sqrt(1 - kept)

    for sampler in ("ddpm", "ddim", "dpmpp_2m"):
        for num_steps in (1, 3, 10):
            found = ddpm_sample(
                denoiser,
                SCHEDULE,
                condition=LAYOUT,
                draw_noise=draws(0),
                num_steps=num_steps,
                sampler=sampler,
            )
            torch.testing.assert_close(found, target, rtol=0, atol=1e-4)


def test_sampling_works_without_data_on_the_meta_device() -> None:
    found = ddpm_sample(
        half_of_the_volume, SCHEDULE, condition=LAYOUT.to("meta"), draw_noise=draws(0)
    )
    assert (found.device.type, found.shape) == ("meta", (1, 1, 4, 4, 4))


def test_a_layout_of_whole_numbers_leaves_the_noise_as_it_is() -> None:
    found, expected = (
        ddpm_sample(half_of_the_volume, SCHEDULE, condition=layout, draw_noise=draws(0))
        for layout in (LAYOUT.to(torch.int8), LAYOUT)
    )
    assert torch.equal(found, expected)
    found.clamp_(0, 1)


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
    loss = eps_loss(
        lambda x, t: torch.full_like(x[:, :1], 0.25),
        SCHEDULE,
        torch.zeros_like(noise),
        LAYOUT.expand(2, -1, -1, -1, -1),
        torch.tensor([0, 9]),
        noise,
    )
    assert loss.item() == 0.5


def test_loss_can_be_the_mean_square_and_weigh_voxels() -> None:
    noise = torch.zeros(1, 1, 4, 4, 4)
    noise[..., 0] = 2.0
    weight = torch.zeros_like(noise)
    weight[..., :2] = 5.0
    given = (lambda x, t: torch.zeros_like(x[:, :1]), SCHEDULE, torch.zeros_like(noise), LAYOUT)
    t = torch.tensor([0])
    assert eps_loss(*given, t, noise).item() == 0.5
    assert eps_loss(*given, t, noise, kind="l2").item() == 1.0
    assert eps_loss(*given, t, noise, kind="l2", weight=weight).item() == 2.0
    assert eps_loss(*given, t, noise, weight=torch.ones_like(noise)).item() == 0.5
    with pytest.raises(ValueError, match=r"loss is 'huber'; known are l1, l2"):
        eps_loss(*given, t, noise, kind="huber")


def test_loss_shows_each_volume_at_its_step_with_its_layout() -> None:
    seen = []

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x, t))
        return torch.zeros_like(x[:, :1])

    t, x_start = torch.tensor([0, 9]), draws(1)((2, 1, 4, 4, 4))
    noise, layout = draws(2)((2, 1, 4, 4, 4)), LAYOUT.expand(2, -1, -1, -1, -1)
    eps_loss(denoiser, SCHEDULE, x_start, layout, t, noise)
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
        loss = eps_loss(
            lambda x, t: network(x), SCHEDULE, torch.zeros_like(noise), layout, t, noise
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    # At the last step a volume is nearly all noise, so the answer is the input itself.
    assert losses[-1] < 0.2 * losses[0]
