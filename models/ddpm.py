"""Training loss and plain sampling of a conditional DDPM (Ho et al. 2020)."""

import math
from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from models.schedule import CLEAN, NoiseSchedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(cat([x_t, condition], 1), t (B,) long) -> epsilon of the shape of x_t."""

DrawNoise = Callable[[tuple[int, ...]], Tensor]
"""shape -> standard normal tensor; the only source of a sampler's noise."""

Variance = Literal["posterior", "beta"]
"""sigma_t squared of a reverse step: of q(x_{t-1} | x_t, x_0), or beta_t (DDPM section 3.2)."""


def eps_l1_loss(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    x_start: Tensor,
    condition: Tensor,
    t: Tensor,
    noise: Tensor,
) -> Tensor:
    """Return the mean absolute error of the predicted noise, the loss of Lung-DDPM.

    Args:
        denoiser: Predicts the noise in `cat([x_t, condition], dim=1)` at step t.
        schedule: The schedule to train with.
        x_start: (B, 1, D, H, W) real volumes, in window units.
        condition: (B, L, D, H, W) layout channels in {-1, +1}.
        t: (B,) long, a step in [0, T) for each volume.
        noise: (B, 1, D, H, W) standard normal.

    Returns:
        Scalar loss.
    """
    x_t = schedule.q_sample_batch(x_start, t, noise)
    eps = denoiser(torch.cat([x_t, condition], dim=1), t)
    return F.l1_loss(eps.to(noise.dtype), noise)


def p_sample(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    x_t: Tensor,
    t: int,
    t_prev: int,
    *,
    condition: Tensor,
    noise: Tensor,
    clip_x0: bool = True,
    variance: Variance = "posterior",
) -> Tensor:
    """Take one reverse step, from `x_t` to x_{t_prev} (DDPM Algorithm 2, line 4).

    Args:
        denoiser: Predicts the noise in `cat([x_t, condition], dim=1)` at step t.
        schedule: The schedule the denoiser was trained with.
        x_t: (B, 1, D, H, W) noisy volume, in window units.
        t: Step of `x_t`.
        t_prev: Level to reach, below t; at -1 nothing is added to the mean.
        condition: (B, L, D, H, W) layout channels in {-1, +1}.
        noise: (B, 1, D, H, W) standard normal.
        clip_x0: Clamp the predicted clean volume to the window, [-1, 1].
        variance: Variance of the noise that the step adds.

    Returns:
        (B, 1, D, H, W) volume at level `t_prev`, in window units.

    Raises:
        ValueError: `variance` is unknown, or the steps are not steps of the schedule.
    """
    if variance not in get_args(Variance):
        raise ValueError(f"variance is {variance!r}; known are {', '.join(get_args(Variance))}")
    steps = torch.full((x_t.shape[0],), t, dtype=torch.long, device=x_t.device)
    eps = denoiser(torch.cat([x_t, condition], dim=1), steps).to(x_t.dtype)
    x_start = schedule.predict_start_from_noise(x_t, t, eps)
    if clip_x0:
        x_start = x_start.clamp(-1.0, 1.0)
    mean, posterior = schedule.q_posterior(x_start, x_t, t, t_prev)
    if t_prev == CLEAN:
        return mean
    added = posterior if variance == "posterior" else schedule.step_beta(t, t_prev)
    return mean + math.sqrt(added) * noise


def ddpm_sample(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    *,
    condition: Tensor,
    draw_noise: DrawNoise,
    num_steps: int | None = None,
    clip_x0: bool = True,
    variance: Variance = "posterior",
) -> Tensor:
    """Draw a volume from noise, without a reference (DDPM Algorithm 2).

    Args:
        denoiser: Predicts the noise in `cat([x_t, condition], dim=1)` at step t.
        schedule: The schedule the denoiser was trained with.
        condition: (B, L, D, H, W) layout channels in {-1, +1}; its device and dtype are used.
        draw_noise: Called with (B, 1, D, H, W): once for x_T, then once a step, also at the last
            step, where the noise does not count. What it returns may lie on another device.
        num_steps: Reverse steps, equally spaced; None takes all of the schedule's.
        clip_x0: Clamp the predicted clean volume to the window at each step.
        variance: Variance of the noise that a step adds.

    Returns:
        (B, 1, D, H, W) clean volume, in window units.

    Raises:
        ValueError: `num_steps` is outside 1 .. T, `variance` is unknown, or `draw_noise` returns
            another shape.
    """
    pairs = schedule.strided(schedule.num_steps if num_steps is None else num_steps)
    with torch.inference_mode():
        x_t = drawn_like(condition[:, :1], draw_noise)
        for t, t_prev in pairs:
            x_t = p_sample(
                denoiser,
                schedule,
                x_t,
                t,
                t_prev,
                condition=condition,
                noise=drawn_like(x_t, draw_noise),
                clip_x0=clip_x0,
                variance=variance,
            )
    return x_t


def drawn_like(volume: Tensor, draw_noise: DrawNoise) -> Tensor:
    """Return noise of the shape, device and dtype of `volume`.

    Raises:
        ValueError: `draw_noise` returns another shape.
    """
    noise = draw_noise(tuple(volume.shape))
    if noise.shape != volume.shape:
        raise ValueError(
            f"draw_noise returned shape {tuple(noise.shape)} where {tuple(volume.shape)} "
            "was asked for"
        )
    return noise.to(volume)
