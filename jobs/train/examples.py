"""What a training step sees: a pure function of the seed, the step and the slot in the batch."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from factory.intensity import HuWindow
from factory.layouts import layout_channels
from factory.storage import Storage
from factory.volumes import Volume, read_volume

_CASES_IN_MEMORY = 256
"""6 MiB each at 128^3."""


@dataclass(frozen=True, slots=True)
class Example:
    """One slot of a batch."""

    x_start: Tensor
    """(1, 1, D, H, W) CT, in window units."""
    condition: Tensor
    """(1, 2, D, H, W) layout channels, -1 or +1."""
    t: Tensor
    """(1,) long diffusion step."""
    noise: Tensor
    """(1, 1, D, H, W) standard normal."""


class Examples:
    """Training examples of a case store.

    Which case, step and noise a slot gets does not depend on workers, on earlier
    steps or on what was loaded before, so a run can go on from any step.

    Args:
        cases_url: Case store.
        image_paths: Volumes of the training cases, inside the store.
        window: HU window.
        num_diffusion_steps: T of the schedule.
        seed: Run seed.
        batch_size: Slots a step, over all workers.
    """

    def __init__(
        self,
        cases_url: str,
        image_paths: list[str],
        *,
        window: HuWindow,
        num_diffusion_steps: int,
        seed: int,
        batch_size: int,
    ) -> None:
        self._paths = image_paths
        self._window = window
        self._num_diffusion_steps = num_diffusion_steps
        self._seed = seed
        self.batch_size = batch_size
        storage = Storage(cases_url)

        @lru_cache(maxsize=_CASES_IN_MEMORY)
        def read(path: str) -> Volume:
            return read_volume(storage, path)

        self._read = read

    def case_index(self, step: int, slot: int) -> int:
        """Return which case a slot shows: each one once before any comes again."""
        position = step * self.batch_size + slot
        epoch, place = divmod(position, len(self._paths))
        order = torch.randperm(len(self._paths), generator=self._generator("order", epoch, 0))
        return int(order[place])

    def example(self, step: int, slot: int) -> Example:
        """Return what a slot of a step trains on."""
        volume = self._read(self._paths[self.case_index(step, slot)])
        generator = self._generator("noise", step, slot)
        x_start = torch.from_numpy(self._window.encode(volume.ct))[None, None]
        return Example(
            x_start=x_start,
            condition=torch.from_numpy(layout_channels(volume.layout))[None],
            t=torch.randint(self._num_diffusion_steps, (1,), generator=generator),
            noise=torch.randn(x_start.shape, generator=generator),
        )

    def _generator(self, stream: str, *numbers: int) -> torch.Generator:
        text = f"{self._seed} {stream} {' '.join(map(str, numbers))}"
        digest = hashlib.sha256(text.encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)
