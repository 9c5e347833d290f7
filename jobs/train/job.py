"""A model out of a case store.

case store --> Ray Train workers: train_loop --> RUN/ray/train/step_N --> RUN/model

RUN/run.json        what the run was asked for; a rerun must ask the same
RUN/metrics.jsonl   a line a step
RUN/ray/            Ray Train's storage: what a rerun goes on from
RUN/model/          the averaged model, when the last step is done
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from factory.digests import digest_json
from factory.errors import ClusterError, FactoryError, RecipeError, StoreError, UsageError
from jobs.cases import CaseStore, open_case_store
from jobs.claims import differences
from jobs.cluster import Cluster, connect
from jobs.console import say
from jobs.train.config import TrainConfig
from jobs.train.loop import METRICS, MODEL, LoopSettings, train_loop
from jobs.train.watch import last_metrics, watch
from models.card import read_model_card
from models.engine import computes_in_bfloat16

RUN_FILE = "run.json"

_RAY_NAME = "train"
_LOCK = ".lock"
_MANY_STEPS = 10_000


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run left."""

    model: str
    digest: str
    step: int
    loss: float
    """Of the last step."""


def train(
    cases: Path,
    run: Path,
    config: TrainConfig,
    *,
    recipe: str,
    num_workers: int | None = None,
    device: str = "auto",
    ray_address: str | None = None,
) -> TrainResult:
    """Train a model on the training split of a case store; run again, it goes on.

    Args:
        cases: Case store.
        run: Folder of the run, made or gone on with.
        config: How; the network's grid is set to the store's.
        recipe: Where `config` is from, for the model card.
        num_workers: Ray Train workers; None takes one a GPU, or one.
        device: `auto`, `cpu` or `cuda`.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: The run was asked for differently before, or it failed.
    """
    store = open_case_store(cases)
    config = _fit(config, store)
    run = run.resolve()
    _claim(run, config, store)
    settings = LoopSettings(
        config=config,
        ingest=store.ingest,
        cases_url=store.url,
        image_paths=[row["image_uri"] for row in store.training_rows()],
        run_dir=str(run),
        notes={"recipe": recipe, "num_cases": len(store.training_rows())},
    )
    with _alone(run):
        if (step := _newest_checkpoint(run)) and _steps_done(run) < config.steps:
            say(f"train: going on from the checkpoint of step {step}")
        if _steps_done(run) < config.steps:
            with connect(ray_address) as cluster, watch(run / METRICS, config.steps):
                _fit_on(cluster, settings, run, num_workers, device)
    return _result(run)


def _fit(config: TrainConfig, store: CaseStore) -> TrainConfig:
    """Set the network's grid to the store's."""
    try:
        return replace(config, model=replace(config.model, grid=store.grid))
    except ValueError as error:
        raise RecipeError(
            f"[train.model] does not fit the {store.grid}^3 grid of case store {store.url}: {error}. "
            "Change the recipe, or ingest with another --grid."
        ) from error


def _claim(run: Path, config: TrainConfig, store: CaseStore) -> None:
    """Make the run this config's, or refuse with the difference."""
    wanted: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    wanted["cases_digest"] = digest_json(
        sorted([row["image_sha256"], row["layout_sha256"]] for row in store.training_rows())
    )
    # These change how far and how it goes; everything else would make another model of that name.
    for key in (
        "steps",
        "checkpoint_every",
        "num_checkpoints",
        "max_failures",
        "activation_checkpointing",
    ):
        del wanted[key]
    file = run / RUN_FILE
    if not file.exists():
        run.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{os.getpid()}.unfinished")
        aside.write_text(json.dumps(wanted, indent=1), encoding="utf-8")
        aside.replace(file)
        return
    found = _read_run(file)
    found.pop("activation_checkpointing", None)
    found.setdefault("precision", "float32")
    if changed := differences(found, wanted):
        raise StoreError(
            f"run {run}: asked for differently before ({'; '.join(changed)}); expected the same "
            "recipe and cases. Choose another --out, or go back to the recipe and cases of the run."
        )


