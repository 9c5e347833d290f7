"""The product: plan, run, reconcile, publish.

plan       cases + model + ratio --> plan.parquet, dataset.json         written once
run        items without a commit --> Ray Data --> pool of Sampler actors --> commits/
publish    plan ⟕ commits ⟕ quarantine --> manifest.parquet, quarantine.parquet
"""

import uuid
from pathlib import Path
from typing import cast

from factory.errors import ModelError, StoreError, UsageError
from factory.lake import PLAN, Lake
from factory.nodules.bank import embedded_bank, load_bank
from jobs.amount import Amount
from jobs.cases import CaseStore, open_case_store
from jobs.claims import differences
from jobs.cluster import connect
from jobs.console import say
from jobs.generate.actor import SamplerSettings
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import PlanSettings, WorkItem, plan_id, plan_items, plan_rows
from jobs.generate.pool import run_pool
from jobs.generate.publish import GenerateResult, publish
from manifests.schema import PLAN_SCHEMA
from manifests.write import write_table
from models.card import CARD_NAME, ModelCard, read_model_card

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
    checkpoint, card = _open_model(model, store)
    shared = _shared(card, config, nodules, seed)
    items = plan_items(store.training_rows(), shared, _count(store, amount))
    lake = Lake(out)
    _claim(lake, items, shared, store, amount)
    if retry_quarantined:
        lake.release(lake.quarantined_ids())
    todo = _todo(lake, items)
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
                hu_window=shared.hu_window,
                config=config,
                device="cuda" if cluster.use_gpu(device) else "cpu",
                run_id=uuid.uuid4().hex,
            )
            run_pool(cluster, settings, todo, store, actors)
    return publish(lake, items, store)


def _open_model(model: Path, store: CaseStore) -> tuple[Path, ModelCard]:
    checkpoint = (model if (model / CARD_NAME).exists() else model / "model").resolve()
    if not checkpoint.exists():
        raise ModelError(
            f"model {model}: found no {CARD_NAME} there or in {model / 'model'}; expected a run of "
            "`factory train` that reached its last step, or a checkpoint. Train first, or name it "
            "with --model."
        )
    card = read_model_card(checkpoint)
    if card.unet.grid != store.grid:
        raise ModelError(
            f"model {model}: its grid is {card.unet.grid}^3, but case store {store.url} has "
            f"{store.grid}^3; expected one grid. Ingest with --grid {card.unet.grid}, or train on "
            "these cases."
        )
    return checkpoint, card


def _shared(
    card: ModelCard, config: GenerateConfig, nodules: Path | None, seed: int
) -> PlanSettings:
    total = card.schedule.num_steps
    if config.steps > total:
        raise UsageError(
            f"--steps {config.steps}: the model's schedule has {total}; expected 1 to {total}. Ask for "
            "fewer."
        )
    bank = load_bank(nodules) if nodules else embedded_bank()
    return PlanSettings(
        model_digest=card.digest,
        steps=config.steps or total,
        config=config,
        bank_digest=bank.digest,
        seed=seed,
        hu_window=_window(card),
    )


def _window(card: ModelCard) -> tuple[float, float]:
    low, high = cast("list[float]", card.preprocessing["hu_window"])
    return float(low), float(high)


def _count(store: CaseStore, amount: Amount) -> int:
    num_real = len(store.training_rows())
    if not num_real:
        raise StoreError(
            f"case store {store.url}: no case is in the training split; expected at least one. Ingest "
            "more patients."
        )
    return amount.of(num_real)


def _claim(
    lake: Lake, items: list[WorkItem], shared: PlanSettings, store: CaseStore, amount: Amount
) -> None:
    """Write the plan unless there is one, and refuse a lake that holds another."""
    wanted = {
        "kind": "lake",
        "format": FORMAT,
        "plan_id": plan_id(items),
        "planned": len(items),
        "asked": amount.given(),
        "settings": shared.as_json(),
        "cases": store.url,
    }
    found = lake.claim(wanted)
    if found.get("plan_id") != wanted["plan_id"]:
        compared = ("kind", "planned", "settings")
        was, now = ({key: side.get(key) for key in compared} for side in (found, wanted))
        changed = differences(was, now)
        raise StoreError(
            f"lake {lake.url}: holds another plan ({'; '.join(changed) or 'of other cases'}); "
            "expected the same cases, model, recipe and amount. Choose another --out, or repeat what "
            "the lake was made with."
        )
    if not lake.storage.exists(PLAN):
        import pyarrow as pa

        table = pa.Table.from_pylist(plan_rows(items), schema=PLAN_SCHEMA)
        write_table(table, lake.storage.child(PLAN))


def _todo(lake: Lake, items: list[WorkItem]) -> list[WorkItem]:
    ended = lake.committed_ids() | lake.quarantined_ids()
    todo = [item for item in items if item.work_id not in ended]
    if len(todo) < len(items):
        say(f"resuming: {len(items) - len(todo)} of {len(items)} items are done")
    return todo
