"""How a reverse step is taken, once the network has predicted the clean volume.

ddpm       ancestral sampling: fresh noise at each step (DDPM Algorithm 2)
ddim       the probability-flow ODE, first order, no noise after the first (Song et al. 2021)
dpmpp_2m   the same ODE, second order from the last two predictions (Lu et al. 2022)
"""

import math
from collections.abc import Callable
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from models.schedule import CLEAN, NoiseSchedule

Denoiser = Callable[[Tensor, Tensor], Tensor]
"""(cat([x_t, condition], 1), t (B,) long) -> epsilon of the shape of x_t."""

Sampler = Literal["ddpm", "ddim", "dpmpp_2m"]
"""Names of the solvers."""

Variance = Literal["posterior", "beta"]
"""sigma_t squared of an ancestral step: of q(x_{t-1} | x_t, x_0), or beta_t (DDPM section 3.2)."""


class Solver(Protocol):
    """Takes the reverse steps of one volume, in order; it may remember earlier ones."""

    @property
    def exponent(self) -> float:
        """How the steps are spaced, see `NoiseSchedule.strided`."""

    @property
    def draws_noise(self) -> bool:
        """Whether each step needs noise."""

    def step(
        self, x_start: Tensor, x_t: Tensor, t: int, t_prev: int, noise: Tensor | None
    ) -> Tensor:
        """Return the volume at level `t_prev`.

        Args:
            x_start: (B, 1, D, H, W) predicted clean volume, in window units.
            x_t: (B, 1, D, H, W) the volume at step t.
            t: Step of `x_t`.
            t_prev: Level to reach, below t; at -1 the step ends in `x_start` itself.
            noise: (B, 1, D, H, W) standard normal, where `draws_noise`.
        """


class Ancestral:
    """DDPM Algorithm 2, line 4, for any stride.

    Raises:
        ValueError: `variance` is unknown.
    """

    exponent = 1.0
    draws_noise = True

    def __init__(self, schedule: NoiseSchedule, variance: Variance = "posterior") -> None:
        if variance not in get_args(Variance):
            raise ValueError(f"variance is {variance!r}; known are {', '.join(get_args(Variance))}")
        self._schedule = schedule
        self._variance = variance

    def step(
        self, x_start: Tensor, x_t: Tensor, t: int, t_prev: int, noise: Tensor | None
    ) -> Tensor:
        """Return the posterior's mean plus noise; see `Solver`."""
        mean, posterior = self._schedule.q_posterior(x_start, x_t, t, t_prev)
        if t_prev == CLEAN:
            return mean
        if noise is None:
            raise ValueError(f"an ancestral step from {t} to {t_prev} needs noise; found none")
        beta = self._schedule.step_beta(t, t_prev)
        return mean + math.sqrt(posterior if self._variance == "posterior" else beta) * noise


class DpmSolverPP:
    """DPM-Solver++ of first or second order, multistep (Lu et al. 2022, Algorithm 2).

    The first order is DDIM with eta = 0. The second extrapolates the predicted clean volume along
    half the log-SNR from the last two predictions. The first step, which has no earlier
    prediction, and the last, to the clean volume at infinite SNR, are of first order.
    """

    # The last step, to infinite SNR, is of first order: a shorter one leaves less of the detail out.
    exponent = 1.5
    draws_noise = False

    def __init__(self, schedule: NoiseSchedule, order: Literal[1, 2]) -> None:
        self._schedule = schedule
        self._order = order
        self._last: tuple[int, Tensor] | None = None

    def step(
        self, x_start: Tensor, x_t: Tensor, t: int, t_prev: int, noise: Tensor | None = None
    ) -> Tensor:
        """Follow the ODE from `t` to `t_prev`; see `Solver`. `noise` is not used."""
        # The clean volume first: sigma is 0 there, and 0 x NaN would not be.
        if t_prev == CLEAN:
            return x_start
        signal, spread = self._schedule.signal_and_spread(t)
        signal_prev, spread_prev = self._schedule.signal_and_spread(t_prev)
        shrink = spread_prev / spread
        target = self._extrapolate(x_start, t, t_prev)
        return shrink * x_t + (signal_prev - signal * shrink) * target

    def _extrapolate(self, x_start: Tensor, t: int, t_prev: int) -> Tensor:
        last, self._last = self._last, (t, x_start)
        if self._order == 1 or last is None:
            return x_start
        half_log_snr = self._schedule.half_log_snr
        ahead = half_log_snr(t_prev) - half_log_snr(t)
        behind = half_log_snr(t) - half_log_snr(last[0])
        return torch.lerp(last[1], x_start, 1.0 + ahead / (2.0 * behind))


def make_solver(
    sampler: Sampler, schedule: NoiseSchedule, variance: Variance = "posterior"
) -> Solver:
    """Return a fresh solver, for one volume or one batch.

    Raises:
        ValueError: `sampler` or `variance` is unknown.
    """
    if sampler == "ddpm":
        return Ancestral(schedule, variance)
    if sampler == "ddim":
        return DpmSolverPP(schedule, order=1)
    if sampler == "dpmpp_2m":
        return DpmSolverPP(schedule, order=2)
    raise ValueError(f"sampler is {sampler!r}; known are {', '.join(get_args(Sampler))}")


def predict_start(
    denoiser: Denoiser,
    schedule: NoiseSchedule,
    x_t: Tensor,
    t: int,
    *,
    condition: Tensor,
    clip_x0: bool = True,
) -> Tensor:
    """Return the clean volume that the network sees in `x_t` (DDPM eq. 15).

    Args:
        denoiser: Predicts the noise in `cat([x_t, condition], dim=1)` at step t.
        schedule: The schedule the denoiser was trained with.
        x_t: (B, 1, D, H, W) noisy volume, in window units.
        t: Step of `x_t`.
        condition: (B, L, D, H, W) layout channels in {-1, +1}.
        clip_x0: Clamp the volume to the window, [-1, 1].

    Returns:
        (B, 1, D, H, W) in window units.
    """
    steps = torch.full((x_t.shape[0],), t, dtype=torch.long, device=x_t.device)
    eps = denoiser(torch.cat([x_t, condition], dim=1), steps).to(x_t.dtype)
    x_start = schedule.predict_start_from_noise(x_t, t, eps)
    return x_start.clamp_(-1.0, 1.0) if clip_x0 else x_start
