"""From an item to its volume: what an actor computes, apart from how it survives.

prepare  reference + layout -> what the synthesizer is fed    storage, CPU
sample   the synthesizer -> HU                                device
row      figures and quality -> what the manifest says        CPU
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from factory.axes import spacing_zyx
from factory.digests import sha256_of_voxels
from factory.errors import CaseError
from factory.nodules.measure import measure_nodules
from factory.nodules.place import place_nodules
from factory.preprocessing import ModelInput
from factory.quality import Promises, Quality, assess
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.generate.nodules import read_planned_nodules
from jobs.generate.plan import WorkItem, layout_seed
from jobs.generate.settings import SamplerSettings
from jobs.generate.surroundings import device_name, environment, make_deterministic
from jobs.generate.synthesizers.choose import make_synthesizer
from jobs.generate.synthesizers.synthesizer import Prepared, UnfitError
from jobs.layouts.given import ORIGINS, read_given

_CASES_IN_MEMORY = 4

_REHEARSED = {"qc_verdict": "reject", "qc_reasons": ["drawn in a rehearsal, without the network"]}


class VolumeSampler:
    """Draws volumes; holds the synthesizer and the references that are in use.

    Args:
        settings: Synthesizer, cases and how to draw.

    Raises:
        CheckpointError: The model is not the plan's.
        StoreError: The nodules are not.
    """

    def __init__(self, settings: SamplerSettings) -> None:
        torch.set_num_threads(settings.config.num_threads)
        make_deterministic()
        self._settings = settings
        self._device = torch.device(settings.device)
        nodules = read_planned_nodules(settings.nodules, settings.config, settings.bank_digest)
        self._bank = nodules.bank
        self._synthesizer = make_synthesizer(settings, nodules)
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
        given = self._feed(item, reference, layout)
        return Prepared(layout, reference.affine, given)

    def sample(self, prepared: Prepared, seed: int) -> NDArray[np.int16]:
        """Draw the HU of a volume, the same from any process of one environment.

        Args:
            prepared: From `prepare`.
            seed: 63 bits; of all noise in the volume.

        Returns:
            (z, y, x) HU, the reference's wherever nothing was to be drawn.
        """
        return self._synthesizer.draw(prepared, seed)

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
            promises=self._settings.config.traits.promises,
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
        settings, window = self._settings, self._synthesizer.hu_window
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
            "model_digest": settings.model_digest or None,
            "sampler": settings.config.sampler_taken,
            "steps": settings.steps or None,
            "hu_window": list(window) if window else None,
            "nodules": [nodule.as_row() for nodule in nodules],
            **quality.as_columns(),
            **(_REHEARSED if settings.config.rehearsal else {}),
            **_notes(settings.config.traits.promises),
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

    def _feed(self, item: WorkItem, reference: Volume, layout: NDArray[np.uint8]) -> ModelInput:
        try:
            given = self._synthesizer.feed(reference, layout)
        except UnfitError as error:
            raise CaseError(item.case_id, f"{error}.") from error
        if not given.drawn.any():
            config = self._settings.config
            who = "this model" if config.traits.needs_model else config.synthesizer
            raise CaseError(
                item.case_id,
                f"its layout has no {' or '.join(given.labels_drawn)}; expected at least one voxel of it, "
                f"for {who} draws nothing else. Set min_nodules of [generate.placement] to 1 or more, or "
                "leave the case out.",
            )
        return given


def _notes(promises: Promises) -> dict[str, Any]:
    return {"notes": list(promises.unchecked)} if promises.unchecked else {}
