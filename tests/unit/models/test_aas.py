import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from models.aas import aas_sample
from models.schedule import NoiseSchedule, ScheduleConfig

SCHEDULE = NoiseSchedule(ScheduleConfig(num_steps=10))
SHAPE = (1, 1, 6, 6, 6)


def draws(seed: int = 0) -> Callable[[tuple[int, ...]], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


def layout_with_lungs(shape: tuple[int, ...] = SHAPE) -> Tensor:
    layout = torch.full((shape[0], 2, *shape[2:]), -1.0)
    layout[:, 0, 1:5, 1:5, 1:5] = 1.0
    layout[:, 0, 2, 2, 2] = -1.0
    layout[:, 1, 2, 2, 2] = 1.0
    return layout


def outside_lungs(shape: tuple[int, ...] = SHAPE) -> Tensor:
    outside = torch.ones(shape, dtype=torch.bool)
    outside[:, :, 1:5, 1:5, 1:5] = False
    return outside


def half_of_the_volume(x: Tensor, t: Tensor) -> Tensor:
    return 0.5 * x[:, :1]


def reference(shape: tuple[int, ...] = SHAPE) -> Tensor:
    return 0.9 * draws(42)(shape).clamp(-1, 1)


def sample(**options: object) -> Tensor:
    given = {
        "layout": layout_with_lungs(),
        "x_known": reference(),
        "draw_noise": draws(),
        **options,
    }
    return aas_sample(half_of_the_volume, SCHEDULE, **given)


def test_the_patient_is_untouched_outside_the_lungs_and_new_inside() -> None:
    x_0, outside = sample(), outside_lungs()
    assert torch.equal(x_0[outside], reference()[outside])
    assert (x_0[~outside] != reference()[~outside]).all()


@settings(deadline=None, derandomize=True, max_examples=40)
@given(st.data())
def test_known_voxels_come_back_bit_for_bit_whatever_the_settings(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**31))
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(seed)) < data.draw(
        st.floats(0, 1)
    )
    x_0 = sample(
        draw_noise=draws(seed),
        known_mask=mask,
        num_steps=data.draw(st.integers(1, 10)),
        clip_x0=data.draw(st.booleans()),
        sigma=data.draw(st.sampled_from(["posterior", "beta"])),
        sampler=data.draw(st.sampled_from(["ddpm", "ddim", "dpmpp_2m"])),
        blend=data.draw(st.sampled_from(["level", "start"])),
    )
    assert torch.equal(x_0[mask], reference()[mask])


@pytest.mark.parametrize("blend", ["level", "start"])
@pytest.mark.parametrize("sampler", ["ddpm", "ddim", "dpmpp_2m"])
def test_known_voxels_are_noised_to_the_level_that_the_step_has_just_reached(
    sampler: str, blend: str
) -> None:
    shape, seen = (1, 1, 32, 32, 32), {}

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        seen[int(t)] = x[:, :1].clone()
        return 0.5 * x[:, :1]

    aas_sample(
        denoiser,
        SCHEDULE,
        layout=torch.full((1, 2, 32, 32, 32), -1.0),
        x_known=torch.full(shape, 0.8),
        draw_noise=draws(),
        num_steps=5,
        sampler=sampler,
        blend=blend,
    )
    steps = [t for t, _ in SCHEDULE.strided(5, 1.0 if sampler == "ddpm" else 1.5)]
    assert list(seen) == steps
    for t in steps[1:]:
        kept = SCHEDULE.alphas_cumprod[t].item()
        # 32^3 voxels: five standard errors of a mean and of a variance.
        spread = math.sqrt((1 - kept) / 32**3)
        assert seen[t].mean().item() == pytest.approx(0.8 * math.sqrt(kept), abs=5 * spread)
        assert seen[t].var().item() == pytest.approx(1 - kept, rel=5 * math.sqrt(2 / 32**3))


def test_unclipped_with_beta_and_all_steps_is_algorithm_2_to_the_letter() -> None:
    betas, kept = SCHEDULE.betas, SCHEDULE.alphas_cumprod
    x_known, noise, outside = reference().double(), draws(7), outside_lungs()
    x = noise(SHAPE).double()
    for t in reversed(range(10)):
        z, z_known = noise(SHAPE).double(), noise(SHAPE).double()
        eps = 0.5 * x
        lungs = (x - betas[t] / (1 - kept[t]).sqrt() * eps) / (1 - betas[t]).sqrt()
        known = x_known
        if t > 0:
            lungs = lungs + betas[t].sqrt() * z
            known = kept[t - 1].sqrt() * x_known + (1 - kept[t - 1]).sqrt() * z_known
        x = torch.where(outside, known, lungs)
    found = sample(x_known=x_known, draw_noise=draws(7), clip_x0=False, sigma="beta")
    torch.testing.assert_close(found, x, rtol=1e-8, atol=1e-8)


def test_authors_variant_leaves_the_noise_of_step_zero_in_the_background() -> None:
    shape = (1, 1, 32, 32, 32)
    found = aas_sample(
        half_of_the_volume,
        SCHEDULE,
        layout=torch.full((1, 2, 32, 32, 32), -1.0),
        x_known=torch.zeros(shape),
        draw_noise=draws(),
        variant="authors",
    )
    left = (1 - SCHEDULE.alphas_cumprod[0]).item()
    assert found.var().item() == pytest.approx(left, rel=5 * math.sqrt(2 / 32**3))


