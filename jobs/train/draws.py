"""Random numbers that follow from a seed and a place alone, whoever draws them and when."""

import hashlib

import numpy as np
import torch


def shuffled_place(seed: int, position: int, count: int) -> int:
    """Return which of `count` things comes at a position: each once before any comes again."""
    epoch, place = divmod(position, count)
    generator = torch_generator(seed, "order", epoch, 0)
    return int(torch.randperm(count, generator=generator)[place])


def torch_generator(seed: int, stream: str, *numbers: int) -> torch.Generator:
    """Return a generator of one stream of a seed, such as the noise of a step and a slot."""
    return torch.Generator().manual_seed(_digest(seed, stream, *numbers) >> 1)


def numpy_generator(seed: int, stream: str, *numbers: int) -> np.random.Generator:
    """Return a generator of one stream of a seed, for numpy."""
    return np.random.default_rng(_digest(seed, stream, *numbers))


def _digest(seed: int, stream: str, *numbers: int) -> int:
    text = f"{seed} {stream} {' '.join(map(str, numbers))}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
