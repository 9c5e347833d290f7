"""A sweep: one run for each mix, seed and fold, and what they show together.

manifest --make_plan--> folds x mixes x seeds --a Ray task each: run_once--> SWEEP/runs/
SWEEP/runs/ --finished ones, write_outcome--> figures.parquet, tables/table3.md, figure-5a and 5b
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from factory.counted import counted
from factory.errors import FactoryError, UsageError
from jobs.cluster import connect
from jobs.console import progress, say
from jobs.downstream.claims import RUNS
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.curves import FIGURE_5A, FIGURE_5B
from jobs.downstream.figures import MixFigures, figures_of
from jobs.downstream.networks import check_network, try_without_weights
from jobs.downstream.outcome import write_outcome
from jobs.downstream.plan import Plan, RunSpec, make_plan, make_spec
from jobs.downstream.sweep.folder import (
    FAILED,
    asked_of,
    claim,
    is_finished,
    labels_of,
    read_runs,
    run_name,
    set_torn_aside,
    working,
)
from jobs.downstream.sweep.going import steps_of, tell_of_warnings
from jobs.downstream.sweep.mixes import Mix, distinct, mix_of, volumes_of
from jobs.downstream.sweep.needs import Needs, bytes_of_the_largest_node, needs_of, tell_of_needs
from jobs.downstream.sweep.task import MAX_ATTEMPTS, Failure, ended_too_often, run_once
from jobs.downstream.telling import notes_of, tell_of
from manifests.errors import ManifestError
from manifests.read import is_url, read_table
from manifests.write import write_table

MOST_SEEDS = 1_000
"""Of a mix: each is a training."""

_SECONDS_BETWEEN_LOOKS = 1.0
"""At how far the runs are that are at work."""

_TEXT = pa.string()

FAILED_SCHEMA = pa.schema(
    [
        *(pa.field(name, _TEXT, nullable=False) for name in ("run", "mix")),
        *(pa.field(name, pa.int64(), nullable=False) for name in ("seed", "fold")),
        *(
            pa.field(name, _TEXT, nullable=False)
            for name in ("error_class", "message", "traceback_tail")
        ),
    ]
)
"""One row a run that is not finished, with what ended it last."""


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep left in its folder."""

    table: str
    """Path of tables/table3.md."""
    num_runs: int
    """Finished ones that the folder has, asked for now or before."""
    num_failed: int
    """Of those that were asked for."""
    mixes: Sequence[MixFigures]
    """Of all finished runs."""
    figures: Sequence[str] = ()
    """Paths of the curves, as PNG, that two mixes or more are enough for."""


def sweep(
    manifest: str,
    out: Path,
    config: DownstreamConfig,
    mixes: Sequence[Mix],
    *,
    num_seeds: int = 3,
    num_folds: int = 1,
    device: str = "auto",
    ray_address: str | None = None,
) -> SweepResult:
    """Train and test each mix with each seed in each fold; run again, it does what is missing.

    Args:
        manifest: Path or URL of a manifest, or of a lake.
        out: Folder of the sweep, made, gone on with, or extended; all nodes see it.
        config: How each run goes.
        mixes: Of `parse_mixes`.
        num_seeds: Runs of each mix, from seed 0 on; at most `MOST_SEEDS`.
        num_folds: As in `make_plan`.
        device: `auto`, `cpu` or `cuda`.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: The manifest has too few volumes, the folder is another sweep's, or no run
            could be finished.
        ManifestError: There is no manifest, or it is torn.
    """
    if not 1 <= num_seeds <= MOST_SEEDS:
        raise UsageError(
            f"--seeds {num_seeds}: expected from 1 to {MOST_SEEDS} trainings of each mix. Ask for fewer."
        )
    # Wrong arguments would end each run alike: here they do before the first one.
    network = check_network(config)
    place = manifest if is_url(manifest) else os.path.abspath(manifest)
    out = Path(os.path.abspath(out))
    plan = make_plan(place, num_folds=num_folds, unannotated=config.unannotated)
    try_without_weights(network, plan.grid)
    specs = specs_of(plan, out, config, _told(mixes, plan, out), num_seeds)
    claim(out, asked_of(plan, config))
    # Before hours are spent: torn ones, and those of other sweeps, would be found in the end.
    read_runs(out, plan, config)
    _earlier_failures(out)
    todo = [spec for spec in specs if not is_finished(Path(spec.out))]
    if len(todo) < len(specs):
        say(f"resuming: {len(specs) - len(todo)} of {counted(len(specs), 'run')} finished")
    failures = _run(todo, out, plan, config, device, ray_address) if todo else {}
    notes = [*notes_of(plan), *_keep_failures(out, specs, failures)]
    runs = read_runs(out, plan, config)
    if not runs:
        first = next(iter(failures.values()))
        raise FactoryError(
            f"sweep {out}: of {counted(len(failures), 'run')} none could be finished, the first as: {first.message} Mend it and run the "
            "same command again."
        )
    table = write_outcome(runs, out, notes)
    drawn = (out / f"{name}.png" for name in (FIGURE_5A, FIGURE_5B))
    figures = [str(one) for one in drawn if one.exists()]
    return SweepResult(str(table), len(runs), len(failures), figures_of(runs), figures)


