"""Generation among broken references, actors that end and drivers that are killed: the rest is drawn."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from generated import CONFIG, draw, voxels
from support import random_checkpoint

from factory.errors import ClusterError, FactoryError, ModelError
from factory.lake import MANIFEST, QUARANTINE, Lake
from jobs import verify
from jobs.amount import Amount
from jobs.generate.actors import NumActors
from jobs.generate.job import EVERY_CLASS, generate
from manifests.read import read_manifest

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
FACTORY = Path(sys.executable).with_name("factory")


def test_a_broken_reference_is_quarantined_and_the_rest_is_drawn(
    four_cases: Path, model_16: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "cases"
    shutil.copytree(four_cases, broken)
    row = next(
        row for row in read_manifest(broken / MANIFEST).to_pylist() if row["case_id"] == "p1"
    )
    shard = next(
        path for path in (broken / row["image_uri"] / "0" / "c").rglob("0") if path.is_file()
    )
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    result = draw(broken, model_16, tmp_path / "lake", Amount(count=6))

    assert (result.num_synthetic, result.num_quarantined) == (5, 1)
    (reason,) = pq.read_table(tmp_path / "lake" / QUARANTINE)["message"].to_pylist()
    assert reason.startswith("case p1: volume ")
    assert "checksum" in reason
    assert verify.problems(Lake(tmp_path / "lake")) != []  # the real volume is torn, and it says so

    shard.write_bytes(
        bytes(content[: len(content) // 2])
        + bytes([content[len(content) // 2] ^ 1])
        + bytes(content[len(content) // 2 + 1 :])
    )
    again = draw(
        broken, model_16, tmp_path / "lake", Amount(count=6), retry_quarantined=EVERY_CLASS
    )
    assert (again.num_synthetic, again.num_quarantined) == (6, 0)
    assert verify.problems(Lake(tmp_path / "lake")) == []


def test_when_nothing_is_left_it_is_an_error(
    four_cases: Path, model_16: Path, tmp_path: Path
) -> None:
    shutil.copytree(four_cases, tmp_path / "cases")
    shutil.rmtree(tmp_path / "cases" / "volumes")
    with pytest.raises(
        FactoryError, match=r"nothing left of 1 item, all quarantined; expected at least one"
    ):
        draw(tmp_path / "cases", model_16, tmp_path / "lake", Amount(count=1))


def test_an_item_that_ends_its_actor_each_time_is_given_up(
    four_cases: Path, model_16: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The actor is killed by the item, as by a lack of memory; its neighbours are drawn."""
    from jobs.generate import pool

    monkeypatch.setattr(pool, "Sampler", _deadly_sampler(tmp_path / "lake"))
    result = draw(four_cases, model_16, tmp_path / "lake", Amount(count=4), actors=NumActors(2, 2))

    assert (result.num_synthetic, result.num_quarantined) == (3, 1)
    (reason,) = pq.read_table(tmp_path / "lake" / QUARANTINE)["message"].to_pylist()
    assert "ended its process 4 times; expected a volume" in reason
    assert verify.problems(Lake(tmp_path / "lake")) == []


def _deadly_sampler(lake: Path) -> type:
    """Return a sampler whose process ends when it draws case p3."""
    from jobs.generate.actor import Sampler

    class DeadlySampler(Sampler):
        def _draw_and_commit(self, item, *rest):  # type: ignore[no-untyped-def]
            if item.case_id == "p3":
                os._exit(137)
            super()._draw_and_commit(item, *rest)

    return DeadlySampler


@pytest.mark.slow
def test_a_driver_killed_half_way_and_run_again_ends_with_the_same_set(
    four_cases: Path, model_16: Path, tmp_path: Path
) -> None:
    command = [
        *(str(FACTORY), "generate", "--cases", str(four_cases), "--model", str(model_16)),
        *("--out", str(tmp_path / "lake"), "--recipe", "tiny", "--count", "12"),
        *("--steps", "20", "--actors", "2"),
    ]
    lake = Lake(tmp_path / "lake")
    with (tmp_path / "log").open("wb") as log:
        driver = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while not 3 <= len(lake.committed_ids()) < 12:
            assert driver.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
    half = {work_id: lake.committed_row(work_id)["attempt"] for work_id in lake.committed_ids()}
    assert 3 <= len(half) < 12
    assert not (tmp_path / "lake" / MANIFEST).exists()
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    # The actors outlive their driver by a moment, and may finish what they were at.
    (resumed,) = re.findall(r"resuming: (\d+) of 12 items done", ended.stderr)
    assert len(half) <= int(resumed) < 12

    generate(
        four_cases,
        model_16,
        tmp_path / "calm",
        Amount(count=12),
        replace(CONFIG, steps=20),
        device="cpu",
    )
    assert voxels(tmp_path / "lake") == voxels(tmp_path / "calm")
    digests = [
        pq.read_metadata(tmp_path / name / MANIFEST).metadata[b"ct_factory.content_digest"]
        for name in ("lake", "calm")
    ]
    assert digests[0] == digests[1]
    # What was finished before the kill was kept, and what was left lying is gone.
    assert (
        half.items()
        <= {
            work_id: lake.committed_row(work_id)["attempt"] for work_id in lake.committed_ids()
        }.items()
    )
    assert len(list((tmp_path / "lake" / "volumes").iterdir())) == 12
    assert verify.problems(lake) == []


def test_a_model_of_another_grid_is_refused(four_cases: Path, tmp_path: Path) -> None:
    model = random_checkpoint(tmp_path / "model", seed=0, grid=32)
    with pytest.raises(ModelError, match=r"its grid is 32\^3, but case store .* has 16\^3"):
        draw(four_cases, model, tmp_path / "lake", Amount(count=1))


def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error_at_once(
    four_cases: Path, model_16: Path, tmp_path: Path
) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ClusterError, match=r"device cuda: the Ray cluster has 4 CPUs and no GPU"):
        generate(four_cases, model_16, tmp_path / "lake", Amount(count=1), CONFIG, device="cuda")
