"""The product: plan, run, reconcile, publish.

plan       cases + model (where one draws) + ratio --> plan.parquet, dataset.json         written once
run        items without a commit --> Ray Data --> pool of Sampler actors --> commits/
publish    plan ⟕ commits ⟕ quarantine --> manifest.parquet, quarantine.parquet
"""

import uuid
from dataclasses import replace
from pathlib import Path

from factory.counted import counted
from factory.errors import UsageError
from factory.lake import Lake
from jobs import arrow_memory
from jobs.amount import Amount
from jobs.cases import CaseStore, open_case_store
from jobs.cluster import Cluster, connect
from jobs.console import say
from jobs.generate.actors import NumActors, check_gpus_per_actor, pool_for
from jobs.generate.claim import check_claim, claim_for, keep_plan, write_claim
from jobs.generate.config import GenerateConfig
from jobs.generate.model import check_loop, open_model
from jobs.generate.nodules import check_donors, read_nodules
from jobs.generate.plan import PlanSettings, WorkItem, plan_items
from jobs.generate.pool import run_pool
from jobs.generate.publish import GenerateResult, publish
from jobs.generate.settings import SamplerSettings
from jobs.generate.tally import tally
from jobs.layouts.given import GivenLayouts, find_layouts
from jobs.quarantine import give_up
from models.card import ModelCard
from models.engine import computes_in_bfloat16

EVERY_CLASS = "all"
"""What `--retry-quarantined` asks for: no class of error in particular."""


@arrow_memory.from_the_system()
def generate(
    cases: str | Path,
    model: str | Path | None,
    out: str | Path,
    amount: Amount,
    config: GenerateConfig,
    *,
    seed: int = 0,
    nodules: Path | None = None,
    layouts: Path | None = None,
    actors: NumActors | None = None,
    num_gpus_per_actor: float = 1.0,
    device: str = "auto",
    retry_quarantined: str | None = None,
    ray_address: str | None = None,
) -> GenerateResult:
    """Draw synthetic volumes of the training cases into a lake; run again, it goes on.

    Args:
        cases: Case store, a path or an fsspec URL.
        model: Run of `factory train`, or a checkpoint folder; None for a synthesizer that runs none.
        out: Lake, made, gone on with, or extended where more is asked for.
        amount: How many volumes.
        config: How.
        seed: Run seed; another seed draws other volumes of the same cases.
        nodules: Bank of nodule shapes for cases that have none, or crops for a synthesizer that pastes
            them; None takes the embedded shapes.
        layouts: Folder of `factory layouts` to draw after, edited or not; None takes the nodules of
            each case, or places some.
        actors: Sampler actors; None takes one a GPU, or one a thread's CPUs.
        num_gpus_per_actor: A whole number, or a share such as 0.5.
        device: `auto`, `cpu` or `cuda`.
        retry_quarantined: Class of error, as in `quarantine.parquet`, whose items are tried again,
            or `all`.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: The plan cannot be made, the lake holds another one, or nothing was left.
    """
    check_gpus_per_actor(num_gpus_per_actor)
    store = open_case_store(cases)
    checkpoint, card = _opened(model, config, store)
    drawn_with = read_nodules(nodules or "", config)
    check_donors(drawn_with, store.rows)
    shared = _shared(card, config, drawn_with.digest, seed)
    rows, lake = store.training_rows(), Lake(out)
    given = find_layouts(layouts, rows, store) if layouts else None
    items = plan_items(rows, shared, amount.of(len(rows)), given.by_case if given else None)
    bank = str(nodules.resolve()) if nodules else ""
    claim = claim_for(items, shared, store, amount, model=checkpoint, nodules=bank, layouts=given)
    check_claim(lake, claim, items)
    todo, num_given_up = _todo(lake, items, retry_quarantined)
    run_id = uuid.uuid4().hex

    def begin() -> None:
        """Write to the lake, once all that can be refused has been looked at."""
        write_claim(lake, claim, items)
        _tell_of_layouts(lake, given, len(rows), run_id)

    if todo:
        settings = SamplerSettings(
            lake_url=lake.url,
            cases_url=store.url,
            model=checkpoint,
            model_digest=shared.model_digest,
            nodules=bank,
            bank_digest=shared.bank_digest,
            layouts=given.folder if given else "",
            steps=shared.steps,
            seed=seed,
            config=config,
            device=device,
            run_id=run_id,
        )
        with connect(ray_address) as cluster:
            settings = replace(settings, device=_device(cluster, device, config))
            use_gpu, num_gpus = settings.device == "cuda", num_gpus_per_actor
            pool = pool_for(cluster, config, actors, len(todo), use_gpu=use_gpu, num_gpus=num_gpus)
            begin()
            say(f"generate: {pool}")
            counts = {"planned": len(items), "todo": len(todo), "quarantined": num_given_up}
            with tally(lake, run_id=run_id, **counts) as tallied:
                run_pool(settings, todo, store, pool, tallied)
    else:
        begin()
    result = publish(lake, lambda: keep_plan(lake, claim, items), store)
    num_refused = len(given.refused) if given else 0
    return replace(result, num_quarantined=result.num_quarantined + num_refused)


