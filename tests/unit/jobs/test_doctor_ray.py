"""Ray, as a doctor sees it: without a cluster of its own."""

import socket
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from factory.errors import ClusterError
from jobs import cluster
from jobs.cluster import Cluster
from jobs.doctor import ray_cluster
from jobs.doctor.asked import Asked
from jobs.doctor.finding import Finding, Verdict

Room = namedtuple("Room", "total used free")


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    of(monkeypatch, counted=8.0, usable=8.0, free=50)


def of(monkeypatch: pytest.MonkeyPatch, *, counted: float, usable: float, free: int) -> None:
    monkeypatch.setattr(ray_cluster, "_cpus_that_ray_counts", lambda: counted)
    monkeypatch.setattr(ray_cluster, "usable_cpus", lambda: usable)
    monkeypatch.setattr(ray_cluster.shutil, "disk_usage", lambda _: Room(100, 100 - free, free))


def found(address: str | None = None, device: str = "auto") -> dict[str, Finding]:
    asked = Asked(ray_address=address, device=device)
    return {one.check: one for one in ray_cluster.check(asked)}


def test_what_a_cluster_of_this_machine_would_take_is_told() -> None:
    findings = found()
    assert {one.verdict for one in findings.values()} == {Verdict.ok}
    assert "would take 8 CPUs" in findings["ray cluster"].found


def test_a_batch_job_of_which_ray_takes_the_whole_machine_is_warned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of(monkeypatch, counted=64.0, usable=4.0, free=50)
    told = found()["ray cluster"]
    assert told.verdict is Verdict.warning
    assert "--num-cpus=4" in told.advice


def test_half_a_cpu_is_no_reason_to_warn(monkeypatch: pytest.MonkeyPatch) -> None:
    of(monkeypatch, counted=3.0, usable=2.5, free=50)
    assert found()["ray cluster"].verdict is Verdict.ok


def test_an_address_in_the_environment_that_is_not_taken_is_told_and_not_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://me:secret@host:10001")
    told = found()["ray address"]
    assert told.verdict is Verdict.warning
    assert "host" not in told.found
    assert "--ray-address auto" in told.advice


def test_a_temporary_folder_that_is_full_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    of(monkeypatch, counted=8.0, usable=8.0, free=4)
    assert found()["temporary folder"].verdict is Verdict.warning


def joined(monkeypatch: pytest.MonkeyPatch, num_gpus: float) -> None:
    @contextmanager
    def connect(address: str) -> Iterator[Cluster]:
        nodes = (num_gpus,) if num_gpus else ()
        yield Cluster(num_cpus=32, num_gpus=num_gpus, is_local=False, gpus_by_node=nodes)

    monkeypatch.setattr(cluster, "connect", connect)


def test_a_cluster_that_is_joined_is_told_with_its_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    joined(monkeypatch, 4)
    told = found("head:6379", "cuda")["ray cluster"]
    assert told.verdict is Verdict.ok
    assert told.found == "32 CPUs and 4 GPUs (on its nodes 4) at head:6379"


def test_a_cluster_without_the_gpu_that_is_asked_for_is_a_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    joined(monkeypatch, 0)
    findings = list(ray_cluster.check(Asked(ray_address="head:6379", device="cuda")))
    assert findings[-1].verdict is Verdict.problem
    assert "no GPU" in findings[-1].found


def test_an_address_in_the_environment_where_nobody_listens_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ray itself would try for minutes."""
    # Other tests of the session may be connected.
    monkeypatch.setattr(cluster, "_connected", None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        told = found("auto")["ray cluster"]
    assert told.verdict is Verdict.problem
    assert address in told.found
    assert "refused" in told.found


def test_a_cluster_that_does_not_answer_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(address: str) -> None:
        raise ClusterError("Ray cluster x: refused; expected a cluster that answers. Check it.")

    monkeypatch.setattr(cluster, "connect", connect)
    told = found("x:1")["ray cluster"]
    assert told.verdict is Verdict.problem
    assert (told.expected, told.advice) == ("a cluster that answers", "Check it.")