def test_blending_the_start_gives_known_voxels_one_noise_for_the_whole_path() -> None:
    seen = {}

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        kept = SCHEDULE.alphas_cumprod[int(t)].item()
        noise = (x[:, :1] - math.sqrt(kept) * reference()) / math.sqrt(1 - kept)
        seen[int(t)] = noise[outside_lungs()]
        return 0.5 * x[:, :1]

    for sampler in ("ddim", "dpmpp_2m"):
        aas_sample(
            denoiser,
            SCHEDULE,
            layout=layout_with_lungs(),
            x_known=reference(),
            draw_noise=draws(),
            sampler=sampler,
            blend="start",
            num_steps=5,
        )
        first = draws()(SHAPE)[outside_lungs()]
        for noise in seen.values():
            torch.testing.assert_close(noise, first, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "calls"),
    [
        ({"variant": "paper"}, 21),
        ({"variant": "authors"}, 21),
        ({"blend": "start"}, 11),
        ({"sampler": "ddim", "blend": "level"}, 11),
        ({"sampler": "ddim"}, 1),
        ({"sampler": "dpmpp_2m", "blend": "start"}, 1),
    ],
)
def test_noise_is_drawn_for_the_start_then_as_often_a_step_as_it_is_needed(
    options: dict[str, object], calls: int
) -> None:
    shapes = []

    def draw(shape: tuple[int, ...]) -> Tensor:
        shapes.append(shape)
        return torch.zeros(shape)

    sample(draw_noise=draw, **options)
    assert shapes == [SHAPE] * calls


@pytest.mark.parametrize("sampler", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("blend", ["level", "start"])
def test_few_steps_with_the_same_noise_give_the_same_volume(sampler: str, blend: str) -> None:
    def drawn(seed: int) -> Tensor:
        return sample(sampler=sampler, blend=blend, num_steps=4, draw_noise=draws(seed))

    assert torch.equal(drawn(3), drawn(3))
    assert not torch.equal(drawn(3), drawn(4))


def test_noise_of_the_last_step_does_not_count() -> None:
    def sample_with_nan_after(num_drawn: int) -> Tensor:
        noise, calls = draws(), []

        def draw(shape: tuple[int, ...]) -> Tensor:
            calls.append(shape)
            return noise(shape) if len(calls) <= num_drawn else torch.full(shape, math.nan)

        return sample(draw_noise=draw)

    assert torch.equal(sample_with_nan_after(19), sample())
    assert sample_with_nan_after(17).isnan().any()


def test_each_step_is_reported_once_it_is_taken() -> None:
    reported: list[int] = []
    sample(on_step=reported.append, num_steps=5)
    assert reported == [9, 7, 5, 3, 1]


def test_voxels_where_the_layout_is_interpolated_are_drawn_not_kept() -> None:
    layout = layout_with_lungs()
    layout[:, 0, 0, 0, 0] = -0.999
    x_0 = sample(layout=layout)
    assert x_0[0, 0, 0, 0, 0] != reference()[0, 0, 0, 0, 0]


def test_a_layout_of_whole_numbers_means_the_same() -> None:
    assert torch.equal(sample(layout=layout_with_lungs().to(torch.int8)), sample())


def test_volumes_of_a_batch_are_drawn_each_under_its_own_mask() -> None:
    shape = (2, 1, 6, 6, 6)
    layout = layout_with_lungs(shape)
    layout[1] = -1.0
    x_known = reference(shape)
    x_0 = sample(layout=layout, x_known=x_known)
    assert torch.equal(x_0[1], x_known[1])
    assert not torch.equal(x_0[0], x_known[0])


def test_sampling_with_a_reference_works_on_the_meta_device() -> None:
    x_0 = sample(x_known=reference().to("meta"), layout=layout_with_lungs().to("meta"))
    assert (x_0.device.type, x_0.shape) == ("meta", SHAPE)


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ({"num_steps": 5}, "num_steps=5"),
        ({"clip_x0": False}, "clip_x0=False"),
        ({"sigma": "beta"}, "sigma='beta'"),
        ({"sampler": "ddim"}, "sampler='ddim', blend='start'"),
        ({"blend": "start"}, "blend='start'"),
        ({"known_mask": outside_lungs()}, "known_mask"),
    ],
)
def test_authors_variant_refuses_options_it_does_not_have(
    option: dict[str, object], name: str
) -> None:
    with pytest.raises(ValueError, match=f"variant='authors' has no {name}: .* all 10 steps"):
        sample(variant="authors", **option)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "ddim"}, "variant is 'ddim'; known are paper, authors"),
        ({"sampler": "euler"}, "sampler is 'euler'; known are ddpm, ddim, dpmpp_2m"),
        ({"blend": "end"}, "blend is 'end'; known are level, start"),
        ({"sigma": "learned"}, "variance is 'learned'; known are posterior, beta"),
        ({"num_steps": 11}, "11 sampling steps .* schedule has 10"),
        ({"x_known": torch.zeros(6, 6, 6)}, r"x_known has shape \(6, 6, 6\); expected \(B, 1"),
        (
            {"layout": torch.zeros(1, 2, 4, 6, 6)},
            r"layout has shape \(1, 2, 4, 6, 6\) but x_known has \(1, 1, 6, 6, 6\)",
        ),
        ({"known_mask": torch.zeros(SHAPE)}, r"known_mask is torch.float32 .* torch.bool"),
        (
            {"known_mask": torch.zeros(1, 1, 2, 2, 2, dtype=torch.bool)},
            r"of shape \(1, 1, 2, 2, 2\); expected torch.bool of \(1, 1, 6, 6, 6\)",
        ),
    ],
)
def test_what_cannot_be_sampled_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(**options)
