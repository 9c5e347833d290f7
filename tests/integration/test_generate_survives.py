"""Generation that is killed, hung or run twice at once ends with the planned set all the same.

The network plays no part in it, so volumes are rehearsed: noise that follows from the item's seed.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from processes import kill_about
from support import make_case_store

from factory.lake import MANIFEST, PROGRESS, QUARANTINE, Lake
from jobs import verify
from jobs.amount import Amount
from jobs.generate import pool
from jobs.generate.actor import Sampler
from jobs.generate.actors import NumActors
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FACTORY = Path(sys.executable).with_name("factory")
CONFIG = GenerateConfig(rehearsal=True, rehearsal_seconds=0.1)
RECIPE = "[generate]\nrehearsal = true\nrehearsal_seconds = {seconds}\n"
SECONDS_TO_END = 400


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of three phantoms on a 16^3 grid."""
    return make_case_store(tmp_path_factory.mktemp("survives") / "cases", 3)


@pytest.fixture(scope="module")
def calm(
    cases: Path, model_16: Path, tmp_path_factory: pytest.TempPathFactory, ray_cluster: None
) -> bytes:
    """Content digest of forty volumes that nothing disturbed."""
    lake = tmp_path_factory.mktemp("calm") / "lake"
    draw(cases, model_16, lake, 40)
    return digest(lake)


def draw(cases: Path, model: Path, lake: Path, count: int, **changes: Any) -> Any:
    actors = changes.pop("actors", NumActors(2, 2))
    config = replace(CONFIG, **changes)
    return generate(cases, model, lake, Amount(count=count), config, actors=actors, device="cpu")


def digest(lake: Path) -> bytes:
    content: bytes = pq.read_metadata(lake / MANIFEST).metadata[b"ct_factory.content_digest"]
    return content


def command(
    cases: Path, model: Path, lake: Path, recipe: Path, count: int, actors: int = 2
) -> list[str]:
    return [
        *(str(FACTORY), "generate", "--cases", str(cases), "--model", str(model)),
        *("--out", str(lake), "--recipe", str(recipe), "--count", str(count)),
        *("--actors", str(actors)),
    ]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "rehearsal.toml"
    path.write_text(RECIPE.format(seconds=0.1))
    return path


def test_an_actor_killed_between_volume_and_commit_draws_the_item_again(
    cases: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: bytes
) -> None:
    def kill_once(sampler: Sampler, item: Any, *rest: Any) -> None:
        Sampler._write(sampler, item, *rest)
        try:
            (tmp_path / "killed").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(pool, "Sampler", _changed("_write", kill_once))
    draw(cases, model_16, tmp_path / "lake", 40)

    assert (tmp_path / "killed").exists()
    assert digest(tmp_path / "lake") == calm
    # What the killed attempt had written is gone.
    assert len(list((tmp_path / "lake" / "volumes").iterdir())) == 40
    assert verify.problems(Lake(tmp_path / "lake")) == []


