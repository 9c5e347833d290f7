"""New layouts by rule, for every case of a store.

case store --> Ray task a case: lung map -> layouts -> NIfTI, preview, commit --> layouts.parquet
                                no room, or a bad case -> quarantine          --> quarantine.parquet
"""

import uuid
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.counted import counted
from factory.errors import CaseError, FactoryError, StoreError, UsageError
from factory.lake import QUARANTINE, Lake
from factory.nodules.bank import embedded_bank, load_bank
from factory.nodules.diameters import diameters_of
from factory.nodules.rules import ALGORITHM, LayoutsConfig
from jobs.cases import CaseStore, open_case_store
from jobs.claims import differences, names_in
from jobs.cluster import connect, run_tasks
from jobs.console import progress, say
from jobs.layouts.edits import is_edited
from jobs.layouts.table import KIND, LAYOUTS_SCHEMA, TABLE
from jobs.layouts.task import STAGE, LayoutsTask, Row, committed_rows, lay_out_case
from jobs.quarantine import give_up, publish_quarantine
from manifests.write import write_table

FORMAT = 1


@dataclass(frozen=True, slots=True)
class LayoutsResult:
    """What a run left in the folder."""

    table: str
    num_cases: int
    num_layouts: int
    num_edited: int
    """Of them, those whose files are no longer as they were made."""
    num_more: int
    """Of them, those of this run's cases that are more than it asked for, of a run that asked for more."""
    num_by_attachment: dict[str, int]
    num_missing: int
    """Nodules without room, in layouts that have others."""
    num_quarantined: int
    """Cases and layouts that were given up."""


def layouts(
    cases: str | Path,
    out: Path,
    config: LayoutsConfig,
    *,
    per_case: int = 4,
    seed: int = 0,
    nodules: Path | None = None,
    lobes: Path | None = None,
    split: str = "train",
    only: Sequence[str] = (),
    ray_address: str | None = None,
) -> LayoutsResult:
    """Make new layouts for the cases of a store; run again, it does what is missing.

    A file that was edited is never written over.

    Args:
        cases: Case store, a path or a URL.
        out: Folder of layouts, made or extended; all nodes see it.
        config: The rules.
        per_case: Layouts of each case.
        seed: Run seed; another seed makes other layouts.
        nodules: Bank of nodule shapes; None takes the embedded one.
        lobes: Folder of lobe masks, one folder a case; None takes thirds of each lung.
        split: `train`, or `all` for cases of every split.
        only: Case ids; empty for all.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: The store or the folder is not what is expected, or nothing was made.
    """
    store = open_case_store(cases)
    donors = _chosen(store, split, only)
    bank = load_bank(nodules) if nodules else embedded_bank()
    lake = Lake(out)
    task = LayoutsTask(
        cases_url=store.url,
        out=lake.url,
        nodules=str(nodules.resolve()) if nodules else "",
        bank_digest=bank.digest,
        diameters=diameters_of(config.diameters),
        config=config,
        seed=seed,
        per_case=per_case,
        lobes=str(lobes.resolve()) if lobes else "",
        run_id=uuid.uuid4().hex,
    )
    _claim(lake, task)
    _lay_out_all(donors, task, lake, ray_address)
    return _publish(lake, out, {donor["case_id"] for donor in donors}, per_case)


def _chosen(store: CaseStore, split: str, only: Sequence[str]) -> list[Row]:
    """Return the rows of the cases that are asked for."""
    rows = store.rows if split == "all" else store.training_rows()
    if not only:
        return rows
    if unknown := sorted(set(only) - {row["case_id"] for row in rows}):
        where = "" if split == "all" else " of the training split, or --split all"
        raise UsageError(
            f"--case {unknown[0]}: found no such case in {store.url}; expected a case_id{where}. Correct "
            "it."
        )
    return [row for row in rows if row["case_id"] in only]


