"""Anatomically aware sampling: the model draws the lungs, the reference scan is everything else."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from models.ddpm import Denoiser, DrawNoise, Variance, drawn_like, p_sample
from models.schedule import NoiseSchedule

Variant = Literal["paper", "authors"]
"""Algorithm 2 of the paper, or the loop of the published code."""


def aas_sample(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    *,
    layout: Tensor,
    x_known: Tensor,
    draw_noise: DrawNoise,
    variant: Variant = "paper",
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

    `variant="authors"` is the published loop, for its weights: known voxels noised to level t
    rather than t - 1, so that in the returned volume they still carry the noise of step 0. It has
    no options.

    Args:
        denoiser: Predicts the noise in `cat([x_t, layout], dim=1)` at step t.
        schedule: The schedule the denoiser was trained with.
        layout: (B, L, D, H, W) one channel a label, -1 absent and +1 present.
        x_known: (B, 1, D, H, W) clean reference, in window units; its device and dtype are used.
        draw_noise: Called with (B, 1, D, H, W): for x_T, then at each step for the reverse step
            and for the reference, also at the last step, where neither need count. What it
            returns may lie on another device.
        variant: "paper" or "authors".
        num_steps: Reverse steps, equally spaced; None takes all of the schedule's.
        clip_x0: Clamp the predicted clean volume to the window at each step.
        sigma: Variance of the noise that a step adds.
        known_mask: (B, 1, D, H, W) bool, True where the reference is kept; by default where
            every channel of the layout is exactly -1.
        on_step: Called after each step with its t, from T-1 down.

    Returns:
        (B, 1, D, H, W) clean volume, in window units.

    Raises:
        ValueError: Shapes do not match, an option is unknown or not one of the variant's,
            `num_steps` is outside 1 .. T, or `draw_noise` returns another shape.
    """
    _check_variant(variant, schedule, num_steps, clip_x0, sigma, known_mask)
    keep = _kept_voxels(layout, x_known, known_mask)
    pairs = schedule.strided(schedule.num_steps if num_steps is None else num_steps)
    with torch.inference_mode():
        layout = layout.to(x_known)
        x_t = drawn_like(x_known, draw_noise)
        for t, t_prev in pairs:
            denoised = p_sample(
                denoiser,
                schedule,
                x_t,
                t,
                t_prev,
                condition=layout,
                noise=drawn_like(x_known, draw_noise),
                clip_x0=clip_x0,
                variance=sigma,
            )
            level = t_prev if variant == "paper" else t
            known = schedule.q_sample(x_known, level, drawn_like(x_known, draw_noise))
            x_t = torch.where(keep, known, denoised)
            if on_step is not None:
                on_step(t)
    return x_t


def _check_variant(
    variant: Variant,
    schedule: NoiseSchedule,
    num_steps: int | None,
    clip_x0: bool,
    sigma: Variance,
    known_mask: Tensor | None,
) -> None:
    if variant not in get_args(Variant):
        raise ValueError(f"variant is {variant!r}; known are {', '.join(get_args(Variant))}")
    if variant == "paper":
        return
    changed = {
        f"num_steps={num_steps}": num_steps not in (None, schedule.num_steps),
        f"clip_x0={clip_x0}": not clip_x0,
        f"sigma={sigma!r}": sigma != "posterior",
        "known_mask": known_mask is not None,
    }
    refused = [option for option, is_changed in changed.items() if is_changed]
    if refused:
        raise ValueError(
            f"variant='authors' has no {', '.join(refused)}: it is the published loop, with all "
            f"{schedule.num_steps} steps, clipped x_0 and posterior variance. "
            "Leave it out, or take variant='paper'"
        )


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
