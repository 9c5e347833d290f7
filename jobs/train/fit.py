"""The steps of a run on Ray Train: workers are started, and started again where they die."""

import shutil
import threading
import uuid
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

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
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    config = settings.config
    use_gpu = cluster.use_gpu(device)
    _warn_of_cpus(cluster, config, use_gpu=use_gpu)
    workers = fitting_workers(cluster, num_workers, batch_size=config.batch_size, use_gpu=use_gpu)
    if cluster.is_local and not use_gpu:
        threads = max(1, int(cluster.num_cpus) // most_of(workers))
        settings = replace(settings, num_threads=threads)
    trainer = TorchTrainer(
        # mypy sees the first version of Ray Train's types, and the second runs.
        train_loop,  # type: ignore[arg-type]
        train_loop_config={"settings": settings},
        torch_config=TorchConfig(timeout_s=_SECONDS_AT_AN_EXCHANGE),
        scaling_config=ScalingConfig(
            num_workers=workers,  # type: ignore[arg-type]
            use_gpu=use_gpu,
            resources_per_worker=None if use_gpu else {"CPU": settings.num_threads},
        ),
        run_config=RunConfig(
            # A name of its own: Ray Train goes on silently with whatever has the same.
            name=f"attempt-{uuid.uuid4().hex[:12]}",
            storage_path=str(run / RAY),
            # Nodes that were taken away are counted apart, and without end.
            failure_config=FailureConfig(max_failures=config.max_failures),
        ),
    )
    try:
        stopped = _fit(trainer)
    except TrainingFailedError as error:
        raise _failed(run, _last_line(error), config) from error
    finally:
        shutil.rmtree(run / RAY, ignore_errors=True)
    if stopped:
        raise FactoryError(stopped)


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
            f"warning: {config.steps} steps without a GPU take weeks; --recipe demo is made for CPUs"
        )
    if cluster.is_local and config.precision == "bfloat16" and not computes_in_bfloat16("cpu"):
        say(
            "warning: this CPU has no bfloat16 arithmetic and emulates it, slowly; a recipe with "
            'precision = "float32" under [train] trains faster here'
        )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
