"""The pool of measurers, and the volumes that stream through it.

items --from_items, a row a block--> ActorPool[Measurer] --iter_rows--> small rows, as they end
"""

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from factory.errors import ClusterError
from jobs.cluster import Cluster
from jobs.evaluate.given import Item
from jobs.evaluate.measure import Measurer, MeasureSettings

WAVE = 5_000
"""Volumes that Ray holds at once; of each it holds a row of some 10 kB."""


def content_of(item: Item, kept_as: str) -> dict[str, Any]:
    """Return what `Measurer.measure` takes of an item."""
    return {"key": item.key(kept_as), "row": dict(item.row), "donor": item.donor}


def stream(
    items: Sequence[Item],
    settings: MeasureSettings,
    cluster: Cluster,
    measurer: type = Measurer,
) -> Iterator[dict[str, Any]]:
    """Measure volumes on the cluster; yields the row of its `measure` as each one ends.

    Args:
        items: Volumes, each once.
        settings: What a measurer is built from.
        cluster: It runs on; a measurer takes a CPU, or a GPU.
        measurer: `Measurer`, or another class that is built and called like it.

    Raises:
        ClusterError: The pool ended before its work.
    """
    for start in range(0, len(items), WAVE):
        yield from _wave(items[start : start + WAVE], settings, cluster, measurer)


def _wave(
    items: Sequence[Item], settings: MeasureSettings, cluster: Cluster, measurer: type
) -> Iterator[dict[str, Any]]:
    import ray.data
    from ray.exceptions import RayError

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.actor_init_retry_on_errors = True
    context.max_errored_blocks = 0
    context.max_consecutive_actor_init_deaths = 3
    context.execution_no_progress_timeout_s = -1
    use_gpu = settings.device == "cuda"
    size = max(1, min(int(cluster.num_gpus if use_gpu else cluster.num_cpus), len(items)))
    rows = [{"item": json.dumps(content_of(item, settings.kept_as))} for item in items]
    # One volume a block: a worker that dies then costs one volume.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        measurer,
        batch_size=1,
        fn_constructor_args=(settings,),
        compute=ray.data.ActorPoolStrategy(size=size),
        num_cpus=1,
        num_gpus=1 if use_gpu else 0,
    )
    try:
        yield from dataset.iter_rows()
    except RayError as error:
        told = " ".join(str(error.__cause__ or error).split())[-300:]
        raise ClusterError(
            f"the measurers ended ({type(error).__name__}: {told}); expected every one to load the "
            "extractor and go on. Mend the cause and run the same command again: what was measured stays."
        ) from error
