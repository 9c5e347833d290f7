"""Segmentation on Ray Train: two workers as one, and what comes back from them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from downstream_sets import CONFIG, WITHOUT_BATCH_NORM, make_set

from factory.errors import FactoryError
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.job import downstream
from jobs.downstream.results import Run

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "lake", 5, 2, synthetic=1)


def run(lake: Path, out: Path, config: DownstreamConfig, num_workers: int) -> Run:
    result = downstream(str(lake), out, config, num_workers=num_workers, device="cpu")
    return result.runs[0]


def losses(out: Path) -> list[float]:
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


@pytest.mark.parametrize("kind", ["instance norm", "batch norm"])
def test_two_workers_train_on_the_same_batch_as_one(lake: Path, tmp_path: Path, kind: str) -> None:
    """Of three volumes a step, one worker takes two and the other the third."""
    config = replace(CONFIG, batch_size=3, steps=3, learning_rate=1e-3)
    config = WITHOUT_BATCH_NORM if kind == "instance norm" else config
    one = run(lake, tmp_path / "one", config, 1)
    two = run(lake, tmp_path / "two", config, 2)

    # Sums of floats in another order; a wrong batch or a missed average is off by percents.
    assert losses(tmp_path / "two") == pytest.approx(losses(tmp_path / "one"), rel=1e-5)
    assert [case.case_id for case in two.cases] == [case.case_id for case in one.cases]
    apart = [a.dice - b.dice for a, b in zip(one.cases, two.cases, strict=True)]
    assert np.abs(apart).max() < 1e-2
    assert not (tmp_path / "two" / "ray").exists()


def test_what_a_worker_cannot_do_is_said_in_its_own_words(lake: Path, tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rate=1e38, steps=9)
    with pytest.raises(FactoryError, match=r"training stopped at step \d+: the loss is"):
        run(lake, tmp_path / "out", config, 2)
    assert not (tmp_path / "out" / "result.json").exists()