def _tell_of_layouts(lake: Lake, given: GivenLayouts | None, num_donors: int, run_id: str) -> None:
    """Record the layouts that were refused, and say what else is not drawn after."""
    if given is None:
        return
    quarantined = lake.quarantined_ids()
    found = {f"{case}.{one.made_id}" for case, all_ in given.by_case.items() for one in all_}
    lake.release(quarantined & found)
    for item, problem in given.refused.items():
        give_up(lake, item, problem.case_id, "layout", problem, run_id=run_id)
        say(f"refused: {problem}")
    for file in given.unknown:
        say(
            f"warning: {file} was left out: it is none of the layouts; save an edited one under its own name"
        )
    if missing := num_donors - len(given.by_case):
        say(
            f"warning: {missing} of {counted(num_donors, 'training case')} without a layout, not drawn after"
        )


def _device(cluster: Cluster, asked: str, config: GenerateConfig) -> str:
    """Return where the actors compute, `cpu` or `cuda`.

    Raises:
        UsageError: This machine's CPU does not compute in the precision that was asked for.
    """
    if not config.traits.needs_model:
        return "cpu"
    device = "cuda" if cluster.use_gpu(asked) else "cpu"
    here = device == "cpu" and cluster.is_local
    if here and config.precision == "bfloat16" and not computes_in_bfloat16(device):
        raise UsageError(
            "--precision bfloat16: this CPU has no bfloat16 arithmetic (AVX512-BF16 or AMX on x86, BF16 "
            "on Arm); expected a device that has. Take --precision float32."
        )
    return device


def _opened(
    model: str | Path | None, config: GenerateConfig, store: CaseStore
) -> tuple[str, ModelCard | None]:
    """Return the checkpoint and its card; nothing for a synthesizer that runs no model.

    Raises:
        UsageError: There is a model where none is run, or none where one is.
        FactoryError: It cannot be read, or does not fit the cases or the recipe.
    """
    if config.traits.needs_model:
        if model is None:
            raise UsageError(
                f"--model: found none, and {config.synthesizer} runs a network; expected a run, a "
                "checkpoint or the name of a model that ships. Name one."
            )
        checkpoint, card = open_model(model, store)
        check_loop(checkpoint, card, config)
        return checkpoint, card
    if model is not None:
        raise UsageError(
            f"--model {model}: {config.synthesizer} runs no network; expected no model. Leave it away, or "
            "take a recipe of another synthesizer."
        )
    return "", None


def _shared(
    card: ModelCard | None, config: GenerateConfig, bank_digest: str, seed: int
) -> PlanSettings:
    total = card.schedule.num_steps if card else 0
    if card and config.steps > total:
        raise UsageError(
            f"--steps, or steps of the recipe, is {config.steps}: the model's schedule has {total}; "
            f"expected 1 to {total}. Ask for fewer."
        )
    return PlanSettings(
        model_digest=card.digest if card else "",
        steps=config.num_steps(total) if card else 0,
        config=config,
        bank_digest=bank_digest,
        seed=seed,
    )


def _todo(
    lake: Lake, items: list[WorkItem], retry_quarantined: str | None
) -> tuple[list[WorkItem], int]:
    """Return the items to draw, those neither committed nor given up for good, and how many are that.

    What a full disk, a killed actor or a bug gave up is tried again by itself.
    """
    records = lake.quarantined()
    again = [
        record["item_id"]
        for record in records
        if record["retriable"] or retry_quarantined in (EVERY_CLASS, record["error_class"])
    ]
    lake.release(again)
    if retry_quarantined and not again:
        flag = "--retry-quarantined"
        if retry_quarantined != EVERY_CLASS:
            flag = f"--retry-class {retry_quarantined}"
        classes = sorted({record["error_class"] for record in records})
        found = ", ".join(classes) or "nothing in quarantine"
        say(f"warning: {flag}: found {found}; nothing is tried again")
    committed = lake.committed_ids()
    given_up = lake.quarantined_ids() - committed
    todo = [item for item in items if item.work_id not in committed | given_up]
    if len(todo) < len(items):
        done = sum(item.work_id in committed for item in items)
        say(f"resuming: {done} of {counted(len(items), 'item')} done, {len(todo)} to draw")
    return todo, sum(item.work_id in given_up for item in items)