@pytest.mark.usefixtures("ray_cluster")
def test_an_item_that_hangs_is_given_up_and_its_neighbours_are_drawn(
    cases: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(sampler: Sampler, item: Any, *rest: Any) -> Any:
        if item.plan_index == 3:
            return sampler._within_limit(rest[1], lambda: time.sleep(600))
        return Sampler._accepted_draw(sampler, item, *rest)

    monkeypatch.setattr(pool, "Sampler", _changed("_accepted_draw", hang))
    result = draw(cases, model_16, tmp_path / "lake", 8, max_seconds=2.0, max_attempts=2)

    assert (result.num_synthetic, result.num_quarantined) == (7, 1)
    (reason,) = pq.read_table(tmp_path / "lake" / QUARANTINE)["message"].to_pylist()
    assert "a step of it ran longer than 2 s" in reason
    assert verify.problems(Lake(tmp_path / "lake")) == []


def test_an_actor_that_could_not_start_once_does_not_end_the_run(
    cases: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: bytes
) -> None:
    def fail_once(sampler: Sampler, settings: Any) -> None:
        try:
            (tmp_path / "failed").touch(exist_ok=False)
        except FileExistsError:
            Sampler.__init__(sampler, settings)
            return
        raise OSError("the model could not be read, this once")

    monkeypatch.setattr(pool, "Sampler", _changed("__init__", fail_once))
    draw(cases, model_16, tmp_path / "lake", 40)

    assert (tmp_path / "failed").exists()
    assert digest(tmp_path / "lake") == calm


@pytest.mark.usefixtures("ray_cluster")
def test_a_pool_grows_where_there_is_work_for_it(
    cases: Path, model_16: Path, tmp_path: Path
) -> None:
    draw(
        cases,
        model_16,
        tmp_path / "lake",
        60,
        actors=NumActors(1, 4),
        rehearsal_seconds=1.0,
    )
    assert Lake(tmp_path / "lake").storage.read_json(PROGRESS)["actors"] == 4


def test_waves_are_as_good_as_one(
    cases: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calm: bytes
) -> None:
    monkeypatch.setattr(pool, "WAVE", 15)
    draw(cases, model_16, tmp_path / "lake", 40)
    assert digest(tmp_path / "lake") == calm


def test_of_two_drivers_at_once_each_item_is_committed_by_one(
    cases: Path, model_16: Path, tmp_path: Path, recipe: Path, calm: bytes
) -> None:
    lake = tmp_path / "lake"
    # Longer than one of them may start before the other.
    recipe.write_text(RECIPE.format(seconds=1.0))
    drivers = [
        subprocess.Popen(
            command(cases, model_16, lake, recipe, 40),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(2)
    ]
    told = [driver.communicate(timeout=SECONDS_TO_END)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], told
    assert digest(lake) == calm
    assert len(Lake(lake).committed_ids()) == 40
    # Both had work to do. Which of them is first with an item is chance: of two in step it may always be one.
    assert ["generate: 2 sampler actors" in one for one in told] == [True, True]
    assert verify.problems(Lake(lake)) == []


def test_a_driver_that_joins_another_commits_what_the_other_is_not_at(
    cases: Path, model_16: Path, tmp_path: Path, recipe: Path, calm: bytes
) -> None:
    lake = tmp_path / "lake"
    recipe.write_text(RECIPE.format(seconds=1.0))
    deadline = time.monotonic() + SECONDS_TO_END
    with (tmp_path / "log").open("wb") as log:
        first = subprocess.Popen(
            command(cases, model_16, lake, recipe, 40, actors=1), stdout=log, stderr=log
        )
        while not (lake.exists() and Lake(lake).committed_ids()):
            assert first.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        # With two actors one of them is ahead of the first driver's.
        second = subprocess.Popen(
            command(cases, model_16, lake, recipe, 40), stdout=log, stderr=log
        )
        ends = [driver.wait(timeout=SECONDS_TO_END) for driver in (first, second)]
    assert ends == [0, 0], (tmp_path / "log").read_text()[-3000:]
    assert digest(lake) == calm
    rows = pq.read_table(lake / MANIFEST, columns=["run_id", "kind"]).to_pylist()
    assert len({row["run_id"] for row in rows if row["kind"] == "synthetic"}) == 2
    assert verify.problems(Lake(lake)) == []


def test_a_node_that_is_lost_takes_no_item_with_it(
    cases: Path, model_16: Path, tmp_path: Path, calm: bytes
) -> None:
    """Two nodes, of which the one with most of the actors goes away."""
    arguments = [str(cases), str(model_16), str(tmp_path / "lake")]
    with tempfile.TemporaryDirectory(prefix="nodes-", dir="/tmp") as temp:
        Path(temp, "ray").mkdir()
        ended = subprocess.run(
            [sys.executable, "-c", TWO_NODES, *arguments],
            capture_output=True,
            text=True,
            timeout=SECONDS_TO_END,
            check=False,
            env={**os.environ, "RAY_TMPDIR": temp},
        )
    assert ended.returncode == 0, ended.stderr[-3000:]
    for told in ("an attempt was on the node", "the node is known as lost"):
        assert told in ended.stdout
    assert digest(tmp_path / "lake") == calm
    assert verify.problems(Lake(tmp_path / "lake")) == []


TWO_NODES = """
import sys, threading, time
from pathlib import Path
from ray.cluster_utils import Cluster
from factory.lake import Lake
from jobs.amount import Amount
from jobs.generate.blame import lost_nodes
from jobs.generate.actors import NumActors
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate

cases, model, lake = sys.argv[1:]
head = {"num_cpus": 1, "include_dashboard": False}
cluster = Cluster(initialize_head=True, head_node_args=head)
doomed = cluster.add_node(num_cpus=2)

def is_at_work() -> bool:
    for record in Path(lake, "attempts").glob("*/*"):
        try:
            if doomed.node_id in record.read_text():
                return True
        except FileNotFoundError:
            continue
    return False

def lose() -> None:
    while len(Lake(lake).committed_ids()) < 10:
        time.sleep(0.05)
    # The pool grows while it draws: the actors of the node may come late.
    while not is_at_work():
        time.sleep(0.02)
    print("an attempt was on the node", flush=True)
    cluster.remove_node(doomed, allow_graceful=False)
    while doomed.node_id not in lost_nodes():
        time.sleep(0.05)
    print("the node is known as lost", flush=True)

threading.Thread(target=lose, daemon=True).start()
config = GenerateConfig(rehearsal=True, rehearsal_seconds=1.0)
generate(
    cases, model, lake, Amount(count=40), config,
    actors=NumActors(1, 3), device="cpu", ray_address=cluster.address,
)
cluster.shutdown()
"""


def test_nothing_of_ray_that_goes_away_is_used(
    cases: Path, model_16: Path, tmp_path: Path, recipe: Path
) -> None:
    """Ray warns of what its next releases take out; here that is an error."""
    warned = "error::ray.util.annotations.RayDeprecationWarning"
    line = command(cases, model_16, tmp_path / "lake", recipe, 4)
    ended = subprocess.run(
        [sys.executable, "-W", warned, *line],
        capture_output=True,
        text=True,
        timeout=SECONDS_TO_END,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": warned},
    )
    assert ended.returncode == 0, ended.stderr[-3000:]


def test_twenty_kills_of_whatever_it_is_made_of_leave_the_set_of_a_calm_run(
    cases: Path, model_16: Path, tmp_path: Path, recipe: Path, calm: bytes
) -> None:
    """Driver, actors and raylet, each at a random moment; the same command follows each end."""
    lake, chance, kills = tmp_path / "lake", random.Random(20), 0
    recipe.write_text(RECIPE.format(seconds=1.5))
    deadline = time.monotonic() + SECONDS_TO_END
    with (tmp_path / "log").open("wb") as log:
        while kills < 20:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
            driver = subprocess.Popen(
                command(cases, model_16, lake, recipe, 40), stdout=log, stderr=log
            )
            kills += kill_about(driver, chance, 20 - kills)
            driver.wait(timeout=60)
        ended = subprocess.run(
            command(cases, model_16, lake, recipe, 40), stdout=log, stderr=log, timeout=200
        )
    assert ended.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert pq.read_table(lake / QUARANTINE).num_rows == 0
    assert digest(lake) == calm


def _changed(method: str, function: Callable[..., Any]) -> type:
    """Return a sampler with one method changed; a class of its own, which Ray ships as it is."""
    return type("ChangedSampler", (Sampler,), {method: function})
