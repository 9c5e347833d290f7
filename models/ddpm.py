"""Training loss of a conditional DDPM (Ho et al. 2020), and sampling without a reference."""

from typing import Literal, get_args

import torch
from torch import Tensor

from models.noise import DrawNoise, NoiseAhead
from models.schedule import NoiseSchedule, Prediction
from models.solvers import Denoiser, Sampler, Variance, make_solver, predict_start

LossKind = Literal["l1", "l2"]
"""Mean absolute error, the paper's, or mean squared error of the predicted noise."""


def eps_loss(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    x_start: Tensor,
    condition: Tensor,
    t: Tensor,
    noise: Tensor,
    *,
    kind: LossKind = "l1",
    weight: Tensor | None = None,
    prediction: Prediction = "eps",
) -> Tensor:
    """Return the mean error of the predicted noise; `l1` without weights is Lung-DDPM's loss.

    Args:
        denoiser: Predicts the noise in `cat([x_t, condition], dim=1)` at step t.
        schedule: The schedule to train with.
        x_start: (B, 1, D, H, W) real volumes, in window units.
        condition: (B, L, D, H, W) layout channels in {-1, +1}.
        t: (B,) long, a step in [0, T) for each volume.
        noise: (B, 1, D, H, W) standard normal.
        kind: Of the error.
        weight: (B, 1, D, H, W) share of each voxel in the mean, any scale; None takes all alike.
        prediction: `v` takes the error of v instead, which is that of the noise divided by the
            signal's share: for a denoiser that predicts v.

    Returns:
        Scalar loss.

    Raises:
        ValueError: `kind` is unknown.
    """
    if kind not in get_args(LossKind):
        raise ValueError(f"loss is {kind!r}; known are {', '.join(get_args(LossKind))}")
    x_t = schedule.q_sample_batch(x_start, t, noise)
    eps = denoiser(torch.cat([x_t, condition], dim=1), t).to(noise.dtype)
    off = eps - noise if prediction == "eps" else schedule.v_error_batch(eps - noise, t)
    error = off.abs() if kind == "l1" else off.square()
    return error.mean() if weight is None else (weight * error).sum() / weight.sum()


def ddpm_sample(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    *,
    condition: Tensor,
    draw_noise: DrawNoise,
    num_steps: int | None = None,
    sampler: Sampler = "ddpm",
    clip_x0: bool = True,
    variance: Variance = "posterior",
) -> Tensor:
    """Draw a volume from noise, without a reference (DDPM Algorithm 2).

    Args:
        denoiser: Predicts the noise in `cat([x_t, condition], dim=1)` at step t.
        schedule: The schedule the denoiser was trained with.
        condition: (B, L, D, H, W) layout channels in {-1, +1}; its device and dtype are used.
        draw_noise: Called with (B, 1, D, H, W): once for x_T, then with `ddpm` once a step, also
            at the last step, where the noise does not count. What it returns may lie on another
            device. For a CUDA volume it is called ahead of the step, on another thread.
        num_steps: Reverse steps, spaced as the solver wants them; None takes all of the
            schedule's.
        sampler: How a step is taken, see `models.solvers`.
        clip_x0: Clamp the predicted clean volume to the window at each step.
        variance: Variance of the noise that a `ddpm` step adds.

    Returns:
        (B, 1, D, H, W) clean volume, in window units.

    Raises:
        ValueError: `num_steps` is outside 1 .. T, `sampler` or `variance` is unknown, or
            `draw_noise` returns another shape.
    """
    solver = make_solver(sampler, schedule, variance)
    num_steps = schedule.num_steps if num_steps is None else num_steps
    pairs = schedule.strided(num_steps, solver.exponent)
    count = 1 + len(pairs) * solver.draws_noise
    if not condition.is_floating_point():
        condition = condition.to(torch.get_default_dtype())
    with torch.inference_mode(), NoiseAhead(draw_noise, condition[:, :1], count) as noise:
        x_t = noise.next()
        for t, t_prev in pairs:
            x_start = predict_start(
                denoiser, schedule, x_t, t, condition=condition, clip_x0=clip_x0
            )
            added = noise.next() if solver.draws_noise else None
            x_t = solver.step(x_start, x_t, t, t_prev, added)
    # A copy, since tensors of inference mode cannot be changed outside it.
    return x_t.clone()
