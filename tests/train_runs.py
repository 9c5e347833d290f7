"""Small training runs, and what they left."""

import json
import os
from dataclasses import replace
from pathlib import Path

from jobs.recipe import load_recipe
from jobs.train.config import TrainConfig
from jobs.train.job import train
from jobs.train.workers import NumWorkers

# Threads that wait by spinning make a step of milliseconds take half a minute where something else
# runs too. Workers inherit this: it is read here before any cluster starts.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

CONFIG = replace(load_recipe("tiny").table("train", TrainConfig), checkpoint_every=3, num_probes=2)


def losses(run: Path) -> list[float]:
    """Loss by step, each of which must be there once, in order."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    return [line["loss"] for line in lines]


def train_to(
    cases: Path,
    run: Path,
    steps: int,
    *,
    num_workers: NumWorkers = 1,
    batch_size: int = 2,
    config: TrainConfig = CONFIG,
) -> list[float]:
    """Train to a step, and return the losses of all."""
    config = replace(config, steps=steps, batch_size=batch_size)
    result = train(cases, run, config, recipe="tiny", num_workers=num_workers, device="cpu")
    assert result.step == steps
    return losses(run)
