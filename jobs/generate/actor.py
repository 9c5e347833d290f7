"""One sampler of the pool: loads the model once, then draws, checks, writes and commits items.

    item -> prepared -> [device] -> quality -> volume -> commit

Two items are under way at once: one is on the device while another is read or written. It never
raises for an item: an exception is a quarantine record and a row that says so.
"""

import gc
import json
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from factory.attempts import Attempt
from factory.errors import CaseError, FactoryError
from factory.lake import Lake
from factory.preprocessing import NotFiniteError
from factory.quality import Quality
from factory.volumes import Volume, write_volume
from jobs.generate.blame import node_id, verdict_on
from jobs.generate.company import Company
from jobs.generate.plan import WorkItem, redraw_seed
from jobs.generate.settings import SamplerSettings
from jobs.generate.synthesizers.synthesizer import Prepared
from jobs.generate.volume_sampler import VolumeSampler
from jobs.generate.watchdog import Patience, end_process, time_limit
from jobs.quarantine import as_case_error, give_up

ResultT = TypeVar("ResultT")


class DeviceMemoryError(CaseError):
    """The device has no room for the volume."""


@dataclass(slots=True)
class _Draw:
    """What became of an item on the device."""

    hu: NDArray[np.int16]
    quality: Quality
    seed: int
    redraws: list[dict[str, Any]]


@dataclass(slots=True)
class _Clock:
    """Seconds that an item took."""

    device: float = 0.0


