"""How many workers train: `2`, or `1-4` for as many of them as the cluster has at the moment."""

from factory.errors import ClusterError, UsageError
from jobs.cluster import Cluster
from jobs.span import parse_span

NumWorkers = int | tuple[int, int]
"""A number, or the fewest and the most."""


def parse_num_workers(text: str | None) -> NumWorkers | None:
    """Return what `2` or `1-4` mean; None where the flag was not given.

    Raises:
        UsageError: It means neither.
    """
    if text is None:
        return None
    span = parse_span(text, "-")
    if span is None:
        raise UsageError(
            f"--num-workers {text}: expected a number of workers, as 2, or the fewest and the most, as "
            "1-4. Correct it."
        )
    fewest, most = span
    return fewest if fewest == most else (fewest, most)


def most_of(workers: NumWorkers) -> int:
    """Return the most workers there may be at once."""
    return workers if isinstance(workers, int) else workers[1]


def check_volumes(asked: NumWorkers | None, batch_size: int, table: str = "train") -> None:
    """Refuse more workers than there are volumes a step, over all workers together.

    Args:
        asked: As `parse_num_workers` returns it.
        batch_size: Volumes a step.
        table: Of the recipe, where `batch_size` is set.

    Raises:
        UsageError: A worker would have none.
    """
    if asked is not None and most_of(asked) > batch_size:
        raise UsageError(
            f"{_flag(asked)}: the recipe's batch_size is {batch_size}, over all workers "
            f"together; expected a volume for each worker at every step. Raise [{table}] batch_size."
        )


def fitting_workers(
    cluster: Cluster, asked: NumWorkers | None, *, batch_size: int, use_gpu: bool
) -> NumWorkers:
    """Return the workers to start.

    Args:
        cluster: Where they run.
        asked: None takes one a GPU, at most one a volume, or one where there is no GPU.
        batch_size: Volumes a step, over all workers; `check_volumes` has found it to suffice.
        use_gpu: Whether a worker takes a GPU, or a CPU.

    Raises:
        ClusterError: The cluster has fewer GPUs or CPUs than the fewest workers.
    """
    there = room_for_workers(cluster, use_gpu=use_gpu)
    if asked is None:
        return max(1, min(there, batch_size)) if use_gpu else 1
    fewest = asked if isinstance(asked, int) else asked[0]
    if fewest > there:
        raise ClusterError(
            f"{_flag(asked)}: the cluster has {there} {'GPUs' if use_gpu else 'CPUs'}, and a "
            "worker takes one; expected at most that. Ask for fewer, or join a larger cluster with "
            "--ray-address."
        )
    return asked


def room_for_workers(cluster: Cluster, *, use_gpu: bool) -> int:
    """Return how many workers there is room for, where each takes a GPU, or a CPU."""
    return int(cluster.num_gpus if use_gpu else cluster.num_cpus)


def _flag(asked: NumWorkers) -> str:
    return f"--num-workers {asked if isinstance(asked, int) else '-'.join(map(str, asked))}"
