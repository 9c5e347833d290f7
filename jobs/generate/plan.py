"""Which volumes a lake shall hold: decided once, before any is drawn.

    training cases, in hash order, round after round --> items 0 .. S-1

So a smaller plan is the beginning of a larger one, and an item's id says everything
that changes one of its voxels.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from factory.digests import digest_json
from factory.nodules.place import placement_digest
from jobs.cases import digest_of
from jobs.generate.config import GenerateConfig
from manifests.schema import PLAN_SCHEMA

if TYPE_CHECKING:
    import pyarrow as pa

    from jobs.layouts.given import GivenLayout

ALGORITHM = 2
"""Part of every work id; raise it when a change of the code moves a voxel."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanSettings:
    """What all items of a plan share."""

    model_digest: str
    """Of weights, schedule and preprocessing; empty without a model."""
    steps: int
    """Reverse steps, as taken; 0 without a model."""
    config: GenerateConfig
    bank_digest: str
    """Of the nodules that are placed, with their HU where these are pasted."""
    seed: int
    """Of the run; `--seed`."""

    def as_json(self) -> dict[str, Any]:
        """Return what changes a voxel."""
        if not self.config.traits.needs_model:
            return self._without_model()
        return {
            "algorithm": ALGORITHM,
            "model": self.model_digest,
            "sampler": self.config.sampler,
            "steps": self.steps,
            "variant": self.config.variant,
            "blend": self.config.blend_taken,
            "clip_x0": self.config.clip_taken,
            "sigma": self.config.sigma if self.config.sampler == "ddpm" else "",
            "precision": self.config.precision,
            "compiled": self.config.compiled,
            "seed": self.seed,
            **self.config.as_asked(),
        }

    def _without_model(self) -> dict[str, Any]:
        pasted = {"bank": self.bank_digest} if self.config.traits.needs_crops else {}
        return {
            "algorithm": ALGORITHM,
            "seed": self.seed,
            **pasted,
            **self.config.as_asked(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkItem:
    """One volume to draw; a row of `plan.parquet`."""

    plan_index: int
    work_id: str
    case_id: str
    patient_id: str
    seed_index: int
    """How many volumes of the same case come before it."""
    seed: int
    """63 bits, from the work id; of the volume's noise."""
    layout_id: str
    layout_origin: str
    """`annotated`: the case's own nodules; `placed`: from the bank; `rule` or `edited`: from a file of
    `factory layouts`, as it was made or as a radiologist left it."""


def plan_items(
    rows: list[dict[str, Any]],
    shared: PlanSettings,
    count: int,
    layouts: "Mapping[str, Sequence[GivenLayout]] | None" = None,
) -> list[WorkItem]:
    """Plan `count` volumes over the training cases.

    Args:
        rows: Manifest rows of the training cases; their order does not matter.
        shared: What all items share.
        count: Volumes.
        layouts: Of each case, those to draw after, one a round and then from the first again; None
            draws after the nodules of the case, or places some. Cases without any are left out.
    """
    if layouts is not None:
        rows = [row for row in rows if layouts.get(row["case_id"])]
    donors = sorted(rows, key=lambda row: _hash("donor order", row["case_id"]))
    settings = shared.as_json()
    items = []
    for index in range(count):
        seed_index, place = divmod(index, len(donors))
        row = donors[place]
        given = layouts[row["case_id"]] if layouts else ()
        layout = given[seed_index % len(given)] if given else None
        items.append(_item(index, row, seed_index, shared, settings, layout))
    return items


def layout_seed(run_seed: int, case_id: str, seed_index: int) -> int:
    """Return the 63-bit seed of the nodules that an item places."""
    return int(_hash("layout", str(run_seed), case_id, str(seed_index))[:16], 16) >> 1


def redraw_seed(item: WorkItem, redraws: int) -> int:
    """Return the 63-bit seed of an item's draw after `redraws` that quality control rejected."""
    if not redraws:
        return item.seed
    return int(_hash("redraw", item.work_id, str(redraws))[:16], 16) >> 1


def plan_id(items: Sequence[WorkItem]) -> str:
    """Return the digest of which items a plan has."""
    return digest_json([item.work_id for item in items])


def _item(
    index: int,
    row: dict[str, Any],
    seed_index: int,
    shared: PlanSettings,
    settings: Mapping[str, Any],
    given: "GivenLayout | None",
) -> WorkItem:
    layout_id, origin = row["layout_id"], "annotated"
    if given:
        layout_id, origin = given.layout_id, given.origin
    elif not row["nodules"]:
        origin = "placed"
        layout_id = placement_digest(
            row["layout_sha256"],
            shared.bank_digest,
            shared.config.placement,
            layout_seed(shared.seed, row["case_id"], seed_index),
        )
    layout = given.sha256 if given else layout_id
    work_id = digest_json(
        {**settings, "case": digest_of(row), "layout": layout, "seed_index": seed_index}
    )
    return WorkItem(
        plan_index=index,
        work_id=work_id,
        case_id=row["case_id"],
        patient_id=row["patient_id"],
        seed_index=seed_index,
        seed=int(_hash("noise", work_id)[:16], 16) >> 1,
        layout_id=layout_id,
        layout_origin=origin,
    )


def plan_table(items: Sequence[WorkItem]) -> "pa.Table":
    """Return the rows of `plan.parquet`."""
    import pyarrow as pa

    columns = {name: [getattr(item, name) for item in items] for name in PLAN_SCHEMA.names}
    return pa.table(columns, schema=PLAN_SCHEMA)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
