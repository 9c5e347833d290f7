"""How many actors a pool gets."""

from dataclasses import replace

import pytest

from factory.errors import ClusterError, UsageError
from jobs.cluster import Cluster
from jobs.generate.actors import NumActors, Pool, check_gpus_per_actor, parse_num_actors, pool_for
from jobs.generate.config import GenerateConfig
from jobs.generate.pool import num_blocks

CONFIG = GenerateConfig()
LOCAL = Cluster(num_cpus=16, num_gpus=2, is_local=True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [(None, None), ("2", NumActors(2, 2)), ("1:8", NumActors(1, 8)), (" 3:3 ", NumActors(3, 3))],
)
def test_a_number_and_a_range_of_actors_are_understood(text: str, meant: NumActors | None) -> None:
    assert parse_num_actors(text) == meant


@pytest.mark.parametrize("text", ["", "0", "8:1", "1:", "two", "1-8", "-1"])
def test_what_is_neither_is_refused_with_both_ways_to_say_it(text: str) -> None:
    with pytest.raises(UsageError, match=rf"--actors {text}: expected .* as 2, .* as 1:8\."):
        parse_num_actors(text)


@pytest.mark.parametrize(
    ("cpus", "asked", "items", "size", "share"),
    [
        (2, None, 10, (2, 2), 1.0),
        (2, NumActors(3, 3), 10, (3, 3), 0.66),
        (2, None, 1, (1, 1), 1.0),
        (8, NumActors(2, 2), 10, (2, 2), 1.0),
        (2, NumActors(1, 4), 10, (1, 4), 0.5),
    ],
)
def test_all_actors_of_a_local_pool_fit_on_the_cpus_at_once(
    cpus: int, asked: NumActors | None, items: int, size: tuple[int, int], share: float
) -> None:
    found = pool_for(replace(LOCAL, num_cpus=cpus, num_gpus=0), CONFIG, asked, items, use_gpu=False)
    assert found == Pool(min_size=size[0], max_size=size[1], num_cpus=share, num_gpus=0)


@pytest.mark.parametrize(
    ("asked", "each", "size"),
    [
        (None, 1, (2, 2)),
        (None, 0.5, (4, 4)),
        (None, 2, (1, 1)),
        (NumActors(1, 2), 1, (1, 2)),
        (NumActors(1, 1), 1, (1, 1)),
    ],
)
def test_actors_fill_the_gpus(asked: NumActors | None, each: float, size: tuple[int, int]) -> None:
    found = pool_for(LOCAL, CONFIG, asked, 10, use_gpu=True, num_gpus=each)
    assert (found.min_size, found.max_size, found.num_gpus) == (*size, each)


@pytest.mark.parametrize("asked", [NumActors(5, 5), NumActors(1, 5)])
def test_on_one_machine_there_are_no_more_actors_than_gpus(
    asked: NumActors, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pool_for(LOCAL, CONFIG, asked, 10, use_gpu=True).max_size == 2
    assert "but the cluster has 2 GPUs; an actor takes 1" in capsys.readouterr().err


def test_on_a_cluster_that_may_grow_the_pool_may_too(capsys: pytest.CaptureFixture[str]) -> None:
    joined = replace(LOCAL, is_local=False)
    grown = pool_for(joined, CONFIG, NumActors(1, 64), 1000, use_gpu=True)
    assert (grown.min_size, grown.max_size) == (1, 64)
    assert capsys.readouterr().err == ""
    # As many as were asked for and no fewer would be waited for in vain.
    assert pool_for(joined, CONFIG, NumActors(64, 64), 1000, use_gpu=True).max_size == 2


def test_a_gpu_too_few_for_one_actor_is_an_error() -> None:
    with pytest.raises(ClusterError, match=r"--num-gpus-per-actor 4: the cluster has 2 GPUs"):
        pool_for(LOCAL, CONFIG, None, 10, use_gpu=True, num_gpus=4)


def test_the_gpus_of_an_actor_lie_on_one_node() -> None:
    spread = replace(LOCAL, num_gpus=5, is_local=False, gpus_by_node=(1.0, 1.0, 3.0))
    assert pool_for(spread, CONFIG, None, 10, use_gpu=True, num_gpus=2).max_size == 1
    assert pool_for(spread, CONFIG, None, 20, use_gpu=True, num_gpus=0.5).max_size == 10
    with pytest.raises(
        ClusterError,
        match=r"5 GPUs, at most 3 on a node; expected enough for one actor on one node",
    ):
        pool_for(spread, CONFIG, None, 10, use_gpu=True, num_gpus=4)


@pytest.mark.parametrize("number", [1, 2, 0.5, 0.25, 0.33])
def test_shares_that_fill_a_gpu_are_taken(number: float) -> None:
    check_gpus_per_actor(number)


@pytest.mark.parametrize("number", [0, -1, 1.5, 0.4, 0.6, 0.51, 0.34])
def test_shares_that_leave_a_rest_are_refused(number: float) -> None:
    with pytest.raises(UsageError, match=r"a share that fills a GPU: 0\.5, 0\.25\."):
        check_gpus_per_actor(number)


@pytest.mark.parametrize(
    ("num_items", "actors", "blocks"),
    [(1, 1, 1), (900, 2, 900), (10_000, 2, 1_000), (10_000, 64, 2_560), (10_000, 1_000, 10_000)],
)
def test_a_wave_is_dealt_out_finely_enough_for_its_actors(
    num_items: int, actors: int, blocks: int
) -> None:
    pool = Pool(min_size=1, max_size=actors, num_cpus=1, num_gpus=0)
    assert num_blocks(num_items, pool) == blocks
