"""What a container or a batch system lets this process take: control groups, version 1 and 2."""

from collections.abc import Iterator
from pathlib import Path

_UNLIMITED = 2**60
"""Version 1 has a number of about 2^63 for no limit."""


def cpu_limit(root: Path = Path("/")) -> float | None:
    """Return the CPUs that the tightest quota allows; None for no quota."""
    limits = [limit for limit in map(_cpus_of, _folders(root, "cpu")) if limit is not None]
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> tuple[int, int] | None:
    """Return bytes of the tightest limit and bytes left of it; None for no limit.

    Pages of files that can be dropped count as left.
    """
    found = [limit for limit in map(_memory_of, _folders(root, "memory")) if limit is not None]
    return min(found, key=lambda limit: limit[1], default=None)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's group and of all above it, of both versions."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and controller not in controllers.split(","):
            continue
        mounts = [controllers, controller] if controllers else ["", "unified"]
        for mount in mounts:
            base = root / "sys/fs/cgroup" / mount
            # A container sees the path of its host, and its own group at the mount itself.
            group = base / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(base))


def _cpus_of(folder: Path) -> float | None:
    quota, _, period = _text(folder / "cpu.max").strip().partition(" ")
    if not quota:
        quota = _text(folder / "cpu.cfs_quota_us").strip()
        period = _text(folder / "cpu.cfs_period_us").strip()
    if not (quota.isdecimal() and period.isdecimal() and int(period)):
        return None
    return int(quota) / int(period)


def _memory_of(folder: Path) -> tuple[int, int] | None:
    limit = _text(folder / "memory.max") or _text(folder / "memory.limit_in_bytes")
    used = _text(folder / "memory.current") or _text(folder / "memory.usage_in_bytes")
    if not limit.strip().isdecimal() or int(limit) >= _UNLIMITED:
        return None
    taken = int(used) if used.strip().isdecimal() else 0
    return int(limit), max(0, int(limit) - taken + _droppable(folder))


def _droppable(folder: Path) -> int:
    pairs = (line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines())
    figures = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}
    return int(figures.get("total_inactive_file", figures.get("inactive_file", "0")))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""