def specs_of(
    plan: Plan, out: Path, config: DownstreamConfig, mixes: Sequence[Mix], num_seeds: int
) -> list[RunSpec]:
    """Return all runs, each seed's together: a sweep that is stopped has whole curves of some.

    Raises:
        UsageError: A mix needs more synthetic volumes than a fold has.
    """
    train = {(mix, fold.number): volumes_of(mix, fold) for fold in plan.folds for mix in mixes}
    return [
        make_spec(
            plan,
            fold,
            config,
            out=str(out / RUNS / run_name(mix.label, seed, fold.number)),
            seed=seed,
            label=mix.label,
            train=train[mix, fold.number],
        )
        for seed in range(num_seeds)
        for fold in plan.folds
        for mix in mixes
    ]


def _told(mixes: Sequence[Mix], plan: Plan, out: Path) -> list[Mix]:
    """Tell people what will not train; return the mixes that differ."""
    tell_of(plan, with_synthetic=any(mix.kind != "real" for mix in mixes))
    earlier = [mix for label in labels_of(out) if (mix := mix_of(label))]
    chosen, renamed = distinct(mixes, plan, earlier)
    for label, other in renamed.items():
        say(f"warning: {label} goes by the name of {other}: they are the same volumes here")
    return chosen


def _run(
    todo: Sequence[RunSpec],
    out: Path,
    plan: Plan,
    config: DownstreamConfig,
    device: str,
    ray_address: str | None,
) -> dict[str, Failure]:
    """Bring every run to an end; return those that failed, by name."""
    failures: dict[str, Failure] = {}
    told: set[str] = set()
    with working(out) as aside, connect(ray_address) as cluster:
        use_gpu = cluster.use_gpu(device)
        needs = needs_of(cluster, plan, config, use_gpu=use_gpu, limit=bytes_of_the_largest_node())
        tell_of_needs(needs)
        with progress("downstream sweep", len(todo)) as tracker:
            names = set[str]()
            for ended in _ended(todo, aside, needs):
                if ended:
                    spec, failure = ended
                    names.add(Path(spec.out).name)
                    if failure:
                        failures[Path(spec.out).name] = failure
                        say(f"failed: {failure.message}")
                    tell_of_warnings(Path(spec.out), told)
                parts = [f"{len(failures)} failed"] if failures else []
                going = steps_of(aside, config.steps, ended=names)
                tracker.update(len(names), ", ".join([*parts, *going]))
    return failures


def _ended(
    todo: Sequence[RunSpec], aside: Path, needs: Needs
) -> Iterator[tuple[RunSpec, Failure | None] | None]:
    """Run tasks on the cluster; yields each run as it ends, and None now and then while they go on."""
    import ray
    from ray.exceptions import OutOfMemoryError, RayError, WorkerCrashedError

    # Ray's types count the arguments of what they know, and miscount those with defaults.
    run: Callable[..., Failure | None] = run_once
    task = ray.remote(
        num_cpus=needs.num_cpus,
        num_gpus=needs.num_gpus,
        memory=needs.memory,
        max_retries=MAX_ATTEMPTS - 1,
    )(run)
    device, num_threads = ("cuda", None) if needs.num_gpus else ("cpu", needs.num_cpus)
    running: dict[Any, RunSpec] = {
        task.remote(spec, str(aside), device, num_threads): spec for spec in todo
    }
    while running:
        ready, _ = ray.wait(list(running), timeout=_SECONDS_BETWEEN_LOOKS)
        if not ready:
            yield None
            continue
        done = ready[0]
        spec = running.pop(done)
        try:
            yield spec, ray.get(done)
        except (OutOfMemoryError, WorkerCrashedError):
            yield spec, ended_too_often(Path(spec.out).name)
        except RayError as error:
            yield spec, _lost(Path(spec.out).name, error)


def _lost(name: str, error: Exception) -> Failure:
    """Return what to say of a run whose task Ray could not bring to its end."""
    reason = " ".join(str(error).split())[-300:]
    return Failure(
        error_class=type(error).__name__,
        message=f"run {name}: its task ended outside the run ({type(error).__name__}: {reason}); expected a node "
        "that has this package and sees the folder. Mend it and run again.",
    )


def _keep_failures(out: Path, specs: Sequence[RunSpec], failures: dict[str, Failure]) -> list[str]:
    """Write `failed.parquet` anew, of runs that failed, now or when they were last asked for.

    Returns:
        What a table says of each.
    """
    asked = {Path(spec.out).name: spec for spec in specs}
    rows = [
        row
        for row in _earlier_failures(out)
        if row["run"] not in asked and not is_finished(out / RUNS / row["run"])
    ]
    for name, failure in failures.items():
        spec = asked[name]
        rows.append(
            {
                "run": name,
                "mix": spec.label,
                "seed": spec.seed,
                "fold": spec.fold,
                "error_class": failure.error_class,
                "message": failure.message,
                "traceback_tail": failure.traceback_tail,
            }
        )
    rows.sort(key=lambda row: str(row["run"]))
    write_table(pa.Table.from_pylist(rows, schema=FAILED_SCHEMA), out / FAILED)
    return [f"Missing: {row['message']}" for row in rows]


def _earlier_failures(out: Path) -> list[dict[str, Any]]:
    """Return what runs failed of before; notes that are torn are told, and set aside."""
    file = out / FAILED
    if not os.path.lexists(file):
        return []
    try:
        rows: list[dict[str, Any]] = read_table(file, FAILED_SCHEMA).to_pylist()
    except (ManifestError, OSError) as error:
        aside = set_torn_aside(out, FAILED)
        say(
            f"warning: {error} It only has notes of runs that failed: it is now {aside.name}, and the sweep "
            "goes on without"
        )
        return []
    return rows
