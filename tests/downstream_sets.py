"""Small sets to segment: lung with vessels and nodules in it, that a small network learns in seconds."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mix_sources
import numpy as np
from manifest_rows import real, sha
from support import connect_alone
from written_volumes import written

from factory.augment import AugmentConfig
from factory.axes import affine_from_zyx
from factory.digests import sha256_of_voxels
from factory.lake import MANIFEST, Lake
from factory.layouts import LUNG, NODULE
from factory.volumes import Volume
from jobs.cluster import Cluster
from jobs.downstream import job
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.fit import fit_and_test
from jobs.downstream.job import DownstreamResult, downstream
from jobs.downstream.plan import RunSpec, make_plan, make_spec
from jobs.downstream.results import Run, read_run
from manifests.write import write_manifest

SIZE = (12, 16, 16)
AFFINE = affine_from_zyx((2.5, 2.0, 2.0), (-30.0, 16.0, 16.0))

CONFIG = DownstreamConfig(
    network_args={"channels": [4, 8], "strides": [2]},
    steps=2,
    learning_rate=1e-2,
    num_loaders=0,
    augment=AugmentConfig(),
)
"""Of a network that takes milliseconds a step."""

WITHOUT_BATCH_NORM = DownstreamConfig(
    network="BasicUNet",
    network_args={"features": [4, 4, 8, 8, 8, 4], "norm": "instance"},
    divisible_by=16,
    steps=3,
    batch_size=3,
    learning_rate=1e-3,
)


def scan(seed: int, *, nodules: int = 1) -> Volume:
    """Return lung with two vessels and some nodules; a seed has always the same."""
    rng = np.random.default_rng(seed)
    ct = rng.normal(-850.0, 40.0, SIZE)
    layout = np.full(SIZE, LUNG, np.uint8)
    points = np.indices(SIZE).transpose(1, 2, 3, 0)
    for _ in range(2):
        place = rng.uniform(2.0, np.array(SIZE) - 3.0)
        along = int(rng.integers(3))
        apart = np.delete(points - place, along, axis=-1)
        ct[(apart**2).sum(axis=-1) < 1.5] = rng.normal(20.0, 20.0)
    for _ in range(nodules):
        place, radius = rng.uniform(3.5, np.array(SIZE) - 4.5), rng.uniform(2.2, 3.2)
        inside = ((points - place) ** 2).sum(axis=-1) < radius**2
        ct[inside] = rng.normal(20.0, 20.0)
        layout[inside] = NODULE
    return Volume(ct=ct.astype(np.int16), layout=layout, affine=AFFINE)


def read_case(case_id: str, **changes: object) -> dict[str, object]:
    """Return the row of a real scan that somebody looked for nodules in."""
    return mix_sources.case(case_id, **{"layout_origin": "annotated"} | changes)


def row_of(folder: Path, name: str, volume: Volume, **changes: Any) -> dict[str, Any]:
    """Write a volume, and return its row: real, and of a patient of its own."""
    return real(name) | written(folder, name, volume) | changes


def drawn_row(folder: Path, donor: int, volume: Volume, index: int) -> dict[str, Any]:
    """Write a synthetic volume of a donor, and return its row."""
    work_id = sha(f"{folder} {index}")[:32]
    row = row_of(folder, work_id, volume)
    named = real(f"c{donor}")
    made = {"kind": "synthetic", "work_id": work_id, "plan_index": index}
    about = {"reference_sha256": sha256_of_voxels(scan(donor).ct)}
    return row | made | about | {name: named[name] for name in ("case_id", "patient_id")}


def make_set(folder: Path, num_train: int, num_test: int, *, synthetic: int = 0) -> Path:
    """Write a lake: c0, c1, ... train, and t0, t1, ... test; synthetic ones are new scans of c0."""
    rows = [row_of(folder, f"c{n}", scan(n)) for n in range(num_train)]
    rows += [row_of(folder, f"t{n}", scan(1000 + n), split="test") for n in range(num_test)]
    rows += [drawn_row(folder, 0, scan(2000 + n), n) for n in range(synthetic)]
    return write_rows(folder, rows)


def write_rows(folder: Path, rows: list[dict[str, Any]], kind: str = "lake") -> Path:
    """Write the manifest of a lake's rows; return its folder."""
    lake = Lake(folder)
    lake.claim({"kind": kind})
    write_manifest(rows, lake.storage.child(MANIFEST))
    return folder


def spec_of(folder: Path, out: Path, config: DownstreamConfig = CONFIG, **given: Any) -> RunSpec:
    """Return a run on the manifest's own split, with some of its settings changed."""
    plan = make_plan(str(folder))
    asked: Mapping[str, Any] = {"seed": 0} | given
    return make_spec(plan, plan.folds[0], config, out=str(out), **asked)


def run(lake: Path, out: Path, **given: Any) -> DownstreamResult:
    """Train and test on a lake, with some settings changed."""
    config = replace(CONFIG, **given.pop("config", {}))
    return downstream(str(lake), out, config, **given)


def train_in_process(patch: Any) -> list[RunSpec]:
    """Make `downstream` train in this process; return the runs as they are begun."""
    started: list[RunSpec] = []

    def fit(cluster: Cluster, spec: RunSpec, num_workers: Any, device: str) -> None:
        started.append(spec)
        fit_and_test(spec, device="cpu")

    patch.setattr(job, "connect", connect_alone)
    patch.setattr(job, "fit_on_workers", fit)
    return started


def fit_of(lake: Path, out: Path, **changes: Any) -> Run:
    """Train and test one run on a lake, in this process, and read it."""
    config = replace(CONFIG, **changes.pop("config", {}))
    fit_and_test(spec_of(lake, out, config, **changes), device="cpu")
    return read_run(out)
