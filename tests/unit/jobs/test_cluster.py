"""What of the cluster can be checked without starting one."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from factory.errors import ClusterError
from jobs import cluster
from jobs.cluster import Cluster

LAPTOP = Cluster(num_cpus=8, num_gpus=0, is_local=True)
SERVER = Cluster(num_cpus=64, num_gpus=4, is_local=False)


def test_auto_takes_a_gpu_where_there_is_one() -> None:
    assert not LAPTOP.use_gpu("auto")
    assert SERVER.use_gpu("auto")


def test_cpu_leaves_gpus_alone_and_cuda_takes_them() -> None:
    assert not SERVER.use_gpu("cpu")
    assert SERVER.use_gpu("cuda")


def test_cuda_without_a_gpu_says_what_the_cluster_has_and_the_way_out() -> None:
    with pytest.raises(
        ClusterError,
        match=r"^device cuda: the Ray cluster has 8 CPUs and no GPU; expected at least one GPU\. "
        r"Use --device cpu, or join a cluster that has one with --ray-address\.",
    ):
        LAPTOP.use_gpu("cuda")


@pytest.fixture
def base(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A short temporary folder, for a long one would not be used."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="t-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def dead_pid() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


def test_what_dead_runs_left_is_swept_and_what_living_ones_use_is_kept(base: Path) -> None:
    left = base / f"factory-ray-{dead_pid()}-abc"
    used = base / f"factory-ray-{os.getppid()}-abc"
    other = base / "factory-ray-of-somebody"
    for folder in (left, used, other):
        (folder / "session").mkdir(parents=True)
    made = cluster._make_temp_dir()

    assert not left.exists()
    assert (used / "session").is_dir()
    assert (other / "session").is_dir()
    assert made.parent == base
    assert made.is_dir()
    assert made.name.startswith(f"factory-ray-{os.getpid()}-")


def test_a_run_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert cluster._is_alive(1)


def test_ray_sockets_fit_below_the_folder_whatever_tmpdir_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / "a-folder-whose-name-is-long"
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    made = cluster._make_temp_dir()
    try:
        assert made.parent == Path("/tmp")
        # Ray adds about 60 characters to it, of 107 that a socket's path may have.
        assert len(str(made)) < 45
    finally:
        made.rmdir()
