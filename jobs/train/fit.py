"""The steps of a run on Ray Train: workers are started, and started again where they die."""

import shutil
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from factory.errors import FactoryError
from jobs.cluster import Cluster
from jobs.console import say
from jobs.train.config import TrainConfig
from jobs.train.loop import train_loop
from jobs.train.run_folder import RAY
from jobs.train.settings import LoopSettings
from jobs.train.workers import NumWorkers, fitting_workers, most_of
from models.engine import computes_in_bfloat16

if TYPE_CHECKING:
    from ray.train.torch import TorchTrainer

_MANY_STEPS = 10_000
_SECONDS_AT_AN_EXCHANGE = 4 * 3600
"""While rank 0 draws pictures, which takes hours on CPUs, the others wait for it. Workers that died
are found by Ray Train, which does not wait for this."""


def fit(
    cluster: Cluster,
    settings: LoopSettings,
    run: Path,
    num_workers: NumWorkers | None,
    device: str,
) -> None:
    """Train to the last step on a cluster; the run's newest checkpoint is then of that step.

    Raises:
        FactoryError: Workers died too often, the loss was not finite, or a checkpoint is another's.
        ClusterError: The cluster has not the workers that were asked for.
    """
    from ray.train import TrainingFailedError

    config = settings.config
    use_gpu = cluster.use_gpu(device)
    _warn_of_cpus(cluster, config, use_gpu=use_gpu)
    workers = fitting_workers(cluster, num_workers, batch_size=config.batch_size, use_gpu=use_gpu)
    settings = replace(settings, num_threads=threads_of(cluster, workers, use_gpu=use_gpu))
    try:
        stopped = run_on_workers(
            train_loop,
            {"settings": settings},
            run,
            workers=workers,
            num_threads=None if use_gpu else settings.num_threads,
            max_failures=config.max_failures,
        )
    except TrainingFailedError as error:
        raise _failed(run, last_line(error), config) from error
    if stopped:
        raise FactoryError(stopped)


def threads_of(cluster: Cluster, workers: NumWorkers, *, use_gpu: bool) -> int:
    """Return the CPU threads of each worker: all there are of a cluster of one's own, else one."""
    if use_gpu or not cluster.is_local:
        return 1
    return max(1, int(cluster.num_cpus) // most_of(workers))


def run_on_workers(
    loop: Callable[[dict[str, Any]], str | None],
    loop_config: dict[str, Any],
    run: Path,
    *,
    workers: NumWorkers,
    num_threads: int | None,
    max_failures: int,
) -> str | None:
    """Run a loop on Ray Train's workers; return what the first of them returned.

    Args:
        loop: What each worker calls.
        loop_config: What it is called with; small, for Ray carries it.
        run: Folder of the run, for Ray Train's notes while it runs.
        workers: How many.
        num_threads: CPUs of a worker; None gives each a GPU.
        max_failures: How often workers are started again after one of them died.

    Raises:
        ray.train.TrainingFailedError: They died too often, or the loop raised.
    """
    from ray.train import FailureConfig, RunConfig, ScalingConfig
    from ray.train.torch import TorchConfig, TorchTrainer

    trainer = TorchTrainer(
        # mypy sees the first version of Ray Train's types, and the second runs.
        loop,  # type: ignore[arg-type]
        train_loop_config=loop_config,
        torch_config=TorchConfig(timeout_s=_SECONDS_AT_AN_EXCHANGE),
        scaling_config=ScalingConfig(
            num_workers=workers,  # type: ignore[arg-type]
            use_gpu=num_threads is None,
            resources_per_worker=None if num_threads is None else {"CPU": num_threads},
        ),
        run_config=RunConfig(
            # A name of its own: Ray Train goes on silently with whatever has the same.
            name=f"attempt-{uuid.uuid4().hex[:12]}",
            storage_path=str(run / RAY),
            # Nodes that were taken away are counted apart, and without end.
            failure_config=FailureConfig(max_failures=max_failures),
        ),
    )
    try:
        return _fit(trainer)
    finally:
        shutil.rmtree(run / RAY, ignore_errors=True)


def _fit(trainer: "TorchTrainer") -> str | None:
    """Return what the loop returned.

    On a thread: on the main one Ray Train takes Ctrl-C for itself, and ends without a word.
    """
    done: Future[str | None] = Future()

    def fit() -> None:
        try:
            done.set_result(trainer.fit().return_value)  # type: ignore[attr-defined]
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=fit, name="fit", daemon=True).start()
    return done.result()


def _failed(run: Path, reason: str, config: TrainConfig) -> FactoryError:
    return FactoryError(
        f"run {run}: training failed ({reason}); expected {config.steps} steps. Mend the cause and "
        "run the same command again: it goes on from the last checkpoint."
    )


def _warn_of_cpus(cluster: Cluster, config: TrainConfig, *, use_gpu: bool) -> None:
    if use_gpu:
        return
    if config.steps >= _MANY_STEPS:
        say(
            f"warning: {config.steps:,} steps without a GPU take days to weeks; --recipe demo is made for CPUs"
        )
    if cluster.is_local and config.precision == "bfloat16" and not computes_in_bfloat16("cpu"):
        say(
            "warning: this CPU has no bfloat16 arithmetic and emulates it, slowly; a recipe with "
            'precision = "float32" under [train] trains faster here'
        )


def last_line(error: Exception) -> str:
    """Return the last line of an error that says something: the cause, of what Ray Train raises."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
