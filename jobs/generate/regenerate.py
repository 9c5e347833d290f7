"""Drawing volumes of a finished lake again, to see that they come out the same.

rows, a sample by hash -> VolumeSampler as dataset.json has it -> voxels of the lake against new ones
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from factory.digests import sha256_of_voxels
from factory.errors import FactoryError, StoreError
from factory.lake import MANIFEST, Lake
from jobs.cases import open_case_store
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import WorkItem
from jobs.generate.pool import donor
from jobs.generate.settings import SamplerSettings
from jobs.generate.volume_sampler import VolumeSampler
from jobs.lakes import planned_items, read_row
from jobs.recipe import read_table
from manifests.read import read_manifest

TOLERANCE_HU = 2.0
"""Mean absolute difference, over the drawn voxels, of a volume from another environment. Kernels
that add in another order move the last bits of a float, and 25 steps make little more of them."""


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A volume and what it came out as."""

    work_id: str
    case_id: str
    same_environment: bool
    same_voxels: bool
    mean_difference_hu: float
    """Over the voxels that were drawn."""
    error: str = ""
    """Why it could not be drawn again, or compared."""

    def __str__(self) -> str:
        """Return how it came out, in a line."""
        if self.error:
            return f"case {self.case_id}, {self.work_id}: could not be"
        environment = "the same environment" if self.same_environment else "another environment"
        voxels = (
            "the same voxels"
            if self.same_voxels
            else f"{self.mean_difference_hu:.2g} HU apart on average"
        )
        return f"case {self.case_id}, {self.work_id}: {voxels}, in {environment}"

    @property
    def problem(self) -> str:
        """What is wrong with it, or nothing."""
        name = f"case {self.case_id}, {self.work_id}"
        if self.error:
            return f"{name}: could not be drawn again: {self.error}"
        if self.same_voxels:
            return ""
        if self.same_environment:
            return (
                f"{name}: drawn again in the same environment it has other voxels, "
                f"{self.mean_difference_hu:.2g} HU apart on average; expected the same"
            )
        if self.mean_difference_hu > TOLERANCE_HU:
            return (
                f"{name}: drawn again in another environment it is {self.mean_difference_hu:.2g} HU apart "
                f"on average; expected at most {TOLERANCE_HU:g}"
            )
        return ""


def regenerate(lake: Lake, count: int, *, device: str | None = None) -> Iterator[Redrawn]:
    """Draw some volumes of a lake again, in this process, and compare them.

    Args:
        lake: A published lake.
        count: Volumes; which ones is a matter of their ids, so that each call takes the same.
        device: `cpu` or `cuda`; None takes a GPU where torch sees one.

    Raises:
        StoreError: The lake does not say how it was made, as lakes of the first format.
        CheckpointError: The model is gone, or another one.
    """
    settings = _settings(lake, device or ("cuda" if torch.cuda.is_available() else "cpu"))
    sampler = VolumeSampler(settings)
    donors = {row["case_id"]: row for row in open_case_store(settings.cases_url).training_rows()}
    items = {row["work_id"]: WorkItem(**row) for row in planned_items(lake)}
    path = lake.storage.child(MANIFEST)
    rows = [row for row in read_manifest(path).to_pylist() if row["kind"] == "synthetic"]
    for row in sorted(rows, key=_by_lot)[:count]:
        item, given = items.get(row["work_id"]), donors.get(row["case_id"])
        try:
            if item is None or given is None:
                raise StoreError(
                    f"the {'plan' if item is None else 'case store'} has no row of it; expected one"
                )
            yield _compare(path, row, item, donor(given), sampler)
        except FactoryError as error:
            yield Redrawn(
                work_id=row["work_id"],
                case_id=row["case_id"],
                same_environment=False,
                same_voxels=False,
                mean_difference_hu=math.nan,
                error=str(error),
            )


def _compare(
    manifest: str,
    row: dict[str, Any],
    item: WorkItem,
    given: dict[str, Any],
    sampler: VolumeSampler,
) -> Redrawn:
    prepared = sampler.prepare(item, given)
    hu = sampler.sample(prepared, row["seed"])
    standing = read_row(manifest, row).ct
    apart = np.abs(hu.astype(np.int32) - standing.astype(np.int32))[prepared.given.drawn]
    return Redrawn(
        work_id=item.work_id,
        case_id=item.case_id,
        same_environment=sampler.surroundings["env_fingerprint"] == row["env_fingerprint"],
        same_voxels=sha256_of_voxels(hu) == row["image_sha256"],
        mean_difference_hu=float(apart.mean()),
    )


def _settings(lake: Lake, device: str) -> SamplerSettings:
    identity: dict[str, Any] = lake.identity() or {}
    if "config" not in identity:
        raise StoreError(
            f"lake {lake.url}: its dataset.json has no `config`; expected what lakes of this release "
            "say of how they were made. It can be verified, but not drawn again."
        )
    said = identity["settings"]
    config = read_table(GenerateConfig, identity["config"], f"lake {lake.url}: dataset.json config")
    return SamplerSettings(
        lake_url=lake.url,
        cases_url=identity["cases"],
        model=identity["model"],
        model_digest=said.get("model", ""),
        nodules=identity["nodules"],
        layouts=identity.get("layouts", ""),
        bank_digest=said["bank"],
        steps=said.get("steps", 0),
        seed=said["seed"],
        config=config,
        device=device if config.traits.needs_model else "cpu",
        run_id="regenerate",
    )


def _by_lot(row: dict[str, Any]) -> str:
    return hashlib.sha256(f"regenerate {row['work_id']}".encode()).hexdigest()
