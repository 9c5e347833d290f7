"""One sampler of the pool: loads the model once, then draws, checks, writes and commits items.

    item -> reference + layout -> AAS -> HU inside, reference outside -> quality -> volume -> commit

It never raises for an item: an exception is a quarantine record and a row that says so.
"""

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.axes import spacing_zyx
from factory.digests import sha256_of_voxels
from factory.errors import CaseError, FactoryError
from factory.lake import Lake
from factory.nodules.bank import embedded_bank, load_bank
from factory.nodules.measure import measure_nodules
from factory.nodules.place import place_nodules
from factory.preprocessing import ModelInput, Preprocessing
from factory.quality import assess
from factory.storage import Storage
from factory.volumes import Volume, read_volume, write_volume
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import WorkItem, layout_seed
from jobs.quarantine import as_case_error, give_up
from models.aas import aas_sample
from models.attention import attention_backend
from models.checkpoint import load_checkpoint
from models.engine import SamplingEngine

_CASES_IN_MEMORY = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSettings:
    """What an actor is built from; small and plain, for Ray keeps it."""

    lake_url: str
    cases_url: str
    model: str
    """Checkpoint folder."""
    model_digest: str
    nodules: str
    """Bank file; empty takes the embedded bank."""
    steps: int
    seed: int
    """Of the run; `--seed`."""
    config: GenerateConfig
    device: str
    """`cpu` or `cuda`."""
    run_id: str


