"""Sweeps whose runs are rehearsed: scores that follow from what a run trains on, and no network."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from downstream_sets import read_case
from mix_sources import drawn, make_source
from support import connect_alone
from typer.testing import CliRunner

from factory.segmentation.score import CaseScore, NoduleScore
from jobs.downstream.command import app
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.identity import digest_of, identity_of
from jobs.downstream.plan import RunSpec, resolve
from jobs.downstream.results import Run, write_run
from jobs.downstream.sweep import job, task
from jobs.downstream.sweep.folder import finished
from jobs.downstream.sweep.mixes import parse_mixes
from jobs.downstream.sweep.needs import Needs

CONFIG = DownstreamConfig(steps=2, network_args={"channels": [4, 8], "strides": [2]})
MIXES = parse_mixes("0,0.5,1", None, extra=True)


def make_sweep_source(folder: Path) -> str:
    """Write a lake of six training patients, two that test, and eight drawn volumes."""
    rows = [read_case(f"c{n}") for n in range(6)]
    rows += [read_case(f"t{n}", split="test") for n in range(2)]
    rows += [drawn(f"c{n % 4}", n) for n in range(8)]
    return make_source(folder, "lake", rows)


def rehearse_in_process(patch: pytest.MonkeyPatch) -> list[str]:
    """Make a sweep rehearse its runs in this process; return their names as they are trained."""
    names: list[str] = []

    def rehearse(spec: RunSpec, *, device: str) -> None:
        names.append(Path(spec.out).name.rsplit(".", 1)[0])
        write_finished(spec)

    def ended(todo: Sequence[RunSpec], aside: Path, needs: Needs) -> Iterator[Any]:
        for spec in todo:
            yield spec, task.run_once(spec, str(aside), "cpu")

    patch.setattr(task, "fit_and_test", rehearse)
    patch.setattr(job, "write_outcome", write_scores)
    patch.setattr(job, "figures_of", lambda runs: [])
    patch.setattr(job, "connect", connect_alone)
    patch.setattr(job, "_ended", ended)
    patch.setattr(job, "bytes_of_the_largest_node", lambda: 2**40)
    return names


def write_scores(runs: Sequence[Run], out: Path, notes: Sequence[str]) -> Path:
    """Write what runs have without what it comes to, which takes its time."""
    lines = [f"{run.label} {run.seed} {run.fold} {[one.dice for one in run.cases]}" for run in runs]
    table = out / "tables" / "table3.md"
    table.parent.mkdir(exist_ok=True)
    table.write_text("\n".join([*lines, *notes]))
    return table


def write_finished(spec: RunSpec) -> None:
    """Write a run whose scores follow from what it trains on, and from its seed."""
    train, test = resolve(spec)
    num_synthetic = sum(row["kind"] == "synthetic" for row in train)
    write_run(
        Path(spec.out),
        [score_of(spec, row, num_synthetic) for row in test],
        config=identity_of(spec.config),
        digest=digest_of(spec, train, test),
        seed=spec.seed,
        fold=spec.fold,
        manifest=spec.manifest,
        label=spec.label,
        mix={"num_real": len(train) - num_synthetic, "num_synthetic": num_synthetic},
        network=spec.config.network,
        num_parameters=1,
        steps=spec.config.steps,
        seconds=1.0,
        loss=[1.0, 0.5],
    )


def score_of(spec: RunSpec, row: Any, num_synthetic: int) -> CaseScore:
    """Return the score of a case that follows from the seed and the training set."""
    told = f"{spec.seed} {row['case_id']} {sorted(map(Path, spec.train_ids))}"
    noise = int(hashlib.sha256(told.encode()).hexdigest()[:8], 16) / 2**32
    dice = 0.4 + 0.05 * num_synthetic + 0.1 * noise
    return CaseScore(
        case_id=row["case_id"],
        patient_id=row["patient_id"],
        dice=dice,
        sensitivity=dice,
        specificity=0.99,
        num_nodules=1,
        num_found=1,
        num_false=0,
        true_ml=1.0,
        predicted_ml=1.0,
        sizes=(NoduleScore(diameter_mm=7.0, found=True, sensitivity=dice),),
    )


def names_of(out: Path) -> list[str]:
    """Return the names of the finished runs."""
    return [run.name for run in finished(out)]


def tables_of(out: Path) -> dict[str, bytes]:
    """Return all that a sweep tells, by name."""
    files = [*out.glob("figure*"), *(out / "tables").iterdir()]
    return {file.name: file.read_bytes() for file in files}


def failed(out: Path) -> list[dict[str, Any]]:
    """Return the rows of the runs that failed."""
    rows: list[dict[str, Any]] = pq.read_table(out / "failed.parquet").to_pylist()
    return rows


def break_runs(monkeypatch: pytest.MonkeyPatch, names: set[str], error: Exception) -> None:
    """Let some runs fail once they are trained."""
    whole = task.fit_and_test

    def fit(spec: RunSpec, *, device: str) -> None:
        whole(spec, device=device)
        if Path(spec.out).name.rsplit(".", 1)[0] in names:
            raise error

    monkeypatch.setattr(task, "fit_and_test", fit)


def invoke(source: str, folder: Path) -> Any:
    """Run the command with two seeds of two mixes, out of a folder of its own."""
    recipe = folder / "small.toml"
    recipe.write_text(
        "[downstream]\nsteps = 2\nnetwork_args = {channels = [4, 8], strides = [2]}\n"
    )
    flags = ["--ratios", "0.5", "--extra", "--seeds", "2", "--recipe", str(recipe)]
    return CliRunner().invoke(
        app, ["sweep", "--manifest", source, "--out", str(folder / "out"), *flags]
    )


def spec_of(source: str, folder: Path) -> RunSpec:
    """Return the run on all real volumes with the first seed."""
    plan = job.make_plan(source)
    (spec,) = job.specs_of(plan, folder, CONFIG, parse_mixes(None, "1", extra=False), 1)
    return spec
