"""A finished plan becomes a manifest.

plan ⟕ commits ⟕ quarantine, and the real rows of the case store --> manifest, quarantine
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from factory.counted import counted
from factory.errors import FactoryError
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs.cases import CaseStore
from jobs.console import say
from jobs.quarantine import publish_quarantine
from manifests.read import mix_of
from manifests.write import manifest_table, write_manifest

_ROWS_AT_ONCE = 500
"""Rows take ten times the memory before they are columns."""

_TRIES = 3
"""A driver that is still at work publishes at its own end."""

_READERS = 16
"""Commit markers that are read at once: over a network each takes its time."""


@dataclass(frozen=True, slots=True)
class GenerateResult:
    """What a run left in the lake."""

    manifest: str
    num_real: int
    num_synthetic: int
    num_rejected: int
    """Of the synthetic ones: by quality control, and out of every mix that is made of the lake."""
    num_quarantined: int
    synthetic_fraction: float


def publish(
    lake: Lake, standing_plan: Callable[[], Sequence[str]], store: CaseStore
) -> GenerateResult:
    """Write the manifest and the quarantine of what the plan has become.

    Args:
        lake: The lake.
        standing_plan: Returns the work ids of the plan that stands.
        store: Case store of the donors, whose rows are the real ones.

    Raises:
        FactoryError: Nothing of it was drawn.
    """
    for _ in range(_TRIES):
        planned = standing_plan()
        result = _publish_once(lake, planned, store)
        # Another driver may have published more in between, and this one less over it.
        drawn = result.num_synthetic
        if len(lake.committed_ids() & set(planned)) == drawn and standing_plan() == planned:
            break
    return result


def _publish_once(lake: Lake, planned: Sequence[str], store: CaseStore) -> GenerateResult:
    committed, given_up = lake.committed_ids(), lake.quarantined_ids()
    lake.release(given_up & committed)
    quarantined = (given_up & set(planned)) - committed
    publish_quarantine(lake)
    drawn = [work_id for work_id in planned if work_id in committed]
    if planned and not drawn:
        raise _nothing_drawn(lake, len(planned), len(quarantined))
    manifest = lake.storage.child(MANIFEST)
    synthetic = _synthetic_table(lake, drawn)
    mixed = pa.concat_tables([manifest_table(_real_rows(store)), synthetic])
    write_manifest(mixed, manifest)
    # Last: until then the manifest of an earlier run may name what is swept.
    uris = zip(synthetic["work_id"].to_pylist(), synthetic["image_uri"].to_pylist(), strict=True)
    lake.sweep(dict(uris))
    verdicts = Counter(synthetic["qc_verdict"].to_pylist())
    _warn(planned, quarantined, synthetic.num_rows, verdicts)
    mix = mix_of(mixed)
    return GenerateResult(
        manifest=manifest,
        num_real=mix.num_real,
        num_synthetic=mix.num_synthetic,
        num_rejected=verdicts["reject"],
        num_quarantined=len(quarantined),
        synthetic_fraction=mix.synthetic_fraction or 0.0,
    )


def _nothing_drawn(lake: Lake, num_planned: int, num_quarantined: int) -> FactoryError:
    if num_quarantined < num_planned:
        return FactoryError(
            f"lake {lake.url}: none of {counted(num_planned, 'item')} was drawn, and {num_planned - num_quarantined} "
            "to do; expected at least one volume. Mend what is told above and run the same command "
            "again."
        )
    return FactoryError(
        f"lake {lake.url}: nothing left of {counted(num_quarantined, 'item')}, all quarantined; expected at least one "
        f"volume. The reasons are above and in {lake.storage.child(QUARANTINE)}."
    )


def _synthetic_table(lake: Lake, work_ids: Sequence[str]) -> pa.Table:
    tables = [manifest_table([])]
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(work_ids), _ROWS_AT_ONCE):
            rows = pool.map(lake.committed_row, work_ids[start : start + _ROWS_AT_ONCE])
            tables.append(manifest_table([_typed(row) for row in rows]))
    return pa.concat_tables(tables)


def _typed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "created_at": datetime.fromisoformat(row["created_at"])}


def _warn(
    planned: Sequence[str], quarantined: set[str], num_synthetic: int, verdicts: Counter[str]
) -> None:
    if quarantined:
        say(
            f"warning: {len(quarantined)} of {counted(len(planned), 'planned volume')} missing from the mix"
        )
    missing = len(planned) - len(quarantined) - num_synthetic
    if missing:
        say(
            f"warning: {missing} of {counted(len(planned), 'planned volume')} still to come, from another run"
        )
    for verdict, told in (("review", "to be reviewed"), ("reject", "rejected, and in no mix")):
        if num := verdicts[verdict]:
            of_all = f"{num:,} of {counted(num_synthetic, 'volume')}"
            say(f"warning: {of_all} {told}; qc_reasons in the manifest says why")


def _real_rows(store: CaseStore) -> Iterator[dict[str, Any]]:
    """Yield the real rows with URIs that hold from the lake."""
    for row in store.rows:
        uris = {key: f"{store.url}/{row[key]}" for key in ("image_uri", "layout_uri")}
        yield {**row, **uris}