def _read_run(file: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(
            f"run {file.parent}: {RUN_FILE} is not JSON ({error}). Choose another --out."
        ) from error
    return found


def _fit_on(
    cluster: Cluster, settings: LoopSettings, run: Path, num_workers: int | None, device: str
) -> None:
    from ray.train import (
        CheckpointConfig,
        FailureConfig,
        RunConfig,
        ScalingConfig,
        TrainingFailedError,
    )
    from ray.train.torch import TorchTrainer

    use_gpu = cluster.use_gpu(device)
    if not use_gpu and settings.config.steps >= _MANY_STEPS:
        say(
            f"warning: {settings.config.steps} steps without a GPU take weeks; --recipe demo is made "
            "for CPUs"
        )
    emulated = settings.config.precision == "bfloat16" and not computes_in_bfloat16("cpu")
    if cluster.is_local and not use_gpu and emulated:
        say(
            "warning: this CPU has no bfloat16 arithmetic and emulates it, slowly; a recipe with "
            'precision = "float32" under [train] trains faster here'
        )
    workers = _num_workers(cluster, settings.config, num_workers, use_gpu=use_gpu)
    if cluster.is_local and not use_gpu:
        settings = replace(settings, num_threads=max(1, int(cluster.num_cpus) // workers))
    trainer = TorchTrainer(
        train_loop,
        train_loop_config={"settings": settings},
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=use_gpu,
            resources_per_worker=None if use_gpu else {"CPU": settings.num_threads},
        ),
        run_config=RunConfig(
            name=_RAY_NAME,
            storage_path=str(run / "ray"),
            failure_config=FailureConfig(max_failures=settings.config.max_failures),
            checkpoint_config=CheckpointConfig(num_to_keep=settings.config.num_checkpoints),
        ),
    )
    try:
        result = trainer.fit()
    except TrainingFailedError as error:
        raise FactoryError(
            f"run {run}: training failed ({_last_line(error)}); expected {settings.config.steps} "
            "steps. Mend the cause and run the same command again: it goes on from the last "
            "checkpoint."
        ) from error
    if result.checkpoint is None:
        raise FactoryError(f"run {run}: training ended without a checkpoint. Run it again.")
    with result.checkpoint.as_directory() as folder:
        _publish(Path(folder, MODEL), run / MODEL)


def _num_workers(cluster: Cluster, config: TrainConfig, asked: int | None, *, use_gpu: bool) -> int:
    there = int(cluster.num_gpus if use_gpu else cluster.num_cpus)
    if asked is None:
        return max(1, min(there, config.batch_size)) if use_gpu else 1
    if asked > config.batch_size:
        raise UsageError(
            f"--num-workers {asked}: the recipe's batch_size is {config.batch_size}, over all workers "
            "together; expected a volume for each worker at every step. Raise [train] batch_size."
        )
    if asked > there:
        raise ClusterError(
            f"--num-workers {asked}: the cluster has {there} {'GPUs' if use_gpu else 'CPUs'}, and a "
            "worker takes one; expected at most that. Ask for fewer, or join a larger cluster with "
            "--ray-address."
        )
    return asked


@contextmanager
def _alone(run: Path) -> Iterator[None]:
    """Hold a run for this process; the lock ends with the process, however it ends."""
    with (run / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"run {run}: another process trains into it; expected none. Wait for it, or choose "
                "another --out."
            ) from error
        yield


def _publish(trained: Path, model: Path) -> None:
    """Put the trained model in its place, whole or not at all."""
    aside = model.with_name(f".{model.name}.unfinished")
    old = model.with_name(f".{model.name}.old")
    for left in (aside, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(trained, aside)
    if model.exists():
        model.rename(old)
    aside.rename(model)
    shutil.rmtree(old, ignore_errors=True)


def _steps_done(run: Path) -> int:
    """Return the steps of the published model; 0 where there is none."""
    if not (run / MODEL).exists():
        return 0
    step = read_model_card(run / MODEL).training["step"]
    assert isinstance(step, int)
    return step


def _newest_checkpoint(run: Path) -> int:
    """Return the step of the newest checkpoint; 0 where there is none."""
    folders = (run / "ray" / _RAY_NAME).glob("step_*")
    return max((int(folder.name.removeprefix("step_")) for folder in folders), default=0)


def _result(run: Path) -> TrainResult:
    last = last_metrics(run / METRICS)
    return TrainResult(
        model=str(run / MODEL),
        digest=read_model_card(run / MODEL).digest,
        step=_steps_done(run),
        loss=float(last.get("loss", "nan")),
    )


def _last_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
