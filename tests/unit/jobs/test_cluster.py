"""What of the cluster can be checked without starting one."""

import os
import socket
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
        match=r"^device cuda: the Ray cluster has 8 CPUs and no GPU; expected at least one GPU "
        r"that torch can use\. Use --device cpu, install torch for CUDA, or join a cluster that has one",
    ):
        LAPTOP.use_gpu("cuda")


def test_a_gpu_that_torch_cannot_use_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Cluster(num_cpus=8, num_gpus=1, is_local=True)
    monkeypatch.setattr(cluster, "_torch_sees_a_gpu", lambda: False)
    assert machine.use_gpu("auto") is False
    with pytest.raises(ClusterError, match=r"has 8 CPUs and a torch without CUDA; expected"):
        machine.use_gpu("cuda")
    monkeypatch.setattr(cluster, "_torch_sees_a_gpu", lambda: True)
    assert machine.use_gpu("auto") is machine.use_gpu("cuda") is True
    # The driver of a joined cluster needs no GPU of its own.
    monkeypatch.setattr(cluster, "_torch_sees_a_gpu", lambda: False)
    assert Cluster(num_cpus=8, num_gpus=1, is_local=False).use_gpu("cuda") is True


@pytest.mark.parametrize("form", ["{}", "ray://{}", "auto"])
def test_a_cluster_that_does_not_answer_is_an_error_within_seconds(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Other tests of the session may be connected.
    monkeypatch.setattr(cluster, "_connected", None)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{unused.getsockname()[1]}"
    # Ray takes `auto` for the cluster that this names.
    monkeypatch.setenv("RAY_ADDRESS", there)
    with (
        pytest.raises(ClusterError, match=rf"Ray cluster .*{there}: .*refused; expected a cluster"),
        cluster.connect(form.format(there)),
    ):
        pass


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
