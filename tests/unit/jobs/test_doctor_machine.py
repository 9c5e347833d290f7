"""What a machine gives, and what a container or a batch system takes away again."""

import resource
from collections import namedtuple
from pathlib import Path

import pytest

from jobs import cluster
from jobs.doctor import machine
from jobs.doctor.asked import Asked
from jobs.doctor.cgroup import cpu_limit, memory_limit
from jobs.doctor.finding import Finding, Verdict

GIB = 2**30
Room = namedtuple("Room", "total used free")


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_a_quota_of_version_two_is_the_tightest_of_the_group_and_those_above(
    tmp_path: Path,
) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "0::/batch/job7\n",
            "sys/fs/cgroup/batch/job7/cpu.max": "max 100000\n",
            "sys/fs/cgroup/batch/cpu.max": "250000 100000\n",
            "sys/fs/cgroup/batch/job7/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/batch/job7/memory.current": f"{6 * GIB}\n",
            "sys/fs/cgroup/batch/job7/memory.stat": f"anon 5\ninactive_file {GIB}\n",
            "sys/fs/cgroup/batch/memory.max": "max\n",
        },
    )
    assert cpu_limit(root) == 2.5
    assert memory_limit(root) == (8 * GIB, 3 * GIB)


def test_a_quota_of_version_one_is_found_at_the_mount_of_a_container(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": "total_inactive_file 1024\n",
        },
    )
    assert cpu_limit(root) == 1.5
    assert memory_limit(root) == (2 * GIB, GIB + 1024)


def test_no_quota_is_no_limit(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n2:cpu:/\nodd\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert cpu_limit(root) is None
    assert memory_limit(root) is None
    assert cpu_limit(tmp_path / "nowhere") is None


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch):
    """Return what is found of a machine that is as the arguments say."""

    def find(
        *,
        cpus: float = 4.0,
        free: float = 20.0,
        limit: tuple[float, float] | None = None,
        files: tuple[int, int] = (1024, 65536),
        shared: float = 1.0,
    ) -> dict[str, Finding]:
        cgroup = None if limit is None else (int(limit[0] * GIB), int(limit[1] * GIB))
        monkeypatch.setattr(machine, "usable_cpus", lambda: cpus)
        monkeypatch.setattr(machine, "_system_memory", lambda: (32 * GIB, int(free * GIB)))
        monkeypatch.setattr(machine, "memory_limit", lambda: cgroup)
        monkeypatch.setattr(resource, "getrlimit", lambda _: files)
        monkeypatch.setattr(
            machine.shutil, "disk_usage", lambda _: Room(2 * GIB, GIB, int(shared * GIB))
        )
        return {one.check: one for one in machine.check(Asked())}

    return find


def test_a_machine_with_enough_of_all_is_well(found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert {one.verdict for one in found().values()} == {Verdict.ok}


@pytest.mark.parametrize(
    ("free", "verdict"), [(4.1, Verdict.ok), (3.9, Verdict.warning), (1.9, Verdict.problem)]
)
def test_memory_is_judged_by_what_is_free(found, free: float, verdict: Verdict) -> None:
    assert found(free=free)["memory"].verdict is verdict


def test_the_limit_of_a_container_counts_and_not_the_memory_of_its_host(found) -> None:
    memory = found(free=20.0, limit=(4.0, 1.0))["memory"]
    assert memory.verdict is Verdict.problem
    assert "limit of 4.0 GiB leaves 1.0 GiB" in memory.found
    assert "--actors 1" in memory.advice


@pytest.mark.parametrize(
    ("files", "verdict"),
    [
        ((256, 4096), Verdict.ok),
        ((1024, 2048), Verdict.warning),
        ((256, 512), Verdict.problem),
        ((1024, resource.RLIM_INFINITY), Verdict.ok),
    ],
)
def test_open_files_are_judged_by_the_hard_limit_which_ray_takes(
    found, files: tuple[int, int], verdict: Verdict
) -> None:
    assert found(files=files)["open files"].verdict is verdict


def test_a_container_with_the_usual_64_mb_of_shared_memory_is_warned(found) -> None:
    shared = found(shared=0.0625)["shared memory"]
    assert shared.verdict is Verdict.warning
    assert shared.found.startswith("0.06 GiB free of 2.00 GiB")
    assert "--shm-size" in shared.advice


def test_more_threads_than_cpus_are_warned_of(found, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    cpus = found(cpus=2.0)["cpus"]
    assert cpus.verdict is Verdict.warning
    assert "set it to 2" in cpus.advice


def test_the_object_store_that_is_expected_is_that_of_a_local_cluster() -> None:
    assert machine.OBJECT_STORE_BYTES == cluster._OBJECT_STORE_BYTES


def test_a_quota_below_the_affinity_is_what_is_usable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(machine, "cpu_limit", lambda: 2.5)
    assert machine.usable_cpus() == 2.5
    monkeypatch.setattr(machine, "cpu_limit", lambda: None)
    assert machine.usable_cpus() == 8.0
