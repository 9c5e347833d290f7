"""Cases through Ray Data, as many at once as there are cores and memory for.

inputs --by memory--> from_items, a case a block --map(ingest_case)--> outcomes, as they end
                                                          a stream that ends early --run_tasks--^
"""

import logging
import math
import pickle
import zlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from factory.counted import counted
from factory.ingest.prepare import IngestConfig
from factory.lake import Lake
from jobs.cluster import Cluster, run_tasks
from jobs.console import say
from jobs.ingest.inputs import Input
from jobs.ingest.task import LostError, Outcome, ingest_case, quarantine_case

How = tuple[IngestConfig, str, str]
"""Grid and field of view, run id, and how lungs that nobody drew are segmented."""

WAVE = 2_000
"""Cases that Ray holds at once; a case is the names of its files, some 10 kB."""

BYTES_PER_VOXEL = 30
"""Of an image file at a case's peak: 24 were measured where voxels are scaled, for then they are doubles."""

BYTES_PER_SERIES_VOXEL = 16
"""Of a DICOM series, which is decoded slice by slice: 10 were measured, and masks come on top."""

BYTES_OF_A_WORKER = 500 * 2**20
"""What a worker process takes before it has a scan; 360 MiB were measured."""


def stream(
    inputs: Sequence[Input], lake: Lake, how: How, cluster: Cluster
) -> Iterator[tuple[Input, Outcome]]:
    """Bring every input to an end; yields each as it does, in any order.

    Ray Data starts a task again whose worker died, without end; the task counts (see
    `ingest_case`). What the stream leaves open, because it broke down itself, is run as plain tasks.

    Args:
        inputs: To be made cases, each once.
        lake: Case store.
        how: Grid and field of view, run id, and how lungs are segmented.
        cluster: It runs on.
    """
    limit = _bytes_of_a_node()
    for memory, group in _by_memory(inputs, limit):
        for start in range(0, len(group), WAVE):
            wave = {given.source.case_id: given for given in group[start : start + WAVE]}
            yield from _ended(wave, lake, (lake.url, *how), memory, cluster)


def needed_bytes(given: Input) -> int:
    """Return what a scan takes while it is brought in, by the size that its header declares."""
    of_a_voxel = BYTES_PER_SERIES_VOXEL if given.source.series else BYTES_PER_VOXEL
    return BYTES_OF_A_WORKER + of_a_voxel * given.num_voxels


def _by_memory(inputs: Sequence[Input], limit: int) -> list[tuple[int, list[Input]]]:
    """Sort inputs into classes, each of twice the memory of the one before; the largest first.

    Args:
        inputs: With their declared sizes.
        limit: Bytes of the largest node: a task that asked for more would never start.
    """
    classes: dict[int, list[Input]] = defaultdict(list)
    for given in inputs:
        needed = 2 ** math.ceil(math.log2(needed_bytes(given)))
        classes[min(needed, limit)].append(given)
    return sorted(classes.items(), reverse=True)


def _bytes_of_a_node() -> int:
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = [node["Resources"].get("memory", 0.0) for node in nodes if node["Alive"]]
    return int(max(found, default=0.0))


def _ended(
    wave: Mapping[str, Input],
    lake: Lake,
    arguments: tuple[str, IngestConfig, str, str],
    memory: int,
    cluster: Cluster,
) -> Iterator[tuple[Input, Outcome]]:
    from ray.exceptions import RayError

    left = dict(wave)
    try:
        for row in _stream(list(wave.values()), arguments, memory):
            yield left.pop(row["case_id"]), Outcome(row["state"], row["problem"])
    except RayError as error:
        # Of blocks that a lost node held, say; what is bound to a case is in its row.
        say(
            f"warning: Ray Data ended early ({type(error).__name__}); {counted(len(left), 'case')} left for plain "
            "tasks"
        )
    calls = ((given.source, *arguments) for given in left.values())
    window = 2 * max(1, int(cluster.num_cpus))
    for (source, *_), ended in run_tasks(ingest_case, calls, window=window):
        if isinstance(ended, Exception):
            lost = _lost(source.case_id, ended)
            ended = quarantine_case(source, lake, lost, run_id=arguments[2])
        yield wave[source.case_id], ended


def _stream(
    inputs: list[Input], arguments: tuple[str, IngestConfig, str, str], memory: int
) -> Iterator[dict[str, Any]]:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0
    # A scan of a thousand slices on a slow disk is no sign of a hang.
    context.execution_no_progress_timeout_s = -1
    items = [{"source": _packed(given)} for given in inputs]
    # One case a block: a worker that dies then costs one case.
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map(
        _ingest_row,  # type: ignore[arg-type]  # annotated without `fn_args`
        fn_args=arguments,
        num_cpus=1,
        memory=memory or None,
    )
    yield from dataset.iter_rows()


def _ingest_row(
    row: dict[str, Any], lake_url: str, config: IngestConfig, run_id: str, lungs: str
) -> dict[str, Any]:
    source = pickle.loads(zlib.decompress(row["source"]))
    outcome = ingest_case(source, lake_url, config, run_id, lungs)
    return {"case_id": source.case_id, "state": outcome.state, "problem": outcome.problem}


def _packed(given: Input) -> bytes:
    """Return a case as bytes: hundreds of paths that differ in a digit or two."""
    return zlib.compress(pickle.dumps(given.source), 1)


def _lost(case_id: str, error: Exception) -> LostError:
    """Return what to say of a case whose task Ray could not bring to its end."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    if isinstance(error, OutOfMemoryError | WorkerCrashedError | NodeDiedError):
        return LostError(
            case_id,
            f"its worker process ended ({type(error).__name__}); expected it to finish. A scan larger "
            "than the memory does this: crop or downsample it.",
        )
    reason = " ".join(str(error).split())[-300:]
    return LostError(
        case_id,
        f"its task failed outside the case ({type(error).__name__}: {reason}); expected a node that "
        "has this package, and a store that can be written. Mend it and run again.",
    )
