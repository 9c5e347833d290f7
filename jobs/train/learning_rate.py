"""The learning rate of a step: a pure function of the recipe and the step."""

import math

from jobs.train.config import TrainConfig


def learning_rate_at(config: TrainConfig, step: int) -> float:
    """Return the learning rate of a step.

    Args:
        config: Linear warm-up, then half a cosine (Loshchilov and Hutter 2017, eq. 5, without
            restarts), then `final_learning_rate`.
        step: Counted from 0; the first of a warm-up of n steps has 1/n of the peak.
    """
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    if not config.decay_steps:
        return config.learning_rate
    done = (step - config.warmup_steps) / (config.decay_steps - config.warmup_steps)
    share = (1.0 + math.cos(math.pi * min(1.0, done))) / 2.0
    low, high = config.final_learning_rate, config.learning_rate
    return low + (high - low) * share