def _claim(lake: Lake, task: LayoutsTask) -> None:
    """Make the folder this task's, or refuse: one folder has layouts of one set of rules."""
    if lake.identity() is None:
        _check_empty(lake)
    wanted: dict[str, Any] = {
        "kind": KIND,
        "format": FORMAT,
        "algorithm": ALGORITHM,
        "layouts": asdict(task.config),
        "bank": task.bank_digest,
        "diameters": task.diameters.digest,
        "seed": task.seed,
        "zones": "lobes" if task.lobes else "thirds",
    }
    found = lake.claim(wanted)
    if changed := differences(found, wanted):
        raise StoreError(
            f"layouts {lake.url}: made with other settings ({'; '.join(changed)}); expected the same. "
            "Choose another --out, or repeat what they were made with."
        )


def _check_empty(lake: Lake) -> None:
    """Refuse a folder of somebody's own files."""
    if names := names_in(lake.storage):
        raise StoreError(
            f"--out {lake.url}: found {counted(len(names), 'file or folder', 'files or folders')} of no layouts, as {names[0]}; "
            "expected layouts, an empty folder or none. Choose another --out."
        )


def _lay_out_all(donors: list[Row], task: LayoutsTask, lake: Lake, ray_address: str | None) -> None:
    with connect(ray_address) as cluster, progress("layouts", len(donors)) as tracker:
        calls = ((donor, task) for donor in donors)
        ended = run_tasks(lay_out_case, calls, window=2 * max(1, int(cluster.num_cpus)))
        given_up = 0
        for done, ((donor, _), outcome) in enumerate(ended, start=1):
            problems = outcome
            if isinstance(outcome, Exception):
                problems = [_lost(lake, donor["case_id"], outcome, task.run_id)]
            for problem in problems:
                given_up += 1
                say(f"quarantined: {problem}")
            tracker.update(done, f"{given_up} quarantined")


def _lost(lake: Lake, case_id: str, error: Exception, run_id: str) -> str:
    """Record a case whose task Ray could not bring to its end; return what is said of it."""
    reason = " ".join(str(error).split())[-300:]
    problem = CaseError(
        case_id,
        f"its task ended outside the case ({type(error).__name__}: {reason}); expected a node with enough "
        "memory that has this package and sees the folder. Mend it and run again.",
    )
    give_up(lake, case_id, case_id, STAGE, problem, run_id=run_id, retriable=True)
    return str(problem)


def _publish(lake: Lake, folder: Path, asked: Collection[str], per_case: int) -> LayoutsResult:
    """Write the table of all committed layouts, and the quarantine's.

    Args:
        lake: The folder.
        folder: Its path.
        asked: Cases of this run.
        per_case: Layouts of each that it asked for.
    """
    rows = [
        row for case_id in sorted(lake.committed_ids()) for row in committed_rows(lake, case_id)
    ]
    publish_quarantine(lake)
    num_quarantined = len(lake.quarantined_ids())
    if not rows:
        raise FactoryError(
            f"layouts {lake.url}: found no layout, and {counted(num_quarantined, 'case or layout', 'cases or layouts')} "
            f"quarantined; expected at least one layout. The reasons are above and in "
            f"{lake.storage.child(QUARANTINE)}."
        )
    write_table(pa.Table.from_pylist(rows, schema=LAYOUTS_SCHEMA), lake.storage.child(TABLE))
    placements = [placement for row in rows for placement in row["placements"]]
    return LayoutsResult(
        table=lake.storage.child(TABLE),
        num_cases=len({row["case_id"] for row in rows}),
        num_layouts=len(rows),
        num_edited=sum(is_edited(folder, row) for row in rows),
        num_more=sum(row["case_id"] in asked and row["layout_index"] >= per_case for row in rows),
        num_by_attachment=dict(Counter(placement["attachment"] for placement in placements)),
        num_missing=sum(len(row["missing"]) for row in rows),
        num_quarantined=num_quarantined,
    )
