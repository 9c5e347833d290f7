"""Anatomically aware sampling: the model draws the lungs, the reference scan is everything else."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from models.noise import DrawNoise, NoiseAhead
from models.schedule import NoiseSchedule
from models.solvers import Denoiser, Sampler, Variance, make_solver, predict_start

Variant = Literal["paper", "authors"]
"""Algorithm 2 of the paper, or the loop of the published code."""

Blend = Literal["level", "start"]
"""Where the reference enters a step: the volume at the level reached, or the predicted x_0."""

BLENDS: dict[Sampler, Blend] = {"ddpm": "level", "ddim": "start", "dpmpp_2m": "start"}
"""What a sampler blends by default: Algorithm 2 as published, the better one for few steps."""


def aas_sample(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    *,
    layout: Tensor,
    x_known: Tensor,
    draw_noise: DrawNoise,
    variant: Variant = "paper",
    sampler: Sampler = "ddpm",
    blend: Blend | None = None,
    num_steps: int | None = None,
    clip_x0: bool = True,
    sigma: Variance = "posterior",
    known_mask: Tensor | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Draw a volume that follows a layout inside the lungs and a real scan outside (Lung-DDPM).

    `variant="paper"` is Algorithm 2: after each step the known voxels are set to the reference,
    noised to the level that the drawn voxels have *just reached*, so both sides of the mask's
    border carry the same signal-to-noise ratio; at the end they are the reference, bit for bit.
    With `clip_x0=False, sigma="beta"` and all T steps it is the algorithm to the letter; the
    defaults clip and use the posterior variance, as the published code does.

    `blend="start"` sets the known voxels of the predicted x_0 to the reference instead, from an
    x_T that is the reference noised to T - 1 there. The solver then carries them along its own
    path, again at the level of the drawn voxels and at the end bit for bit, but with one noise
    for the whole path: what the network saw outside the lungs at one step it sees at the next.

    `variant="authors"` is the published loop, for its weights: known voxels noised to level t
    rather than t - 1, so that in the returned volume they still carry the noise of step 0. It has
    no options.

    Args:
        denoiser: Predicts the noise in `cat([x_t, layout], dim=1)` at step t.
        schedule: The schedule the denoiser was trained with.
        layout: (B, L, D, H, W) one channel a label, -1 absent and +1 present.
        x_known: (B, 1, D, H, W) clean reference, in window units; its device and dtype are used.
        draw_noise: Called with (B, 1, D, H, W): for x_T, then at each step for the reverse step
            (`ddpm` alone) and for the reference (`blend="level"` alone), also at the last step,
            where neither need count. What it returns may lie on another device. For a CUDA volume
            it is called ahead of the step, on another thread.
        variant: "paper" or "authors".
        sampler: How a reverse step is taken, see `models.solvers`.
        blend: Where the reference enters a step; None takes the sampler's of `BLENDS`.
        num_steps: Reverse steps, spaced as the solver wants them; None takes all of the
            schedule's.
        clip_x0: Clamp the predicted clean volume to the window at each step.
        sigma: Variance of the noise that a `ddpm` step adds.
        known_mask: (B, 1, D, H, W) bool, True where the reference is kept; by default where
            every channel of the layout is exactly -1.
        on_step: Called after each step with its t, from T-1 down.

    Returns:
        (B, 1, D, H, W) clean volume, in window units.

    Raises:
        ValueError: Shapes do not match, an option is unknown or not one of the variant's,
            `num_steps` is outside 1 .. T, or `draw_noise` returns another shape.
    """
    solver = make_solver(sampler, schedule, sigma)
    blend = BLENDS[sampler] if blend is None else blend
    num_steps = schedule.num_steps if num_steps is None else num_steps
    _check_known("blend", blend, get_args(Blend))
    _check_variant(
        variant,
        schedule,
        sampler=sampler,
        blend=blend,
        num_steps=num_steps,
        clip_x0=clip_x0,
        sigma=sigma,
        known_mask=known_mask,
    )
    keep = _kept_voxels(layout, x_known, known_mask)
    pairs = schedule.strided(num_steps, solver.exponent)
    lag = 1 if variant == "authors" else 0
    count = 1 + len(pairs) * (solver.draws_noise + (blend == "level"))
    with torch.inference_mode(), NoiseAhead(draw_noise, x_known, count) as noise:
        layout = layout.to(x_known)
        x_t = noise.next()
        if blend == "start":
            x_t = torch.where(keep, schedule.q_sample(x_known, pairs[0][0], x_t), x_t)
        for t, t_prev in pairs:
            x_start = predict_start(denoiser, schedule, x_t, t, condition=layout, clip_x0=clip_x0)
            if blend == "start":
                x_start = torch.where(keep, x_known, x_start)
            x_t = solver.step(x_start, x_t, t, t_prev, noise.next() if solver.draws_noise else None)
            if blend == "level":
                known = schedule.q_sample(x_known, t_prev + lag, noise.next())
                x_t = torch.where(keep, known, x_t)
            if on_step is not None:
                on_step(t)
    # A copy, since tensors of inference mode cannot be changed outside it.
    return x_t.clone()


def _check_variant(variant: Variant, schedule: NoiseSchedule, **options: object) -> None:
    _check_known("variant", variant, get_args(Variant))
    if variant == "paper":
        return
    theirs = {
        "sampler": "ddpm",
        "blend": "level",
        "num_steps": schedule.num_steps,
        "clip_x0": True,
        "sigma": "posterior",
        "known_mask": None,
    }
    refused = [
        name if isinstance(value, Tensor) else f"{name}={value!r}"
        for name, value in options.items()
        if isinstance(value, Tensor) or value != theirs[name]
    ]
    if refused:
        raise ValueError(
            f"variant='authors' has no {', '.join(refused)}: it is the published loop, with all "
            f"{schedule.num_steps} steps, clipped x_0 and posterior variance. "
            "Leave it out, or take variant='paper'"
        )


def _check_known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; known are {', '.join(known)}")


def _kept_voxels(layout: Tensor, x_known: Tensor, known_mask: Tensor | None) -> Tensor:
    if x_known.ndim != 5 or x_known.shape[1] != 1:
        raise ValueError(f"x_known has shape {tuple(x_known.shape)}; expected (B, 1, D, H, W)")
    if layout.ndim != 5 or layout[:, :1].shape != x_known.shape:
        raise ValueError(
            f"layout has shape {tuple(layout.shape)} but x_known has {tuple(x_known.shape)}; "
            "both need the same B, D, H, W"
        )
    if known_mask is None:
        return (layout == -1).all(dim=1, keepdim=True).to(x_known.device)
    if known_mask.dtype != torch.bool or known_mask.shape != x_known.shape:
        raise ValueError(
            f"known_mask is {known_mask.dtype} of shape {tuple(known_mask.shape)}; "
            f"expected torch.bool of {tuple(x_known.shape)}"
        )
    return known_mask.to(x_known.device)
