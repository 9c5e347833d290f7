"""How many workers train."""

import pytest

from factory.errors import ClusterError, UsageError
from jobs.cluster import Cluster
from jobs.train.workers import (
    NumWorkers,
    check_volumes,
    fitting_workers,
    most_of,
    parse_num_workers,
)

FOUR_CPUS = Cluster(num_cpus=4, num_gpus=0, is_local=True)
TWO_GPUS = Cluster(num_cpus=16, num_gpus=2, is_local=True)


@pytest.mark.parametrize(
    ("text", "workers"), [(None, None), ("2", 2), ("1-4", (1, 4)), ("3-3", 3), (" 12 ", 12)]
)
def test_a_number_or_the_fewest_and_the_most(text: str | None, workers: NumWorkers | None) -> None:
    assert parse_num_workers(text) == workers


@pytest.mark.parametrize("text", ["0", "4-1", "0-4", "1-", "-2", "two", "1-2-3", "1.5", ""])
def test_anything_else_is_refused_with_what_was_meant(text: str) -> None:
    with pytest.raises(
        UsageError, match=rf"^--num-workers {text}: expected a number of workers, a"
    ):
        parse_num_workers(text)


@pytest.mark.parametrize(
    ("cluster", "asked", "batch_size", "workers"),
    [
        (FOUR_CPUS, None, 8, 1),
        (FOUR_CPUS, 3, 8, 3),
        (FOUR_CPUS, (1, 8), 8, (1, 8)),  # The cluster may grow.
        (TWO_GPUS, None, 8, 2),
        (TWO_GPUS, None, 1, 1),
    ],
)
def test_without_a_number_there_is_one_a_gpu_but_never_more_than_volumes(
    cluster: Cluster, asked: NumWorkers | None, batch_size: int, workers: NumWorkers
) -> None:
    use_gpu = bool(cluster.num_gpus)
    found = fitting_workers(cluster, asked, batch_size=batch_size, use_gpu=use_gpu)
    assert found == workers
    assert most_of(found) == (workers if isinstance(workers, int) else workers[1])


@pytest.mark.parametrize(("asked", "flag"), [((1, 3), "1-3"), (3, "3")])
def test_a_worker_without_a_volume_is_refused(asked: NumWorkers, flag: str) -> None:
    with pytest.raises(UsageError, match=rf"^--num-workers {flag}: the recipe's batch_size is 2"):
        check_volumes(asked, 2)
    check_volumes(asked, 3)
    check_volumes(None, 1)


def test_more_workers_than_the_cluster_has_gpus_are_refused() -> None:
    with pytest.raises(
        ClusterError, match=r"^--num-workers 3: the cluster has 2 GPUs, and a worker"
    ):
        fitting_workers(TWO_GPUS, 3, batch_size=8, use_gpu=True)
    with pytest.raises(ClusterError, match=r"^--num-workers 5-8: the cluster has 4 CPUs, and a w"):
        fitting_workers(FOUR_CPUS, (5, 8), batch_size=8, use_gpu=False)
