"""CPUs, memory, open files and shared memory: what a machine, or its container, has to give."""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from jobs.doctor.asked import Asked
from jobs.doctor.cgroup import cpu_limit, memory_limit
from jobs.doctor.finding import Finding, ok, problem, warning

GIB = 2**30

_ENOUGH_BYTES = 4 * GIB
_FEWEST_BYTES = 2 * GIB
_ENOUGH_FILES = 4096
"""Ray warns below it, and takes the hard limit for its own."""
_FEWEST_FILES = 1024
OBJECT_STORE_BYTES = 512 * 2**20
"""Of a local cluster, see `jobs.cluster`; it lies in shared memory."""

_SHARED_MEMORY = Path("/dev/shm")
_MEMORY_FIGURES = Path("/proc/meminfo")


def check(asked: Asked) -> Iterator[Finding]:
    """Look at what the operating system gives to this process."""
    yield ok("system", f"{platform.system()} {platform.release()} on {platform.machine()}")
    yield _cpus()
    yield _memory()
    yield _files()
    yield _shared_memory()


def usable_cpus() -> float:
    """Return the CPUs that this process may use: the machine's, its affinity's or its quota's."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(float(allowed or 1), cpu_limit() or float("inf"))


def memory_left() -> float:
    """Return the bytes that are free, of the machine or of its container; infinite where nobody tells."""
    total, left = _system_memory()
    limit = memory_limit()
    return min(float(left) if total else float("inf"), limit[1] if limit else float("inf"))


def _cpus() -> Finding:
    usable, there = usable_cpus(), os.cpu_count() or 1
    found = f"{usable:g} of {there} usable"
    if threads := os.environ.get("OMP_NUM_THREADS"):
        found += f", OMP_NUM_THREADS={threads}"
        if threads.isdecimal() and int(threads) > usable:
            return warning(
                "cpus",
                found,
                "no more threads than CPUs",
                f"Unset OMP_NUM_THREADS, or set it to {max(1, int(usable))}: threads beyond it wait "
                "for each other.",
            )
    return ok("cpus", found)


def _memory() -> Finding:
    total, free = _system_memory()
    found = f"{free / GIB:.1f} GiB free of {total / GIB:.1f} GiB"
    if limit := memory_limit():
        found += (
            f"; the container's limit of {limit[0] / GIB:.1f} GiB leaves {limit[1] / GIB:.1f} GiB"
        )
    elif not total:
        return ok("memory", "not told by this system")
    left = memory_left()
    expected = f"{_ENOUGH_BYTES / GIB:g} GiB free: for Ray, a driver and one sampler actor"
    if left >= _ENOUGH_BYTES:
        return ok("memory", found, expected)
    tell = warning if left >= _FEWEST_BYTES else problem
    return tell(
        "memory",
        found,
        expected,
        "End other programs, or raise the limit; or draw with fewer actors: --actors 1.",
    )


def _system_memory() -> tuple[int, int]:
    """Return bytes in all and available; zeros where the system does not tell."""
    try:
        text = _MEMORY_FIGURES.read_text(encoding="utf-8")
    except OSError:
        return 0, 0
    kib = {name: int(n) for name, n in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    return kib.get("MemTotal", 0) * 1024, kib.get("MemAvailable", 0) * 1024


def _files() -> Finding:
    try:
        import resource
    except ImportError:
        return ok("open files", "no limit that this system tells of")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = float("inf") if hard == resource.RLIM_INFINITY else hard
    found = f"{_shown(soft)}, and {_shown(hard)} at most"
    if most >= _ENOUGH_FILES:
        return ok("open files", found, f"{_ENOUGH_FILES} at most or more")
    tell = warning if most >= _FEWEST_FILES else problem
    return tell(
        "open files",
        found,
        f"{_ENOUGH_FILES} at most or more: Ray opens several a worker",
        "Raise the hard limit: LimitNOFILE of the service, --ulimit nofile=65536 of docker, or "
        "/etc/security/limits.conf.",
    )


def _shown(limit: int) -> str:
    return "unlimited" if limit < 0 or limit >= 2**62 else str(limit)


def _shared_memory() -> Finding:
    if not _SHARED_MEMORY.is_dir():
        return ok("shared memory", f"no {_SHARED_MEMORY}; Ray takes the temporary folder")
    room = shutil.disk_usage(_SHARED_MEMORY)
    found = f"{room.free / GIB:.2f} GiB free of {room.total / GIB:.2f} GiB at {_SHARED_MEMORY}"
    expected = f"{OBJECT_STORE_BYTES / GIB:g} GiB for Ray's objects"
    if room.free >= OBJECT_STORE_BYTES:
        return ok("shared memory", found, expected)
    return warning(
        "shared memory",
        found,
        expected,
        "Give the container more: --shm-size=1g of docker, or a volume in memory at /dev/shm on "
        "Kubernetes. Without it Ray keeps its objects on disk, and is slower.",
    )
