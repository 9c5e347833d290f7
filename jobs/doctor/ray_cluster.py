"""Ray: whether it loads, and what the cluster has, or what one of this machine would take."""

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress

from factory.errors import ClusterError
from jobs import cluster
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, ok, problem, refused, warning
from jobs.doctor.machine import GIB, OBJECT_STORE_BYTES, usable_cpus

_FULL = 0.95
"""Of a disk: Ray starts no task beyond it."""

_VARIABLE = "RAY_ADDRESS"


def check(asked: Asked) -> Iterator[Finding]:
    """Look at Ray; no cluster is started."""
    try:
        import ray
    except (ImportError, OSError) as error:
        yield problem("ray", f"it does not load: {error}", "a Ray that loads", "Install it again.")
        return
    yield ok("ray", ray.__version__)
    if asked.ray_address:
        yield from _joined(asked.ray_address, asked.device)
        return
    if os.environ.get(_VARIABLE):
        yield warning(
            "ray address",
            f"{_VARIABLE} is set, and no --ray-address: a cluster of this machine would be started",
            "one that says which cluster is meant",
            f"Give --ray-address auto to join that cluster, or unset {_VARIABLE}.",
        )
    yield _local()
    yield _temporary_folder()


def _joined(address: str, device: str) -> Iterator[Finding]:
    try:
        with cluster.connect(address) as joined:
            gpus = ", ".join(f"{gpus:g}" for gpus in joined.gpus_by_node)
            yield ok(
                "ray cluster",
                f"{joined.num_cpus:g} CPUs and {joined.num_gpus:g} GPUs"
                + (f" (on its nodes {gpus})" if gpus else "")
                + " at "
                + address,
            )
            joined.use_gpu(device)
    except ClusterError as error:
        yield refused("ray cluster", error)


def _local() -> Finding:
    counted, usable = _cpus_that_ray_counts(), usable_cpus()
    taken = usable if counted is None else counted
    found = (
        f"none joined; an own one would take {taken:g} CPUs, the GPUs that torch sees, and "
        f"{OBJECT_STORE_BYTES / GIB:g} GiB of shared memory, and end with the command"
    )
    # Half a CPU over is how Ray rounds.
    if taken <= max(1.0, usable) + 0.5:
        return ok("ray cluster", found)
    return warning(
        "ray cluster",
        f"{found}; but this process may use {usable:g}",
        f"no more than {usable:g} CPUs",
        f"Start it yourself with ray start --head --num-cpus={max(1, int(usable))}, and give "
        "--ray-address auto.",
    )


def _cpus_that_ray_counts() -> float | None:
    """Return what `ray.init` takes by itself: not what an affinity or a batch system allows."""
    logger = logging.getLogger("ray")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        # There is no public name for it, and it may go.
        with suppress(ImportError, AttributeError, TypeError, ValueError):
            from ray._private.utils import get_num_cpus

            return float(get_num_cpus())
    finally:
        logger.setLevel(level)
    return None


def _temporary_folder() -> Finding:
    folder = tempfile.gettempdir()
    room = shutil.disk_usage(folder)
    full = (room.total - room.free) / room.total if room.total else 0.0
    found = f"{room.free / GIB:.1f} GiB free at {folder}, {full:.0%} full"
    expected = f"less than {_FULL:.0%} full: Ray keeps its logs and sockets there"
    if full < _FULL:
        return ok("temporary folder", found, expected)
    return warning(
        "temporary folder",
        found,
        expected,
        "Make room there, or set TMPDIR to a folder of a short path on another disk.",
    )
