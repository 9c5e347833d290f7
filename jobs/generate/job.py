"""The product: plan, run, reconcile, publish.

plan       cases + model + ratio --> plan.parquet, dataset.json         written once
run        items without a commit --> Ray Data --> pool of Sampler actors --> commits/
publish    plan ⟕ commits ⟕ quarantine --> manifest.parquet, quarantine.parquet
"""

import uuid
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from factory.errors import StoreError, UsageError
from factory.lake import PLAN, Lake
from factory.nodules.bank import embedded_bank, load_bank
from jobs.amount import Amount
from jobs.cases import CaseStore, open_case_store
from jobs.claims import differences
from jobs.cluster import Cluster, connect
from jobs.console import say
from jobs.generate.actor import SamplerSettings
from jobs.generate.config import GenerateConfig
from jobs.generate.model import open_model
from jobs.generate.plan import PlanSettings, WorkItem, plan_id, plan_items, plan_rows
from jobs.generate.pool import run_pool
from jobs.generate.publish import GenerateResult, publish
from manifests.errors import ManifestError
from manifests.read import read_table
from manifests.schema import PLAN_SCHEMA
from manifests.write import write_table
from models.card import ModelCard
from models.engine import computes_in_bfloat16

FORMAT = 1


def generate(
    cases: Path,
    model: Path,
    out: Path,
    amount: Amount,
    config: GenerateConfig,
    *,
    seed: int = 0,
    nodules: Path | None = None,
    actors: int | None = None,
    device: str = "auto",
    retry_quarantined: bool = False,
    ray_address: str | None = None,
) -> GenerateResult:
    """Draw synthetic volumes of the training cases into a lake; run again, it goes on.

    Args:
        cases: Case store.
        model: Run of `factory train`, or a checkpoint folder.
        out: Lake, made or gone on with.
        amount: How many volumes.
        config: How.
        seed: Run seed; another seed draws other volumes of the same cases.
        nodules: Bank of nodule shapes for cases that have none; None takes the embedded one.
        actors: Sampler actors; None takes one a GPU, or one a thread's CPUs.
        device: `auto`, `cpu` or `cuda`.
        retry_quarantined: Try again what was given up.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: The plan cannot be made, the lake holds another one, or nothing was left.
    """
    store = open_case_store(cases)
    checkpoint, card = open_model(model, store)
    shared = _shared(card, config, nodules, seed)
    items = plan_items(store.training_rows(), shared, amount.of(len(store.training_rows())))
    lake = Lake(out)
    claim = _claim_for(items, shared, store, amount)
    _check(lake.identity(), claim, lake)
    todo = _todo(lake, items, retry_quarantined=retry_quarantined)
    if todo:
        with connect(ray_address) as cluster:
            settings = SamplerSettings(
                lake_url=lake.url,
                cases_url=store.url,
                model=str(checkpoint),
                model_digest=card.digest,
                nodules=str(nodules.resolve()) if nodules else "",
                steps=shared.steps,
                seed=seed,
                config=config,
                device=_device(cluster, device, config),
                run_id=uuid.uuid4().hex,
            )
            _write_plan(lake, claim, items)
            run_pool(cluster, settings, todo, store, actors)
    _write_plan(lake, claim, items)
    return publish(lake, items, store)


def _device(cluster: Cluster, asked: str, config: GenerateConfig) -> str:
    """Return where the actors compute, `cpu` or `cuda`.

    Raises:
        UsageError: This machine's CPU does not compute in the precision that was asked for.
    """
    device = "cuda" if cluster.use_gpu(asked) else "cpu"
    here = device == "cpu" and cluster.is_local
    if here and config.precision == "bfloat16" and not computes_in_bfloat16(device):
        raise UsageError(
            "--precision bfloat16: this CPU has no bfloat16 arithmetic (AVX512-BF16 or AMX on x86, BF16 "
            "on Arm); expected a device that has. Take --precision float32."
        )
    return device


def _shared(
    card: ModelCard, config: GenerateConfig, nodules: Path | None, seed: int
) -> PlanSettings:
    total = card.schedule.num_steps
    if config.steps > total:
        raise UsageError(
            f"--steps, or steps of the recipe, is {config.steps}: the model's schedule has {total}; "
            f"expected 1 to {total}. Ask for fewer."
        )
    bank = load_bank(nodules) if nodules else embedded_bank()
    return PlanSettings(
        model_digest=card.digest,
        steps=config.num_steps(total),
        config=config,
        bank_digest=bank.digest,
        seed=seed,
    )


def _claim_for(
    items: list[WorkItem], shared: PlanSettings, store: CaseStore, amount: Amount
) -> dict[str, Any]:
    """Return what `dataset.json` says of a lake with this plan."""
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
        },
        "cases": store.url,
        "versions": {name: version(name) for name in ("ct-factory", "torch", "ray", "zarr")},
    }


def _check(found: dict[str, Any] | None, claim: dict[str, Any], lake: Lake) -> None:
    """Refuse a lake that holds another plan."""
    if found is None or found.get("plan_id") == claim["plan_id"]:
        return
    compared = ("kind", "planned", "settings")
    was, now = ({key: side.get(key) for key in compared} for side in (found, claim))
    changed = "; ".join(differences(was, now)) or "of other cases"
    raise StoreError(
        f"lake {lake.url}: holds another plan ({changed}); expected the same cases, model, recipe and "
        "amount. Choose another --out, or repeat what the lake was made with."
    )


def _write_plan(lake: Lake, claim: dict[str, Any], items: list[WorkItem]) -> None:
    """Write identity and plan unless they are there; of two drivers, one writes the identity."""
    _check(lake.claim(claim), claim, lake)
    if not _plan_stands(lake, items):
        import pyarrow as pa

        table = pa.Table.from_pylist(plan_rows(items), schema=PLAN_SCHEMA)
        write_table(table, lake.storage.child(PLAN))


def _plan_stands(lake: Lake, items: list[WorkItem]) -> bool:
    try:
        found = read_table(lake.storage.child(PLAN), PLAN_SCHEMA)["work_id"].to_pylist()
    except ManifestError:
        return False
    return bool(found == [item.work_id for item in items])


def _todo(lake: Lake, items: list[WorkItem], *, retry_quarantined: bool) -> list[WorkItem]:
    """Return the items to draw: those that are not committed, nor given up for good.

    What a full disk, a killed actor or a bug gave up is tried again by itself.
    """
    again = [
        record["item_id"]
        for record in lake.quarantined()
        if retry_quarantined or record["retriable"]
    ]
    lake.release(again)
    committed, given_up = lake.committed_ids(), lake.quarantined_ids()
    todo = [item for item in items if item.work_id not in committed | given_up]
    if len(todo) < len(items):
        done = sum(item.work_id in committed for item in items)
        say(f"resuming: {done} of {len(items)} items are done, {len(todo)} to draw")
    return todo
