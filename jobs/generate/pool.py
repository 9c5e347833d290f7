"""The pool of sampler actors, and the items that stream through it.

waves of items --from_items, few rows a block--> ActorPool[Sampler] --iter_rows--> small rows, as they end
"""

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from factory.errors import ClusterError
from jobs.cases import CaseStore
from jobs.generate.actor import Sampler
from jobs.generate.actors import Pool
from jobs.generate.plan import WorkItem
from jobs.generate.settings import SamplerSettings
from jobs.generate.tally import Tally

WAVE = 10_000
"""Items that Ray holds at once: its queue, and the driver's memory, end there."""

_BLOCKS, _BLOCKS_AN_ACTOR = 1_000, 40
"""Of a wave, at most, or more where there are many actors: each costs the driver memory, and an actor
that has the last one keeps the others waiting. A smaller run has a block for each item."""

_CALLS_AT_ONCE = 2
"""Of an actor: one item is on the device while another is read or written."""


def run_pool(
    settings: SamplerSettings, todo: Sequence[WorkItem], store: CaseStore, pool: Pool, tally: Tally
) -> None:
    """Draw items until each one is committed or quarantined.

    Args:
        settings: What an actor is built from.
        todo: Items that are neither yet.
        store: Case store of the donors.
        pool: Its size.
        tally: Told of every item.
    """
    for start in range(0, len(todo), WAVE):
        for row in stream(settings, todo[start : start + WAVE], store, pool):
            tally.take(row)


def stream(
    settings: SamplerSettings, todo: Sequence[WorkItem], store: CaseStore, pool: Pool
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
    # Ray names the column of plain items "item". Of a block whose actor died, what is committed is not
    # drawn again.
    texts = [json.dumps(content, separators=(",", ":")) for content in contents(todo, store)]
    dataset = ray.data.from_items(texts, override_num_blocks=num_blocks(len(texts), pool))
    del texts
    drawn = dataset.map_batches(
        Sampler,
        batch_size=1,
        fn_constructor_args=(settings,),
        # How many tasks wait at an actor is left to Ray: with fewer the pool would never grow.
        compute=ray.data.ActorPoolStrategy(
            min_size=min(pool.min_size, len(todo)),
            max_size=min(pool.max_size, len(todo)),
            max_concurrent_calls_per_actor=_CALLS_AT_ONCE,
            enable_true_multi_threading=True,
        ),
        num_cpus=pool.num_cpus,
        num_gpus=pool.num_gpus,
    )
    try:
        yield from drawn.iter_rows()
    except RayError as error:
        reason = told_by(error)
        raise ClusterError(
            f"the sampler pool ended ({type(error).__name__}: {reason}); expected every actor to load "
            "the model and go on. Mend the cause and run the same command again: finished volumes stay."
        ) from error


def num_blocks(num_items: int, pool: Pool) -> int:
    """Return how many blocks a wave is dealt out in."""
    return min(num_items, max(_BLOCKS, _BLOCKS_AN_ACTOR * pool.max_size))


def told_by(error: Exception) -> str:
    """Return the end of what an error of Ray tells, which is where the reason stands.

    Of an actor that could not start, the cause is there and says nothing.
    """
    told = (" ".join(str(text).split()) for text in (error.__cause__, error) if text is not None)
    return next(filter(None, told), "no reason given")[-300:]


def contents(todo: Sequence[WorkItem], store: CaseStore) -> Iterator[dict[str, Any]]:
    """Yield what `Sampler.draw` takes: an item, and what it needs of its donor's row."""
    donors = {row["case_id"]: donor(row) for row in store.training_rows()}
    for item in todo:
        yield {"work": asdict(item), "donor": donors[item.case_id]}


def donor(row: dict[str, Any]) -> dict[str, Any]:
    """Return what an actor needs of a donor's row: rows pass through Ray, so little of it."""
    keys = ("image_uri", "image_sha256", "layout_sha256", "shape", "spacing_mm", "affine")
    return {key: row[key] for key in keys}
