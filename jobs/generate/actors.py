"""How many sampler actors there are, and what each one takes of the cluster."""

from dataclasses import dataclass

from factory.counted import counted
from factory.errors import ClusterError, UsageError
from jobs.cluster import Cluster
from jobs.console import say
from jobs.generate.config import GenerateConfig
from jobs.span import parse_span


@dataclass(frozen=True, slots=True)
class NumActors:
    """The fewest and the most; where they differ, Ray adds and removes actors as the queue needs."""

    fewest: int
    most: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Size of the pool, and what each actor reserves."""

    min_size: int
    max_size: int
    num_cpus: float
    num_gpus: float

    def __str__(self) -> str:
        """Return what is said of the pool when it starts."""
        size = (
            f"{self.max_size}"
            if self.min_size == self.max_size
            else f"{self.min_size} to {self.max_size}"
        )
        actors = "sampler actor" if self.max_size == 1 else "sampler actors"
        each = f"{self.num_gpus:g} GPU" if self.num_gpus else f"{self.num_cpus:g} CPU"
        return f"{size} {actors}, {each} each"


def parse_num_actors(text: str | None) -> NumActors | None:
    """Return what `2` or `1:8` mean; None where the flag was not given.

    Raises:
        UsageError: It means neither.
    """
    if text is None:
        return None
    span = parse_span(text, ":")
    if span is None:
        raise UsageError(
            f"--actors {text}: expected a number of actors, as 2, or the fewest and the most, as 1:8. "
            "Correct it."
        )
    return NumActors(*span)


def pool_for(
    cluster: Cluster,
    config: GenerateConfig,
    asked: NumActors | None,
    num_items: int,
    *,
    use_gpu: bool,
    num_gpus: float = 1.0,
) -> Pool:
    """Return the pool for a number of items.

    The fewest actors fit on what the cluster has. The most may be more where a cluster was joined: it
    may have an autoscaler.

    Args:
        cluster: Where they run.
        config: Its threads are what an actor reserves of the CPUs.
        asked: None takes one a GPU, or as many as the CPUs hold.
        num_items: There are no more actors than these.
        use_gpu: Whether actors take GPUs.
        num_gpus: Of one actor: a whole number, or a share that several actors fill a GPU with.

    Raises:
        ClusterError: Not one actor fits.
    """
    return (
        _on_gpus(cluster, asked, num_items, num_gpus)
        if use_gpu
        else _on_cpus(cluster, config, asked, num_items)
    )


def check_gpus_per_actor(num_gpus: float) -> None:
    """Refuse a share of a GPU that Ray cannot give out without a rest.

    Raises:
        UsageError: It is neither a whole number nor a half, third, quarter and so on.
    """
    if num_gpus >= 1 and num_gpus == int(num_gpus):
        return
    if 0 < num_gpus < 1 and 0.95 <= num_gpus * round(1 / num_gpus) <= 1:
        return
    raise UsageError(
        f"--num-gpus-per-actor {num_gpus:g}: expected a whole number, or a share that fills a GPU: "
        "0.5, 0.25. Correct it."
    )


def _on_gpus(cluster: Cluster, asked: NumActors | None, num_items: int, num_gpus: float) -> Pool:
    nodes = cluster.gpus_by_node or (cluster.num_gpus,)
    there = sum(_fitting(gpus, num_gpus) for gpus in nodes)
    if there < 1:
        raise ClusterError(
            f"--num-gpus-per-actor {num_gpus:g}: the cluster has {counted(int(cluster.num_gpus), 'GPU')}, at most "
            f"{max(nodes):g} on a node; expected enough for one actor on one node. Ask for fewer."
        )
    wanted = asked or NumActors(there, there)
    fewest, most = min(wanted.fewest, there), wanted.most
    grows = not cluster.is_local and wanted.most > wanted.fewest
    if not grows:
        most = min(most, there)
    if fewest < wanted.fewest or most < wanted.most:
        say(
            f"warning: --actors {_text(wanted)}, but the cluster has {counted(int(cluster.num_gpus), 'GPU')}; an actor "
            f"takes {num_gpus:g}"
        )
    return Pool(
        min_size=min(fewest, num_items),
        max_size=min(most, num_items),
        num_cpus=1,
        num_gpus=num_gpus,
    )


def _fitting(gpus: float, num_gpus: float) -> int:
    """Return how many actors a node's GPUs hold; a share is of one GPU, never of two."""
    return int(gpus / num_gpus) if num_gpus >= 1 else int(gpus) * round(1 / num_gpus)


def _on_cpus(
    cluster: Cluster, config: GenerateConfig, asked: NumActors | None, num_items: int
) -> Pool:
    fitting = max(1, int(cluster.num_cpus) // config.num_threads)
    wanted = asked or NumActors(fitting, fitting)
    fewest, most = min(wanted.fewest, num_items), min(wanted.most, num_items)
    # On one machine all of them fit: they get smaller shares of its CPUs.
    crowd = most if cluster.is_local else fewest
    share = min(float(config.num_threads), cluster.num_cpus / crowd)
    return Pool(
        min_size=fewest, max_size=most, num_cpus=max(0.01, int(share * 100) / 100), num_gpus=0
    )


def _text(wanted: NumActors) -> str:
    if wanted.fewest == wanted.most:
        return f"{wanted.most}"
    return f"{wanted.fewest}:{wanted.most}"
