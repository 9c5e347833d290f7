"""What a training step sees of a mix: a pure function of the seed, the step and the slot.

volume of a row --augment--> turned, scaled, mirrored --window--> Example
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.augment import augment
from factory.axes import spacing_zyx
from factory.errors import CaseError, FactoryError
from factory.intensity import HuWindow
from factory.layouts import NODULE
from factory.volumes import Volume
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.folds import Row
from jobs.readers.rows import load_volume, name_of
from jobs.train.draws import numpy_generator, shuffled_place, torch_generator

_MISSING = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


@dataclass(frozen=True, slots=True)
class Example:
    """One slot of a batch."""

    units: Tensor
    """(1, 1, D, H, W) CT, in window units."""
    nodule: Tensor
    """(1, 1, D, H, W) uint8, 1 inside a nodule."""
    dropout_seed: int = 0
    """Of the masks, where the network has dropout."""

    def pinned(self) -> "Example":
        """Return it in pinned memory."""
        return replace(self, units=self.units.pin_memory(), nodule=self.nodule.pin_memory())


@dataclass(frozen=True, slots=True)
class State:
    """What a volume was found to be."""

    problem: str
    """Why it cannot be used; empty where it can."""
    has_nodule: bool = False
    may_pass: bool = False
    """Whether the problem is of the machine or the place, and not of the volume."""


class Volumes:
    """Volumes of a manifest's rows, as many of them in memory as there is room for.

    Args:
        manifest: Where the rows are from; for messages.
        num_cached: Volumes to keep.
    """

    def __init__(self, manifest: str, num_cached: int) -> None:
        self._manifest = manifest
        self._rows: dict[str, Row] = {}

        # Two threads may both read a volume that neither has: the same voxels, read twice.
        @lru_cache(maxsize=num_cached)
        def read(uri: str) -> Volume:
            volume = load_volume(manifest, self._rows[uri], verify=True)
            # Shared by all examples of the volume: none may write into it.
            volume.ct.setflags(write=False)
            volume.layout.setflags(write=False)
            return volume

        self._read = read

    def read(self, row: Row) -> Volume:
        """Return the volume of a row, its voxels compared with the row's digests.

        Raises:
            FactoryError: It cannot be read, or is not what its row says.
        """
        self._rows[row["image_uri"]] = row
        return self._read(row["image_uri"])

    def state_of(self, row: Row) -> State:
        """Return whether the volume of a row can be read, and is what its row says."""
        try:
            volume = self.read(row)
        except (FactoryError, OSError, ValueError, RuntimeError, MemoryError) as error:
            problem = " ".join(str(error).split()) or type(error).__name__
            problem = problem.removeprefix(f"{self._manifest}: {name_of(row)}: ")
            return State(problem, may_pass=_may_pass(error))
        grids = volume.ct.shape, volume.layout.shape
        if any(grid != tuple(row["shape"]) for grid in grids):
            return State(f"found grids {grids}; expected {tuple(row['shape'])}, as its row says")
        return State("", bool((volume.layout == NODULE).any()))

    def states_of(self, rows: Sequence[Row], num_threads: int) -> list[State]:
        """Return the states of several rows; some are read at once."""
        with ThreadPoolExecutor(max(1, num_threads)) as pool:
            return list(pool.map(self.state_of, rows))


class Examples:
    """Training examples of the rows of a mix.

    Which volume a slot gets, and how it is changed, does not depend on workers, threads or earlier
    steps.

    Args:
        volumes: Where they are read.
        rows: The mix.
        config: How examples are made.
        seed: Of the run.
    """

    def __init__(
        self, volumes: Volumes, rows: Sequence[Row], config: DownstreamConfig, seed: int
    ) -> None:
        self._volumes, self._rows, self._config, self._seed = volumes, rows, config, seed
        self._window = HuWindow(*config.hu_window)

    def row(self, step: int, slot: int) -> Row:
        """Return which volume a slot shows: each one once before any comes again."""
        position = step * self._config.batch_size + slot
        return self._rows[shuffled_place(self._seed, position, len(self._rows))]

    def example(self, step: int, slot: int) -> Example:
        """Return what a slot of a step trains on; any thread may ask.

        Raises:
            FactoryError: The volume cannot be read, or not be augmented.
        """
        row = self.row(step, slot)
        volume = self._volumes.read(row)
        rng = numpy_generator(self._seed, "augment", step, slot)
        spacing = spacing_zyx(volume.affine)
        try:
            ct, layout = augment(volume.ct, volume.layout, spacing, self._config.augment, rng)
        except ValueError as error:
            raise CaseError(
                row["case_id"],
                f"slot {slot} of step {step} cannot be made of it: {error}. Make the volume again, or turn "
                "[downstream.augment] off.",
            ) from error
        dropout_seed = torch_generator(self._seed, "dropout", step, slot).initial_seed()
        return Example(_units(self._window, ct), _nodule(layout), dropout_seed)

    def plain(self, number: int) -> Tensor:
        """Return the (1, 1, D, H, W) window units of a volume as it is, the first of the run first."""
        row = self._rows[shuffled_place(self._seed, number, len(self._rows))]
        return _units(self._window, self._volumes.read(row).ct)


def _may_pass(error: BaseException | None) -> bool:
    """Tell whether the same volume may be read later: a disk, a bucket or the memory failed."""
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        # What is not there was lost: of a lake that is out of reach the manifest can't be read.
        if isinstance(error, OSError) and not isinstance(error, _MISSING):
            return True
        error = error.__cause__
    return False


def _units(window: HuWindow, ct: NDArray[np.int16]) -> Tensor:
    return torch.from_numpy(window.encode(ct))[None, None]


def _nodule(layout: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(layout == NODULE, np.uint8))[None, None]
