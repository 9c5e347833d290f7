"""A finished plan becomes a manifest.

plan ⟕ commits ⟕ quarantine, and the real rows of the case store --> manifest, quarantine
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from factory.errors import FactoryError
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.cases import CaseStore
from jobs.console import say
from jobs.generate.plan import WorkItem
from jobs.quarantine import publish_quarantine
from manifests.read import mix_of
from manifests.write import write_manifest


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """What a run left in the lake."""

    manifest: str
    num_real: int
    num_synthetic: int
    num_quarantined: int
    synthetic_fraction: float


def publish(lake: Lake, items: list[WorkItem], store: CaseStore) -> GenerateResult:
    """Write the manifest and the quarantine of what the plan has become.

    Raises:
        FactoryError: All of it was quarantined.
    """
    committed = lake.committed_ids()
    rows = [lake.committed_row(item.work_id) for item in items if item.work_id in committed]
    quarantined = lake.quarantined_ids() - committed
    lake.release(lake.quarantined_ids() & committed)
    publish_quarantine(lake)
    if items and not rows:
        raise FactoryError(
            f"lake {lake.url}: all {len(quarantined)} items were quarantined; expected at least one "
            f"volume. The reasons are above and in {lake.storage.child(QUARANTINE)}."
        )
    manifest = lake.storage.child(MANIFEST)
    synthetic = [{**row, "created_at": datetime.fromisoformat(row["created_at"])} for row in rows]
    write_manifest([*_real_rows(store), *synthetic], manifest)
    # Last: until then the manifest of an earlier run may name what is swept.
    lake.sweep([row["work_id"] for row in rows])
    mix = mix_of(manifest)
    if quarantined:
        say(f"warning: {len(quarantined)} of {len(items)} planned volumes are missing from the mix")
    doubtful = sum(row["qc_verdict"] != "accept" for row in rows)
    if doubtful:
        say(f"warning: {doubtful} of {len(rows)} volumes are not accepted: see the qc_ columns")
    return GenerateResult(
        manifest=manifest,
        num_real=mix.num_real,
        num_synthetic=mix.num_synthetic,
        num_quarantined=len(quarantined),
        synthetic_fraction=mix.synthetic_fraction or 0.0,
    )


def _real_rows(store: CaseStore) -> Iterator[dict[str, Any]]:
    """Yield the real rows with URIs that hold from the lake."""
    for row in store.rows:
        uris = {key: f"{store.url}/{row[key]}" for key in ("image_uri", "layout_uri")}
        yield {**row, **uris}