class Sampler:
    """Draws one item a call, for `ray.data.Dataset.map_batches` with `batch_size=1`."""

    def __init__(self, settings: SamplerSettings) -> None:
        torch.set_num_threads(settings.config.num_threads)
        _make_deterministic()
        self._settings = settings
        self._device = torch.device(settings.device)
        checkpoint = load_checkpoint(
            settings.model, device=self._device, expect_digest=settings.model_digest
        )
        self._schedule = checkpoint.schedule
        self._preprocessing = Preprocessing.from_json(
            checkpoint.card.preprocessing, where=f"model {settings.model}"
        )
        self._denoiser = SamplingEngine(
            checkpoint.denoiser,
            precision=settings.config.precision,  # type: ignore[arg-type]
            compiled=settings.config.compiled,
        )
        self._lake = Lake(settings.lake_url)
        self._bank = load_bank(settings.nodules) if settings.nodules else embedded_bank()
        cases = Storage(settings.cases_url)
        self._read_case = lru_cache(maxsize=_CASES_IN_MEMORY)(lambda path: read_volume(cases, path))

    def __call__(self, batch: dict[str, NDArray[Any]]) -> dict[str, list[Any]]:
        """Draw the items of a batch; return a small row for each."""
        rows = [self.draw(json.loads(text)) for text in batch["item"]]
        return {key: [row[key] for row in rows] for key in rows[0]}

    def draw(self, content: dict[str, Any]) -> dict[str, Any]:
        """Draw one item; return its work id, whether it is committed, and what went wrong."""
        item, donor = WorkItem(**content["work"]), content["donor"]
        start = time.monotonic()
        try:
            problem = self._draw_and_commit(item, donor)
        except torch.AcceleratorError:
            # The CUDA context is poisoned, and every further item would fail: Ray starts another
            # actor, and the attempt records end it for an item that does this each time.
            os._exit(1)
        except Exception as error:
            # Another driver may have committed it, and swept away what this one was writing.
            problem = "" if self._lake.is_committed(item.work_id) else self._fail(item, error)
        return {
            "work_id": item.work_id,
            "committed": not problem,
            "problem": problem,
            "seconds": time.monotonic() - start,
        }

    def _draw_and_commit(self, item: WorkItem, donor: dict[str, Any]) -> str:
        if self._lake.is_committed(item.work_id):
            return ""
        settings = self._settings
        died = self._lake.count_attempts(item.work_id, settings.run_id)
        if died >= settings.config.max_attempts:
            error = CaseError(
                item.case_id,
                f"work item {item.work_id} ended its process {died} times; expected a volume. Give the "
                "actor more memory and run again, or leave the case out.",
            )
            return self._give_up(item, error, attempts=died, retriable=True)
        attempt = self._lake.start_attempt(item.work_id, settings.run_id)
        start = time.monotonic()
        reference = self._reference(item, donor)
        layout = self._layout(item, reference)
        given = self._feed(item, reference.ct, layout)
        hu = self._sample(item, given)
        volume = Volume(ct=hu, layout=layout, affine=reference.affine)
        path = self._lake.volume_path(item.work_id, attempt)
        write_volume(self._lake.storage, path, volume, kind="synthetic", work_id=item.work_id)
        row = self._row(item, donor, volume, given, path)
        run = {
            "run_id": settings.run_id,
            "attempt": attempt,
            "device": _device_name(self._device),
            "env_fingerprint": _environment(self._device, settings.config),
            "seconds": time.monotonic() - start,
            "created_at": datetime.now(UTC).isoformat(),
        }
        if not self._lake.commit(item.work_id, row | run):
            self._lake.storage.remove(path)
        return ""

    def _reference(self, item: WorkItem, donor: dict[str, Any]) -> Volume:
        reference: Volume = self._read_case(donor["image_uri"])
        found = sha256_of_voxels(reference.ct), sha256_of_voxels(reference.layout)
        if found != (donor["image_sha256"], donor["layout_sha256"]):
            raise CaseError(
                item.case_id,
                f"{donor['image_uri']} has other voxels than its manifest says; expected image sha256 "
                f"{donor['image_sha256']}. Ingest the case again.",
            )
        return reference

    def _layout(self, item: WorkItem, reference: Volume) -> NDArray[np.uint8]:
        if item.layout_origin == "annotated":
            return reference.layout
        layout, _ = place_nodules(
            reference.layout,
            spacing_zyx(reference.affine),
            self._bank,
            seed=layout_seed(self._settings.seed, item.case_id, item.seed_index),
            config=self._settings.config.placement,
        )
        return layout

    def _feed(
        self, item: WorkItem, reference_hu: NDArray[np.int16], layout: NDArray[np.uint8]
    ) -> ModelInput:
        given = self._preprocessing.feed(reference_hu, layout)
        if not given.drawn.any():
            labels = " or ".join(self._preprocessing.labels)
            raise CaseError(
                item.case_id,
                f"its layout has no {labels}; expected at least one voxel of it, for this model draws "
                "nothing else. Set min_nodules of [generate.placement] to 1 or more, or leave the "
                "case out.",
            )
        return given

    def _sample(self, item: WorkItem, given: ModelInput) -> NDArray[np.int16]:
        config = self._settings.config
        x_0 = aas_sample(
            self._denoiser,
            self._schedule,
            layout=self._tensor(given.condition),
            x_known=self._tensor(given.x_known),
            draw_noise=_noise(item.seed),
            variant=config.variant,  # type: ignore[arg-type]
            sampler=config.sampler,  # type: ignore[arg-type]
            blend=config.blend_taken,  # type: ignore[arg-type]
            num_steps=self._settings.steps,
            clip_x0=config.clip_taken,
            sigma=config.sigma,  # type: ignore[arg-type]
        )
        return given.decode(x_0[0].float().cpu().numpy())

    def _tensor(self, channels: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(channels)[None].to(self._device)

    def _row(
        self,
        item: WorkItem,
        donor: dict[str, Any],
        volume: Volume,
        given: ModelInput,
        path: str,
    ) -> dict[str, Any]:
        settings = self._settings
        window = self._preprocessing.hu_window
        quality = assess(volume.ct, given.reference_hu, volume.layout, given.drawn, given.scale)
        nodules = measure_nodules(volume.layout, volume.affine)
        return {
            "kind": "synthetic",
            "work_id": item.work_id,
            "split": "train",
            "patient_id": item.patient_id,
            "case_id": item.case_id,
            "layout_id": item.layout_id,
            "layout_origin": item.layout_origin,
            "image_uri": path,
            "layout_uri": f"{path}/labels/layout",
            "shape": donor["shape"],
            "spacing_mm": donor["spacing_mm"],
            "affine": donor["affine"],
            "image_sha256": sha256_of_voxels(volume.ct),
            "layout_sha256": sha256_of_voxels(volume.layout),
            "reference_sha256": donor["image_sha256"],
            "plan_index": item.plan_index,
            "seed_index": item.seed_index,
            "seed": item.seed,
            "model_digest": settings.model_digest,
            "sampler": settings.config.sampler_taken,
            "steps": settings.steps,
            "hu_window": list(window) if window else None,
            "nodules": [nodule.as_row() for nodule in nodules],
            **quality.as_columns(),
        }

    def _fail(self, item: WorkItem, error: Exception) -> str:
        retriable = not isinstance(error, FactoryError)
        problem = as_case_error(item.case_id, error)
        try:
            return self._give_up(item, problem, retriable=retriable)
        except OSError as unrecorded:
            # The disk is full, say: without a record the item is open, and the next run draws it.
            return f"{problem} The reason could not be recorded: {unrecorded}."

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


def _noise(seed: int) -> Callable[[tuple[int, ...]], Tensor]:
    """Return the only source of an item's noise: the CPU's generator, float32, in call order."""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _environment(device: torch.device, config: GenerateConfig) -> str:
    """Return what can move the last bit of a voxel without being part of the plan."""
    parts = [f"torch {torch.__version__}", _device_name(device), attention_backend()]
    if config.compiled:
        parts.append("compiled")
    if device.type == "cuda":
        parts += [
            f"cuda {torch.version.cuda}",
            f"cudnn {torch.backends.cudnn.version()}",  # type: ignore[no-untyped-call]
            f"tf32 {torch.backends.cudnn.allow_tf32}",
        ]
    else:
        parts.append(f"threads {config.num_threads}")
    return ", ".join(parts)


def _make_deterministic() -> None:
    """Choose kernels by name and not by the clock: the same item, the same voxels."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
