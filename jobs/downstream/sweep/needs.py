"""What a run asks of the node that it is put on."""

import math
from dataclasses import dataclass
from typing import Any

from jobs.cluster import Cluster
from jobs.console import say
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.plan import Plan

BYTES_OF_A_WORKER = 900 * 2**20
"""Of a process with torch and MONAI, before it has a volume."""

BYTES_OF_A_CACHED_VOXEL = 3
"""int16 HU and a label."""

BYTES_OF_A_TRAINED_VOXEL = 1_600
"""Of one volume on its way through the default network and back, on a CPU; measured from 48^3 to 96^3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Needs:
    """Of one run, as Ray counts it."""

    num_cpus: int
    num_gpus: int
    memory: int
    """Bytes of the host's memory."""
    is_clamped: bool
    """Whether no node has as much as the estimate, so that all of the largest is asked for."""


def needs_of(
    cluster: Cluster, plan: Plan, config: DownstreamConfig, *, use_gpu: bool, limit: int
) -> Needs:
    """Return what a run takes: a GPU and CPUs that feed it, or one CPU; and memory.

    Args:
        cluster: It runs on.
        plan: Of the sweep.
        config: Of the runs.
        use_gpu: Whether a run takes a GPU; its own memory is then not counted.
        limit: Bytes that the largest node gives: a task that asked for more would never start.
    """
    estimate = estimated_bytes(plan, config, use_gpu=use_gpu)
    return Needs(
        num_cpus=_cpus_of_a_gpu(cluster, config) if use_gpu else 1,
        num_gpus=int(use_gpu),
        memory=min(estimate, limit),
        is_clamped=estimate > limit,
    )


def estimated_bytes(plan: Plan, config: DownstreamConfig, *, use_gpu: bool) -> int:
    """Return how much of the host's memory a run takes at its peak, for the default network."""
    largest = max(len(fold.real) + len(fold.synthetic) for fold in plan.folds)
    num_cached = min(config.num_cached, largest + len(plan.folds[0].test))
    voxels = math.prod(plan.folds[0].real[0]["shape"])
    of_a_voxel = BYTES_OF_A_CACHED_VOXEL * num_cached
    if not use_gpu:
        of_a_voxel += BYTES_OF_A_TRAINED_VOXEL
    return BYTES_OF_A_WORKER + of_a_voxel * voxels


def bytes_of_the_largest_node() -> int:
    """Return how much memory Ray gives tasks on the node that has most."""
    import ray

    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    found = [node["Resources"].get("memory", 0.0) for node in nodes if node["Alive"]]
    return int(max(found, default=0.0))


def tell_of_needs(needs: Needs) -> None:
    """Say what a run takes, and where no node has as much."""
    on = "a GPU, " if needs.num_gpus else ""
    say(
        f"downstream sweep: a run takes {on}{needs.num_cpus} CPU and about {needs.memory / 2**30:.1f} GiB of "
        "memory"
    )
    if needs.is_clamped:
        say(
            "warning: no node has the memory that a run of the default network takes; runs may be ended for "
            "it. Join a larger cluster with --ray-address, lower [downstream] num_cached, or ingest on a "
            "smaller grid."
        )


def _cpus_of_a_gpu(cluster: Cluster, config: DownstreamConfig) -> int:
    """Return a CPU for the run and one for each thread that loads, where each GPU has as many."""
    fair = int(cluster.num_cpus // max(1.0, cluster.num_gpus))
    return max(1, min(1 + config.num_loaders, fair))