class Sampler:
    """Draws one item a call, for `ray.data.Dataset.map_batches` with `batch_size=1`."""

    def __init__(self, settings: SamplerSettings) -> None:
        self._settings = settings
        self._lake = Lake(settings.lake_url)
        self._company = Company()
        self._patience = Patience(settings.config.max_seconds)
        self._node_id = node_id()
        self._name = uuid.uuid4().hex[:12]
        # One thread for all that the device does: compiled graphs belong to the thread that made them.
        self._device = ThreadPoolExecutor(1, "device")
        self._sampler = self._device.submit(VolumeSampler, settings).result()

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Draw the items of a batch; return a small row for each."""
        rows = [self.draw(json.loads(text)) for text in batch["item"]]
        return {key: [row[key] for row in rows] for key in rows[0]}

    def draw(self, content: dict[str, Any]) -> dict[str, Any]:
        """Draw one item; return its work id, whether it is committed, and what went wrong."""
        item, donor = WorkItem(**content["work"]), content["donor"]
        start, clock = time.monotonic(), _Clock()
        recorded = True
        try:
            problem = self._draw_unless_done(item, donor, clock)
        except Exception as error:
            problem, recorded = self._what_became(item, error)
        return {
            "work_id": item.work_id,
            "committed": not problem,
            "recorded": recorded,
            "problem": problem,
            "seconds": time.monotonic() - start,
            "device_seconds": clock.device,
            "actor": self._name,
        }

    def _draw_unless_done(self, item: WorkItem, donor: dict[str, Any], clock: _Clock) -> str:
        if self._lake.is_committed(item.work_id):
            return ""
        died = self._lake.attempts.died(item.work_id, self._settings.run_id)
        if problem := verdict_on(item, died, self._settings.config.max_attempts):
            return self._give_up(item, problem, attempts=len(died), retriable=True)
        with self._company.join(alone=bool(died)):
            attempt = self._lake.attempts.start(
                item.work_id, self._settings.run_id, node_id=self._node_id, alone=bool(died)
            )
            try:
                self._draw_and_commit(item, donor, attempt, clock)
            except torch.AcceleratorError as error:
                # The CUDA context is poisoned, and every further item would fail: Ray starts another
                # actor, and the attempt records end it for an item that does this each time.
                reason = f"the device failed: {error}"
                end_process(lambda: self._lake.attempts.end(attempt, reason))
        self._patience.saw_item()
        self._forget(item)
        return ""

    def _draw_and_commit(
        self, item: WorkItem, donor: dict[str, Any], attempt: Attempt, clock: _Clock
    ) -> None:
        start = time.monotonic()
        prepared = self._within_limit(attempt, partial(self._sampler.prepare, item, donor))
        draw = self._accepted_draw(item, prepared, attempt, clock)
        path = self._lake.volume_path(item.work_id, attempt.attempt)
        row = self._sampler.row(item, donor, prepared, draw.hu, draw.quality, path)
        self._within_limit(attempt, partial(self._write, item, path, prepared, draw))
        told = {
            "seed": draw.seed,
            "redraws": draw.redraws,
            "run_id": self._settings.run_id,
            "attempt": attempt.attempt,
            **self._sampler.surroundings,
            "seconds": time.monotonic() - start,
            "created_at": datetime.now(UTC).isoformat(),
        }
        commit = partial(self._lake.commit, item.work_id, row | told)
        if not self._within_limit(attempt, commit):
            self._lake.storage.remove(path)

    def _accepted_draw(
        self, item: WorkItem, prepared: Prepared, attempt: Attempt, clock: _Clock
    ) -> _Draw:
        """Draw until quality control does not reject, or as often as it may be tried."""
        redraws: list[dict[str, Any]] = []
        while True:
            seed = redraw_seed(item, len(redraws))
            is_last = len(redraws) >= self._settings.config.max_redraws
            sample = partial(self._sampler.sample, prepared, seed)
            try:
                hu = self._on_device(item, attempt, sample, clock)
            except NotFiniteError as error:
                if is_last:
                    raise
                redraws.append({"seed": seed, "verdict": "reject", "reasons": [str(error)]})
                continue
            quality = self._sampler.assess(item, prepared, hu)
            if quality.verdict != "reject" or is_last:
                return _Draw(hu, quality, seed, redraws)
            told = {"seed": seed, "verdict": quality.verdict, "reasons": list(quality.reasons)}
            redraws.append(told)

    def _on_device(
        self,
        item: WorkItem,
        attempt: Attempt,
        sample: Callable[[], NDArray[np.int16]],
        clock: _Clock,
    ) -> NDArray[np.int16]:
        def take_turn() -> NDArray[np.int16]:
            start = time.monotonic()
            try:
                return self._within_limit(attempt, partial(_with_room, item, sample))
            finally:
                clock.device += time.monotonic() - start

        return self._device.submit(take_turn).result()

    def _within_limit(self, attempt: Attempt, step: Callable[[], ResultT]) -> ResultT:
        """Take a step of an item; the time that it waits for the device does not count."""
        seconds = self._patience.seconds

        def tell() -> None:
            self._lake.attempts.end(attempt, f"a step of it ran longer than {seconds:g} s")

        start = time.monotonic()
        with time_limit(seconds, tell):
            done = step()
        self._patience.saw(time.monotonic() - start)
        return done

    def _write(self, item: WorkItem, path: str, prepared: Prepared, draw: _Draw) -> None:
        volume = Volume(ct=draw.hu, layout=prepared.layout, affine=prepared.affine)
        write_volume(self._lake.storage, path, volume, kind="synthetic", work_id=item.work_id)

    def _what_became(self, item: WorkItem, error: Exception) -> tuple[str, bool]:
        """Return what is wrong with an item whose drawing ended so, and whether it is recorded."""
        problem = as_case_error(item.case_id, error)
        try:
            # Another driver may have committed it, and swept away what this one was writing.
            if self._lake.is_committed(item.work_id):
                return "", True
            return self._fail(item, error, problem), True
        except Exception as unrecorded:
            # The disk is full, say: without a record the item is open, and the next run draws it.
            return f"{problem} The reason could not be recorded: {unrecorded}.", False

    def _forget(self, item: WorkItem) -> None:
        # What is left of it is swept when the run ends.
        with suppress(Exception):
            self._lake.attempts.forget(item.work_id)

    def _fail(self, item: WorkItem, error: Exception, problem: CaseError) -> str:
        # Memory gets free, tokens are renewed, and a network comes back.
        passing = isinstance(error, DeviceMemoryError | OSError)
        retriable = passing or not isinstance(error, FactoryError)
        told = self._give_up(item, problem, retriable=retriable)
        self._forget(item)
        return told

    def _give_up(
        self, item: WorkItem, error: Exception, *, retriable: bool, attempts: int = 1
    ) -> str:
        give_up(
            self._lake,
            item.work_id,
            item.case_id,
            "generate",
            error,
            run_id=self._settings.run_id,
            attempts=attempts,
            retriable=retriable,
        )
        return str(error)


def _with_room(item: WorkItem, sample: Callable[[], NDArray[np.int16]]) -> NDArray[np.int16]:
    """Sample, and once more with an empty cache where the device has run out of memory."""
    try:
        return sample()
    except torch.OutOfMemoryError:
        pass
    # Outside the handler, whose traceback would keep the tensors.
    gc.collect()
    torch.cuda.empty_cache()
    try:
        return sample()
    except torch.OutOfMemoryError as error:
        raise DeviceMemoryError(
            item.case_id,
            f"the device ran out of memory, also with an empty cache ({error}); expected room for "
            "one volume. Take --precision bfloat16, fewer actors a GPU, or a GPU with more memory.",
        ) from error
