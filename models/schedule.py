"""The noise schedule: how much of a volume is left at each step, and the way back.

Step t runs over 0 .. T-1. Wherever a step is a *level* to arrive at, -1 is the clean volume.
"""

import math
from dataclasses import dataclass
from itertools import accumulate, pairwise
from operator import mul
from typing import Literal

import torch
from torch import Tensor

Prediction = Literal["eps", "v"]
"""What a network puts out, and its loss is of: the noise, or sqrt(a) eps - sqrt(1 - a) x_0."""

CLEAN = -1
"""The level below step 0: no noise at all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """A cosine schedule; the defaults are the paper's."""

    num_steps: int = 250
    """T, the number of diffusion steps."""

    s: float = 0.008
    """Offset that keeps the first betas from vanishing (Nichol & Dhariwal)."""

    max_beta: float = 0.999
    """Largest beta; without it the last step would leave nothing of the volume."""

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps is {self.num_steps}; it must be at least 1")
        if not 0.0 <= self.s <= 1.0:
            raise ValueError(f"s is {self.s}; it must lie in [0, 1]")
        if not 0.0 < self.max_beta < 1.0:
            raise ValueError(f"max_beta is {self.max_beta}; it must lie between 0 and 1")


class NoiseSchedule:
    """Cosine noise schedule of Nichol & Dhariwal (2021), eq. 17.

    Coefficients are Python floats (float64) until they meet a tensor: 1 - alphas_cumprod cancels
    badly near t = 0.

    Attributes:
        config: What the schedule was made from.
        betas: (T,) float64 on the CPU, variance that step t adds.
        alphas_cumprod: (T,) float64 on the CPU, the share of the signal's variance left at step t.
    """

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config
        betas = _cosine_betas(config)
        # One longer than T, so that level -1 has its own entry: index is t + 1.
        self._levels = list(accumulate((1.0 - beta for beta in betas), mul, initial=1.0))
        self.betas = torch.tensor(betas, dtype=torch.float64, device="cpu")
        self.alphas_cumprod = torch.tensor(self._levels[1:], dtype=torch.float64, device="cpu")

    @property
    def num_steps(self) -> int:
        """T, the number of diffusion steps."""
        return self.config.num_steps

    def q_sample(self, x_start: Tensor, t: int, noise: Tensor) -> Tensor:
        """Draw x_t from q(x_t | x_0) (DDPM eq. 4).

        Args:
            x_start: (B, 1, D, H, W) clean volume, in window units.
            t: Level to noise to; -1 is clean and returns `x_start` itself.
            noise: Standard normal, of the shape of `x_start`.

        Raises:
            ValueError: `t` is outside -1 .. T-1.
        """
        alpha_bar = self._alpha_bar(t)
        if t == CLEAN:
            return x_start
        return math.sqrt(alpha_bar) * x_start + math.sqrt(1.0 - alpha_bar) * noise

    def q_sample_batch(self, x_start: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """As `q_sample`, with a step of its own for each volume: `t` is (B,) long in [0, T)."""
        signal = self.alphas_cumprod.sqrt().to(x_start)[t]
        spread = (1.0 - self.alphas_cumprod).sqrt().to(x_start)[t]
        per_volume = (-1,) + (1,) * (x_start.ndim - 1)
        return signal.reshape(per_volume) * x_start + spread.reshape(per_volume) * noise

    def v_error_batch(self, eps_error: Tensor, t: Tensor) -> Tensor:
        """Return by how much v is off where the noise is off by `eps_error`, both at steps `t` (B,).

        Of one x_t, v is (eps - sqrt(1 - a) x_t) / sqrt(a).
        """
        signal = self.alphas_cumprod.sqrt().to(eps_error)[t]
        return eps_error / signal.reshape((-1,) + (1,) * (eps_error.ndim - 1))

    def predict_start_from_noise(self, x_t: Tensor, t: int, eps: Tensor) -> Tensor:
        """Return the x_0 that `x_t` came from if `eps` is its noise (DDPM eq. 15).

        Raises:
            ValueError: `t` is outside -1 .. T-1.
        """
        alpha_bar = self._alpha_bar(t)
        return (x_t - math.sqrt(1.0 - alpha_bar) * eps) / math.sqrt(alpha_bar)

    def q_posterior(
        self, x_start: Tensor, x_t: Tensor, t: int, t_prev: int
    ) -> tuple[Tensor, float]:
        """Return mean and variance of q(x_{t_prev} | x_t, x_0).

        DDPM eq. 6-7, written for any earlier level: the steps between are one step whose beta is
        1 - alphas_cumprod[t] / alphas_cumprod[t_prev].

        Args:
            x_start: Clean volume, in window units.
            x_t: The same volume at step t.
            t: Step of `x_t`.
            t_prev: Level to go to, below t; -1 gives (`x_start`, 0).

        Raises:
            ValueError: `t_prev` is not below `t`, or one of them is outside -1 .. T-1.
        """
        beta = self.step_beta(t, t_prev)
        if t_prev == CLEAN:
            return x_start, 0.0
        noise_left, noise_now = 1.0 - self._alpha_bar(t_prev), 1.0 - self._alpha_bar(t)
        from_start = math.sqrt(self._alpha_bar(t_prev)) * beta / noise_now
        from_x_t = math.sqrt(1.0 - beta) * noise_left / noise_now
        return from_start * x_start + from_x_t * x_t, beta * noise_left / noise_now

    def step_beta(self, t: int, t_prev: int) -> float:
        """Return the variance that going from level `t_prev` up to `t` adds; betas[t] for t-1.

        Raises:
            ValueError: `t_prev` is not below `t`, or one of them is outside -1 .. T-1.
        """
        if t_prev >= t:
            raise ValueError(f"t_prev is {t_prev} and t is {t}; a reverse step goes down")
        return 1.0 - self._alpha_bar(t) / self._alpha_bar(t_prev)

    def signal_and_spread(self, t: int) -> tuple[float, float]:
        """Return the weights of x_0 and of the noise in x_t, sqrt(a) and sqrt(1 - a).

        Raises:
            ValueError: `t` is outside -1 .. T-1.
        """
        alpha_bar = self._alpha_bar(t)
        return math.sqrt(alpha_bar), math.sqrt(1.0 - alpha_bar)

    def half_log_snr(self, t: int) -> float:
        """Return log(signal / spread) at step t; infinite at the clean level.

        Raises:
            ValueError: `t` is outside -1 .. T-1.
        """
        signal, spread = self.signal_and_spread(t)
        return math.inf if t == CLEAN else math.log(signal / spread)

    def strided(self, num_steps: int, exponent: float = 1.0) -> list[tuple[int, int]]:
        """Return `num_steps` reverse steps (t, t_prev), from T-1 down to the clean level.

        Sampling starts from pure noise, so the first t is T-1 whatever the stride.

        Args:
            num_steps: How many.
            exponent: Levels lie at T u^exponent, u falling evenly from 1 to 0: 1 makes equal
                strides, more makes them shorter towards the clean end.

        Raises:
            ValueError: `num_steps` is outside 1 .. T, or `exponent` below 1.
        """
        total = self.num_steps
        if not 1 <= num_steps <= total:
            raise ValueError(
                f"{num_steps} sampling steps were asked for, but the schedule has {total}; "
                f"ask for 1 to {total}"
            )
        if exponent < 1.0:
            raise ValueError(f"exponent is {exponent}; it must be at least 1")
        levels = [CLEAN]
        for step in range(1, num_steps + 1):
            # A little more than the floor: a product that should be whole can fall short of it.
            level = math.floor(total * (step / num_steps) ** exponent + 1e-9) - 1
            # Where levels would coincide, near the clean end, each step takes the next.
            levels.append(max(level, levels[-1] + 1))
        return list(pairwise(reversed(levels)))

    def _alpha_bar(self, t: int) -> float:
        if not CLEAN <= t < self.num_steps:
            raise ValueError(
                f"step {t} is outside {CLEAN}..{self.num_steps - 1} of a schedule with "
                f"{self.num_steps} steps ({CLEAN} is the clean volume)"
            )
        return self._levels[t + 1]


def _cosine_betas(config: ScheduleConfig) -> list[float]:
    def alpha_bar(share: float) -> float:
        return math.cos((share + config.s) / (1.0 + config.s) * math.pi / 2.0) ** 2

    levels = (alpha_bar(i / config.num_steps) for i in range(config.num_steps + 1))
    return [min(1.0 - after / before, config.max_beta) for before, after in pairwise(levels)]
