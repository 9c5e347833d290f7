"""The only `ray.init`: an own local cluster, or one that is named."""

import logging
import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.errors import ClusterError

_TEMP_PREFIX = "factory-ray-"
_OBJECT_STORE_BYTES = 512 * 2**20
"""Of a local cluster; volumes never pass through it."""

_SECONDS_TO_ANSWER = 5.0

_QUIET_DAEMONS = {
    "RAY_event_stats": "0",
    "RAY_io_context_monitor_probe_interval_ms": "60000",
    "RAY_metrics_report_interval_ms": "30000",
    "RAY_raylet_report_resources_period_milliseconds": "500",
    # A node of this process is not taken away with a notice.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
"""Of a local cluster, whose daemons take their time from the cores that compute."""

LOCAL_CPUS: int | None = None
"""Logical CPUs of a local cluster; None takes the machine's."""

_ENVIRONMENT = {
    "RAY_BACKEND_LOG_LEVEL": "fatal",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray Train polls its workers this often: each poll takes its share of a core, and the end of a
    # training, or a worker's death, waits for the next.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "1.0",
    # Tasks that ask for no GPU still see them, which Ray will make the default and warns of.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connected cluster."""

    num_cpus: float
    num_gpus: float
    is_local: bool
    gpus_by_node: tuple[float, ...] = ()
    """Of each node that has some; what is asked for as one has to fit on one."""

    def use_gpu(self, device: str) -> bool:
        """Tell whether a job runs on GPUs.

        Args:
            device: `auto` takes a GPU where there is one that torch can use.

        Raises:
            ClusterError: `cuda` was asked for and is not there.
        """
        if device == "cpu":
            return False
        # Of a joined cluster this machine may be the only one without a GPU.
        usable = not self.is_local or _torch_sees_a_gpu()
        if device == "cuda" and not (self.num_gpus and usable):
            found = "a torch without CUDA" if self.num_gpus else "no GPU"
            raise ClusterError(
                f"device cuda: the Ray cluster has {self.num_cpus:g} CPUs and {found}; expected at "
                "least one GPU that torch can use. Use --device cpu, install torch for CUDA, or join a "
                "cluster that has one with --ray-address."
            )
        return self.num_gpus > 0 and usable


_connected: Cluster | None = None


@contextmanager
def connect(address: str | None = None) -> Iterator[Cluster]:
    """Start a local cluster, or join one, for as long as the block runs.

    Args:
        address: `auto`, or a cluster's address; None starts a cluster of this
            process, which ends with the block. Inside an outer block its
            cluster is used.

    Raises:
        ClusterError: The cluster cannot be started or reached.
    """
    global _connected
    if _connected is not None:
        yield _connected
        return
    if address:
        _knock(address)
    _set_environment(is_local=address is None)
    import ray

    logging.getLogger("ray").setLevel(logging.ERROR)
    temp_dir = _make_temp_dir() if address is None else None
    try:
        _init(address, temp_dir)
        if temp_dir:
            _stop_log_monitor()
        _connected = _describe(is_local=address is None)
        _stop_on_sigterm()
        yield _connected
    finally:
        _connected = None
        ray.shutdown()
        if temp_dir:
            shutil.rmtree(temp_dir, ignore_errors=True)


def run_tasks(
    function: Callable[..., Any], calls: Iterable[tuple[Any, ...]], *, window: int
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Run a function on the cluster for each tuple of arguments, as tasks of one CPU.

    Args:
        function: What a task calls. It may run twice: a task whose worker died is retried.
        calls: Arguments; small, for they pass through the driver.
        window: Tasks under way at once.

    Yields:
        The arguments and what the call returned, or the `ray.exceptions.RayError`
        that ended it, in the order in which they end.
    """
    import ray
    from ray.exceptions import RayError

    task = ray.remote(num_cpus=1, max_retries=2)(function)
    waiting, running = iter(calls), {}

    def start_next() -> None:
        arguments = next(waiting, None)
        if arguments is not None:
            running[task.remote(*arguments)] = arguments

    for _ in range(window):
        start_next()
    while running:
        (done, *_), _ = ray.wait(list(running), num_returns=1)
        arguments = running.pop(done)
        start_next()
        try:
            yield arguments, ray.get(done)
        except RayError as error:
            yield arguments, error


def _stop_on_sigterm() -> None:
    """Take SIGTERM as Ctrl-C: Ray has set a handler of its own, which ends without a word."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _set_environment(*, is_local: bool) -> None:
    # Ray's core reads these when it is imported: later they would reach its daemons only, and a
    # driver without the daemons' authentication mode is turned away.
    if "ray" in sys.modules:
        return
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    if is_local:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        for key, value in _QUIET_DAEMONS.items():
            os.environ.setdefault(key, value)


def _init(address: str | None, temp_dir: Path | None) -> None:
    import ray

    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if temp_dir:
        options |= {
            "num_cpus": LOCAL_CPUS,
            "include_dashboard": False,
            "object_store_memory": _OBJECT_STORE_BYTES,
            "_temp_dir": str(temp_dir),
        }
    try:
        with _native_stderr_muted() if temp_dir else nullcontext():
            ray.init(address=address or "local", **options)
    except Exception as error:
        # Ray raises plain exceptions of its own for a start that times out.
        raise _unreachable(address, error) from error


def _stop_log_monitor() -> None:
    """End what reads all log files ten times a second to print them here, where they are not wanted."""
    from ray._private import worker

    stop = getattr(worker._global_node, "kill_log_monitor", None)
    if stop:
        stop(check_alive=False)


def _knock(address: str) -> None:
    """Fail within seconds where nothing listens: Ray itself would try for many minutes."""
    named = os.environ.get("RAY_ADDRESS", "") if address == "auto" else address
    host, separator, port = named.removeprefix("ray://").rpartition(":")
    if separator and port.isdecimal() and "/" not in host:
        try:
            socket.create_connection(
                (host.strip("[]"), int(port)), timeout=_SECONDS_TO_ANSWER
            ).close()
        except OSError as error:
            raise _unreachable(named, error) from error


def _unreachable(address: str | None, error: Exception) -> ClusterError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return ClusterError(
        f"Ray cluster {address or '(local)'}: {reason}; expected a cluster that answers. Check "
        "the address, that `ray status` works there, and RAY_AUTH_MODE and RAY_AUTH_TOKEN_PATH if "
        "it asks for a token; or leave --ray-address away."
    )


def _torch_sees_a_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@contextmanager
def _native_stderr_muted() -> Iterator[None]:
    """Keep Ray's C++ core from announcing its log level; what goes wrong is raised in Python."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _describe(*, is_local: bool) -> Cluster:
    import ray

    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return Cluster(
        num_cpus=float(resources.get("CPU", 0.0)),
        num_gpus=float(resources.get("GPU", 0.0)),
        is_local=is_local,
        gpus_by_node=tuple(
            float(node["Resources"]["GPU"])
            for node in ray.nodes()  # type: ignore[no-untyped-call]
            if node["Alive"] and "GPU" in node["Resources"]
        ),
    )


def _make_temp_dir() -> Path:
    """Return a new folder whose name tells its process, and sweep those of dead ones.

    Ray puts Unix sockets below it, whose paths end at 107 characters: hence a
    short base, whatever TMPDIR says.
    """
    base = Path(tempfile.gettempdir())
    if len(str(base)) > 20:
        base = Path("/tmp")
    for old in base.glob(f"{_TEMP_PREFIX}*-*"):
        pid = old.name.removeprefix(_TEMP_PREFIX).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_TEMP_PREFIX}{os.getpid()}-", dir=base))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
