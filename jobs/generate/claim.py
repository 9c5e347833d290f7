"""Whose lake it is: the identity and the plan, written once and only ever made longer.

claim -> dataset.json            create-if-absent
items -> plan.parquet            a longer plan begins with the one that stands
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from factory.counted import counted
from factory.errors import StoreError
from factory.lake import IDENTITY, MANIFEST, PLAN, Lake
from jobs.amount import Amount
from jobs.cases import CaseStore
from jobs.claims import differences, names_in
from jobs.console import command_line, say
from jobs.generate.plan import PlanSettings, WorkItem, plan_id, plan_table
from jobs.layouts.given import GivenLayouts
from jobs.workspace import from_here
from manifests.errors import ManifestError
from manifests.read import read_table
from manifests.schema import PLAN_SCHEMA
from manifests.write import write_table

FORMAT = 2

_TRIES = 10
"""Of which each writes the plan or the identity, unless both stand."""

Identity = dict[str, Any]


def claim_for(
    items: Sequence[WorkItem],
    shared: PlanSettings,
    store: CaseStore,
    amount: Amount,
    *,
    model: str,
    nodules: str,
    layouts: GivenLayouts | None = None,
) -> Identity:
    """Return what `dataset.json` says of a lake with this plan.

    Args:
        items: The plan.
        shared: What its items share.
        store: Case store of the donors.
        amount: As asked for.
        model: Checkpoint, as a path or URL.
        nodules: Bank of nodule shapes; empty for the embedded one.
        layouts: What is drawn after; None for the cases' own nodules and placed ones.
    """
    return {
        "kind": "lake",
        "format": FORMAT,
        "plan_id": plan_id(items),
        "planned": len(items),
        "asked": amount.given(),
        "settings": {
            **shared.as_json(),
            "bank": shared.bank_digest,
            "placement": asdict(shared.config.placement),
            **({"layouts": layouts.digest} if layouts else {}),
        },
        "cases": store.url,
        "model": model,
        "nodules": nodules,
        **({"layouts": layouts.folder} if layouts else {}),
        "config": asdict(shared.config),
        "versions": {name: version(name) for name in ("ct-factory", "torch", "ray", "zarr")},
    }


def check_claim(lake: Lake, claim: Identity, items: Sequence[WorkItem]) -> None:
    """Refuse a lake that holds another plan, unless it is the beginning of this one.

    Raises:
        StoreError: It is of another model, recipe or other cases, or it holds more.
    """
    found = lake.identity()
    if found is None:
        _check_empty(lake)
        return
    _check_quality(lake, found, claim)
    if found.get("plan_id") == claim["plan_id"]:
        return
    if found.get("kind") != "lake":
        raise StoreError(
            f"--out {lake.url}: found a {found.get('kind')!s} folder; expected a lake, or none. Choose "
            "another --out."
        )
    planned = int(found.get("planned", 0))
    if planned < len(items) and plan_id(items[:planned]) == found["plan_id"]:
        return
    if planned > len(items) and standing_ids(lake)[: len(items)] == [i.work_id for i in items]:
        raise StoreError(
            f"lake {lake.url}: planned with {counted(planned, 'volume')}, and {len(items)} are asked for; expected no "
            f"fewer. {_fewer(lake, len(items))}"
        )
    was, now = ({key: side.get(key) for key in ("planned", "settings")} for side in (found, claim))
    changed = "; ".join(differences(was, now)) or "of other cases"
    raise StoreError(
        f"lake {lake.url}: holds another plan ({changed}); expected the same cases, model and recipe, "
        "and no fewer volumes. Choose another --out, or repeat what the lake was made with."
    )


def _fewer(lake: Lake, num: int) -> str:
    """Return how to come to fewer volumes than a lake was planned with."""
    if not lake.storage.exists(MANIFEST):
        return "It was not finished: repeat what it was made with, or choose another --out."
    flags = {"--count": num, "--out": f"mix-{num}.parquet"}
    mix = command_line("factory mix", from_here(lake.url), flags=flags)
    return f"For fewer of them: {mix}. Or repeat what the lake was made with."


def write_claim(lake: Lake, claim: Identity, items: Sequence[WorkItem]) -> None:
    """Write identity and plan, or make them longer; of two drivers one writes the identity.

    Raises:
        StoreError: As in `check_claim`: another driver was first.
    """
    found = lake.claim(claim)
    check_claim(lake, claim, items)
    if found["planned"] < len(items):
        say(
            f"extending: the lake was planned with {counted(found['planned'], 'volume')}, now {len(items)}"
        )
    keep_plan(lake, claim, items)


def keep_plan(lake: Lake, claim: Identity, items: Sequence[WorkItem]) -> list[str]:
    """Make identity and plan at least as long as these items; return the ids of the plan that stands.

    Another driver may have made them longer, or shorter: of two that extend at once, the one that
    asks for less may write last.

    Raises:
        StoreError: What was written is not what is read, again and again.
    """
    ids = [item.work_id for item in items]
    for _ in range(_TRIES):
        standing = standing_ids(lake)
        if standing[: len(ids)] != ids:
            write_table(plan_table(items), lake.storage.child(PLAN))
            continue
        found = lake.identity() or claim
        if found["planned"] >= len(ids):
            return standing
        # After the plan: until then the shorter one is what is promised.
        longer = {key: claim[key] for key in ("plan_id", "planned", "asked")}
        lake.storage.write_json(IDENTITY, found | longer)
    raise StoreError(
        f"lake {lake.url}: found another {PLAN} or {IDENTITY} than was just written, {_TRIES} times; "
        "expected what was written. Let one driver extend the lake at a time, and run again."
    )


def standing_ids(lake: Lake) -> list[str]:
    """Return the work ids of a lake's plan in its order; none where there is no whole one.

    Raises:
        ManifestError: There is one, and it cannot be read for now.
    """
    if not lake.storage.exists(PLAN):
        return []
    try:
        found: list[str] = read_table(lake.storage.child(PLAN), PLAN_SCHEMA)["work_id"].to_pylist()
    except ManifestError as error:
        # A network that is down must not make a plan look torn: it would be written over.
        if isinstance(error.__cause__, OSError):
            raise
        return []
    return found


def _check_empty(lake: Lake) -> None:
    """Refuse a folder of somebody's own files: patients' scans, say."""
    if names := names_in(lake.storage):
        raise StoreError(
            f"--out {lake.url}: found {counted(len(names), 'file or folder', 'files or folders')} of no lake, as {names[0]}; "
            "expected a lake, an empty folder or none. Choose another --out."
        )


def _check_quality(lake: Lake, found: Identity, claim: Identity) -> None:
    """Refuse other limits: they are in no work id, and verdicts of one lake must mean one thing."""
    asked = json.loads(json.dumps(claim["config"]["quality"]))
    stood = found.get("config", {}).get("quality", asked)
    if changed := differences(stood, asked, "generate.quality."):
        raise StoreError(
            f"lake {lake.url}: its volumes were judged by other limits ({'; '.join(changed)}); expected the "
            "same. Choose another --out, or repeat what the lake was made with."
        )
