"""The pool of sampler actors, and the items that stream through it.

items --from_items, a row a block--> ActorPool[Sampler] --iter_rows--> small rows, as they end
"""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from factory.errors import ClusterError
from jobs.cases import CaseStore
from jobs.cluster import Cluster
from jobs.console import progress, say
from jobs.generate.actor import Sampler, SamplerSettings
from jobs.generate.config import GenerateConfig
from jobs.generate.plan import WorkItem


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Size of the pool, and what each actor reserves."""

    size: int
    num_cpus: float
    num_gpus: int


def run_pool(
    cluster: Cluster,
    settings: SamplerSettings,
    todo: list[WorkItem],
    store: CaseStore,
    actors: int | None,
) -> None:
    """Draw items until each one is committed or quarantined.

    Args:
        cluster: Where.
        settings: What an actor is built from.
        todo: Items that are neither yet.
        store: Case store of the donors.
        actors: Size of the pool; None takes one a GPU, or as many as the CPUs hold.
    """
    pool = pool_for(cluster, settings.config, actors, len(todo), use_gpu=settings.device == "cuda")
    say(f"generate: {pool.size} sampler actors, one {'GPU' if pool.num_gpus else 'CPU'} each")
    quarantined = 0
    with progress("generate", len(todo)) as tracker:
        for done, row in enumerate(stream(settings, todo, store, pool), start=1):
            if not row["committed"]:
                quarantined += 1
                say(f"quarantined: {row['problem']}")
            tracker.update(done, f"{quarantined} quarantined")


def pool_for(
    cluster: Cluster,
    config: GenerateConfig,
    actors: int | None,
    num_items: int,
    *,
    use_gpu: bool,
) -> Pool:
    """Return the pool for a number of items: all of it fits at once, for Ray waits otherwise."""
    if use_gpu:
        size = min(actors or int(cluster.num_gpus), num_items)
        if size > cluster.num_gpus:
            size = int(cluster.num_gpus)
            say(f"warning: --actors {actors}, but the cluster has {size} GPUs; one actor takes one")
        return Pool(size=size, num_cpus=1, num_gpus=1)
    size = min(actors or max(1, int(cluster.num_cpus) // config.num_threads), num_items)
    share = min(float(config.num_threads), cluster.num_cpus / size)
    return Pool(size=size, num_cpus=int(share * 100) / 100, num_gpus=0)


def stream(
    settings: SamplerSettings, todo: list[WorkItem], store: CaseStore, pool: Pool
) -> Iterator[dict[str, Any]]:
    """Stream items through the pool; yields the row of `Sampler.draw` as each one ends."""
    import ray.data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.actor_init_retry_on_errors = True
    context.max_errored_blocks = 0
    context.max_consecutive_actor_init_deaths = 5
    # A volume may take hours on a CPU, so a silent half hour is no sign of a hang.
    context.execution_no_progress_timeout_s = -1
    items = [{"item": json.dumps(content)} for content in contents(todo, store)]
    # One row a block: a crash then costs one item.
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Sampler,
        batch_size=1,
        fn_constructor_args=(settings,),
        compute=ray.data.ActorPoolStrategy(size=pool.size),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
    )
    try:
        yield from dataset.iter_rows()
    except RayError as error:
        reason = told_by(error)
        raise ClusterError(
            f"the sampler pool ended ({type(error).__name__}: {reason}); expected every actor to load "
            "the model and go on. Mend the cause and run the same command again: finished volumes stay."
        ) from error


def told_by(error: Exception) -> str:
    """Return the end of what an error of Ray tells, which is where the reason stands.

    Of an actor that could not start, the cause is there and says nothing.
    """
    told = (" ".join(str(text).split()) for text in (error.__cause__, error) if text is not None)
    return next(filter(None, told), "no reason given")[-300:]


def contents(todo: list[WorkItem], store: CaseStore) -> Iterator[dict[str, Any]]:
    """Yield what `Sampler.draw` takes: an item, and what it needs of its donor's row."""
    donors = {row["case_id"]: donor(row) for row in store.training_rows()}
    for item in todo:
        yield {"work": asdict(item), "donor": donors[item.case_id]}


def donor(row: dict[str, Any]) -> dict[str, Any]:
    """Return what an actor needs of a donor's row: rows pass through Ray, so little of it."""
    keys = ("image_uri", "image_sha256", "layout_sha256", "shape", "spacing_mm", "affine")
    return {key: row[key] for key in keys}
