"""A run on Ray Train: what each worker does, and what starts them."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path

import torch

from factory.errors import FactoryError
from jobs.cluster import Cluster
from jobs.downstream.fit import fit_and_test
from jobs.downstream.plan import RunSpec
from jobs.downstream.training import DDP_OPTIONS
from jobs.downstream.workers import Workers
from jobs.train.fit import last_line, run_on_workers, threads_of
from jobs.train.run_folder import METRICS, only_writer
from jobs.train.watch import watch
from jobs.train.workers import NumWorkers, fitting_workers
from manifests.errors import ManifestError

_LONGEST_REASON = 300


def fit_on_workers(
    cluster: Cluster, spec: RunSpec, num_workers: NumWorkers | None, device: str
) -> None:
    """Train and test a run on a cluster, and show how far it is.

    Args:
        cluster: Where.
        spec: The run; its folder is seen by every node.
        num_workers: None takes one a GPU, at most one a volume, or one where there is no GPU.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        FactoryError: Workers died too often, or the run cannot be done.
        ClusterError: The cluster has not the workers that were asked for.
    """
    from ray.train import TrainingFailedError

    config, run = spec.config, Path(spec.out)
    use_gpu = cluster.use_gpu(device)
    workers = fitting_workers(cluster, num_workers, batch_size=config.batch_size, use_gpu=use_gpu)
    num_threads = threads_of(cluster, workers, use_gpu=use_gpu)
    run.mkdir(parents=True, exist_ok=True)
    try:
        with watch(run / METRICS, config.steps, "downstream"):
            stopped = run_on_workers(
                downstream_loop,
                {"spec": spec, "num_threads": num_threads},
                run,
                workers=workers,
                num_threads=None if use_gpu else num_threads,
                max_failures=config.max_failures,
            )
    except TrainingFailedError as error:
        raise FactoryError(
            f"run {run}: training failed ({last_line(error)[:_LONGEST_REASON]}); expected {config.steps} steps and a test. Mend "
            "the cause and run the same command again: it begins anew."
        ) from error
    if stopped:
        raise FactoryError(stopped)


def downstream_loop(loop_config: dict[str, object]) -> str | None:
    """Do one worker's part of a run.

    Returns:
        None, or why the run cannot be done. It is no error to Ray Train, which would try again what
        can only end alike.
    """
    import ray.train
    import ray.train.torch

    spec, num_threads = loop_config["spec"], loop_config["num_threads"]
    assert isinstance(spec, RunSpec)
    assert isinstance(num_threads, int)
    context, device = ray.train.get_context(), ray.train.torch.get_device()
    workers = Workers(
        context.get_world_rank(),
        context.get_world_size(),
        partial(ray.train.torch.prepare_model, parallel_strategy_kwargs=DDP_OPTIONS),
    )
    if device.type == "cpu":
        torch.set_num_threads(num_threads)
    with ExitStack() as stack:
        if workers.rank == 0:
            # A worker whose driver was killed may still be about to end.
            stack.enter_context(only_writer(Path(spec.out)))
        try:
            fit_and_test(spec, device=str(device), workers=workers)
        except (FactoryError, ManifestError) as error:
            return str(error)
    return None
