"""What a training step sees: a pure function of the seed, the step and the slot in the batch.

case, in HU --graft--> real nodules in its lungs --augment--> turned --window--> Example
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.augment import AugmentConfig, augment
from factory.axes import spacing_zyx
from factory.errors import CaseError
from factory.intensity import HuWindow
from factory.layouts import layout_channels
from factory.nodules.crops import load_crops
from factory.nodules.graft import GraftConfig, graft
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.train.draws import numpy_generator, shuffled_place, torch_generator
from jobs.train.settings import LoopSettings

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
    dropout_seed: int = 0
    """Of the masks, where the network has dropout."""

    def pinned(self) -> "Example":
        """Return it in pinned memory."""
        return replace(
            self,
            x_start=self.x_start.pin_memory(),
            condition=self.condition.pin_memory(),
            t=self.t.pin_memory(),
            noise=self.noise.pin_memory(),
        )


class Examples:
    """Training examples of a case store.

    Which case, grafts, turn, step and noise a slot gets does not depend on workers, threads,
    earlier steps or what was loaded before, so a run can go on from any step.

    Args:
        cases_url: Case store.
        image_paths: Volumes of the training cases, inside the store.
        window: HU window.
        num_diffusion_steps: T of the schedule.
        seed: Run seed.
        batch_size: Slots a step, over all workers.
        augment: How far examples are changed; the default changes none.
        graft: How often nodules are grafted; the default grafts none.
        crops_path: Nodules to graft; needed where `graft` is on.

    Raises:
        ValueError: Grafts are asked for, but no crops are given.
        StoreError: The crops cannot be read.
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
        augment: AugmentConfig | None = None,
        graft: GraftConfig | None = None,
        crops_path: str | None = None,
    ) -> None:
        self._paths = image_paths
        self._window = window
        self._num_diffusion_steps = num_diffusion_steps
        self._seed = seed
        self.batch_size = batch_size
        self._augment = augment or AugmentConfig()
        self._graft = graft or GraftConfig()
        if self._graft.is_on and not crops_path:
            raise ValueError(
                f"graft.probability is {self._graft.probability}, and there are no nodules to graft; "
                "give crops_path, or 0"
            )
        self._crops = load_crops(crops_path) if crops_path and self._graft.is_on else None
        storage = Storage(cases_url)

        # Two threads may both read a case that neither has: the same voxels, read twice.
        @lru_cache(maxsize=_CASES_IN_MEMORY)
        def read(path: str) -> Volume:
            volume = read_volume(storage, path)
            # Shared by all examples of the case: none may write into it.
            volume.ct.setflags(write=False)
            volume.layout.setflags(write=False)
            return volume

        self._read = read

    def case_index(self, step: int, slot: int) -> int:
        """Return which case a slot shows: each one once before any comes again."""
        return shuffled_place(self._seed, step * self.batch_size + slot, len(self._paths))

    def path(self, step: int, slot: int) -> str:
        """Return the volume of the case that a slot shows, inside the store."""
        return self._paths[self.case_index(step, slot)]

    def example(self, step: int, slot: int) -> Example:
        """Return what a slot of a step trains on; any thread may ask.

        Raises:
            StoreError: The case cannot be read.
            CaseError: It cannot be grafted or augmented.
        """
        generator = torch_generator(self._seed, "noise", step, slot)
        ct, layout = self._prepared(step, slot)
        t = torch.randint(self._num_diffusion_steps, (1,), generator=generator)
        seed = torch_generator(self._seed, "dropout", step, slot).initial_seed()
        return replace(self._fed(ct, layout, t, generator), dropout_seed=seed)

    def probe(self, index: int, t: int) -> Example:
        """Return a case as it is, at diffusion step `t`, under a noise of its own.

        Neither depends on the seed, so that the losses of two runs on them can be compared.

        Args:
            index: Which; cases follow each other in the order of the paths, round and round.
            t: Diffusion step, in [0, T).
        """
        volume = self._read(self._paths[index % len(self._paths)])
        generator = torch_generator(0, "probe", index)
        return self._fed(volume.ct, volume.layout, torch.tensor([t]), generator)

    def _prepared(self, step: int, slot: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
        """Return HU and labels after grafts and augmentation."""
        path = self.path(step, slot)
        volume = self._read(path)
        ct, layout, spacing = volume.ct, volume.layout, spacing_zyx(volume.affine)
        try:
            if self._crops is not None:
                rng = numpy_generator(self._seed, "graft", step, slot)
                ct, layout = graft(ct, layout, spacing, self._crops, self._graft, rng)
            rng = numpy_generator(self._seed, "augment", step, slot)
            return augment(ct, layout, spacing, self._augment, rng)
        except ValueError as error:
            raise CaseError(
                path,
                f"slot {slot} of step {step} cannot be made of it: {error}. Ingest the case again, or "
                "turn [train.graft] and [train.augment] off.",
            ) from error

    def _fed(
        self,
        ct: NDArray[np.int16],
        layout: NDArray[np.uint8],
        t: Tensor,
        generator: torch.Generator,
    ) -> Example:
        x_start = torch.from_numpy(self._window.encode(ct))[None, None]
        return Example(
            x_start=x_start,
            condition=torch.from_numpy(layout_channels(layout))[None],
            t=t,
            noise=torch.randn(x_start.shape, generator=generator),
        )


def examples_of(settings: LoopSettings) -> Examples:
    """Return the training examples of a run, the same on each worker.

    Raises:
        ValueError: Grafts are asked for, but no crops are given.
        StoreError: The crops cannot be read.
    """
    config = settings.config
    return Examples(
        settings.cases_url,
        [case.image_path for case in settings.training_cases],
        window=HuWindow(*config.hu_window),
        num_diffusion_steps=config.schedule.num_steps,
        seed=config.seed,
        batch_size=config.batch_size,
        augment=config.augment,
        graft=config.graft,
        crops_path=settings.crops_path,
    )
