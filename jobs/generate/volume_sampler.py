"""From an item to its volume: what an actor computes, apart from how it survives.

prepare  reference + layout -> what the model is fed          storage, CPU
sample   AAS -> HU inside, the reference outside              device
row      figures and quality -> what the manifest says        CPU
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from factory.axes import spacing_zyx
from factory.digests import sha256_of_voxels
from factory.errors import CaseError, StoreError
from factory.nodules.bank import embedded_bank, load_bank
from factory.nodules.measure import measure_nodules
from factory.nodules.place import place_nodules
from factory.preprocessing import ModelInput, Preprocessing
from factory.quality import Quality, assess
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.generate.config import GenerateConfig
from jobs.generate.fetch import load_model
from jobs.generate.plan import WorkItem, layout_seed
from jobs.generate.surroundings import device_name, environment, make_deterministic
from jobs.layouts.given import ORIGINS, read_given
from models.aas import aas_sample
from models.engine import SamplingEngine

_CASES_IN_MEMORY = 4

_REHEARSED = {"qc_verdict": "reject", "qc_reasons": ["drawn in a rehearsal, without the network"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerSettings:
    """What an actor is built from; small and plain, for Ray keeps it."""

    lake_url: str
    cases_url: str
    model: str
    """Checkpoint folder, or its URL."""
    model_digest: str
    nodules: str
    """Bank file; empty takes the embedded bank."""
    bank_digest: str
    layouts: str = ""
    """Folder of `factory layouts` that the plan draws after; empty for none."""
    steps: int
    seed: int
    """Of the run; `--seed`."""
    config: GenerateConfig
    device: str
    """`cpu` or `cuda`."""
    run_id: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """An item that is ready for the device."""

    layout: NDArray[np.uint8]
    """(z, y, x) labels."""
    affine: NDArray[np.float64]
    given: ModelInput


class VolumeSampler:
    """Draws volumes; holds the model and the references that are in use.

    Args:
        settings: Model, cases and how to draw.

    Raises:
        CheckpointError: The model is not the plan's.
        StoreError: The nodule bank is not.
    """

    def __init__(self, settings: SamplerSettings) -> None:
        torch.set_num_threads(settings.config.num_threads)
        make_deterministic()
        self._settings = settings
        self._device = torch.device(settings.device)
        checkpoint = load_model(
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
        self._bank = load_bank(settings.nodules) if settings.nodules else embedded_bank()
        if self._bank.digest != settings.bank_digest:
            raise StoreError(
                f"nodules {settings.nodules or '(embedded)'}: found a bank of digest "
                f"{self._bank.digest[:12]}; expected the plan's, {settings.bank_digest[:12]}. Put the same "
                "file on every node, and leave it alone while a lake is drawn."
            )
        cases = Storage(settings.cases_url)
        self._read_case = lru_cache(maxsize=_CASES_IN_MEMORY)(lambda path: read_volume(cases, path))

    @property
    def surroundings(self) -> dict[str, str]:
        """What the run columns say of where volumes are drawn."""
        return {
            "device": device_name(self._device),
            "env_fingerprint": environment(self._device, self._settings.config),
        }

    def prepare(self, item: WorkItem, donor: dict[str, Any]) -> Prepared:
        """Read an item's reference and lay its nodules out.

        Raises:
            CaseError: The reference is not what its manifest says, or nothing can be drawn in it.
            StoreError: It cannot be read.
        """
        reference = self._reference(item, donor)
        layout = self._layout(item, reference)
        given = self._feed(item, reference.ct, layout)
        return Prepared(layout, reference.affine, given)

    def sample(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """Draw the HU of a volume, the same from any process of one environment.

        Args:
            prepared: From `prepare`.
            seed: 63 bits; of all noise in the volume.

        Returns:
            (z, y, x) HU, the reference's wherever nothing was to be drawn.
        """
        config, given = self._settings.config, prepared.given
        if config.rehearsal:
            return _rehearse(given, seed, config.rehearsal_seconds)
        x_0 = aas_sample(
            self._denoiser,
            self._schedule,
            layout=self._tensor(given.condition),
            x_known=self._tensor(given.x_known),
            draw_noise=_noise(seed),
            variant=config.variant,  # type: ignore[arg-type]
            sampler=config.sampler,  # type: ignore[arg-type]
            blend=config.blend_taken,  # type: ignore[arg-type]
            num_steps=self._settings.steps,
            clip_x0=config.clip_taken,
            sigma=config.sigma,  # type: ignore[arg-type]
        )
        return given.decode(x_0[0].float().cpu().numpy())

    def assess(self, item: WorkItem, prepared: Prepared, hu: NDArray[np.int16]) -> Quality:
        """Measure a volume against its reference."""
        given = prepared.given
        return assess(
            hu,
            given.reference_hu,
            prepared.layout,
            given.drawn,
            given.scale,
            annotated=item.layout_origin == "annotated",
            limits=self._settings.config.quality,
        )

    def row(
        self,
        item: WorkItem,
        donor: dict[str, Any],
        prepared: Prepared,
        hu: NDArray[np.int16],
        quality: Quality,
        path: str,
    ) -> dict[str, Any]:
        """Return what the manifest says of an item's volume.

        Args:
            item: The item.
            donor: What is known of its reference.
            prepared: From `prepare`.
            hu: From `sample`.
            quality: From `assess`.
            path: Of the volume, inside the lake.
        """
        settings = self._settings
        window = self._preprocessing.hu_window
        nodules = measure_nodules(prepared.layout, prepared.affine)
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
            "image_sha256": sha256_of_voxels(hu),
            "layout_sha256": sha256_of_voxels(prepared.layout),
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
            **(_REHEARSED if settings.config.rehearsal else {}),
        }

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
        if item.layout_origin in ORIGINS:
            return read_given(
                self._settings.layouts,
                item.case_id,
                item.layout_id,
                reference.layout,
                reference.affine,
            )
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

    def _tensor(self, channels: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(channels)[None].to(self._device)


def _rehearse(given: ModelInput, seed: int, seconds: float) -> NDArray[np.int16]:
    """Take a simulated device's time, and return noise where a volume would be drawn."""
    time.sleep(seconds)
    noise = np.random.default_rng(seed).integers(-950, -750, given.reference_hu.shape, np.int16)
    return np.where(given.drawn, noise, given.reference_hu)


def _noise(seed: int) -> Callable[[tuple[int, ...]], Tensor]:
    """Return the only source of an item's noise: the CPU's generator, float32, in call order."""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(shape, generator=generator)
