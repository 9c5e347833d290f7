"""A model out of a case store.

case store --> Ray Train workers: train_loop --> RUN/checkpoints/step_N --> RUN/model

`jobs.train.run_folder` says what lies in RUN.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from factory.counted import counted
from factory.errors import FactoryError, RecipeError, UsageError
from factory.ingest.prepare import IngestConfig
from factory.nodules.crops import load_crops
from jobs.cases import CaseStore, open_case_store
from jobs.cluster import connect
from jobs.console import command_line, say
from jobs.recipe import recipe_names
from jobs.train.checkpoints import MODEL, best_step, model_of, newest_step, newest_whole
from jobs.train.config import TrainConfig
from jobs.train.fit import fit
from jobs.train.run_folder import (
    METRICS,
    alone,
    asked_of,
    check_checkpoint,
    check_claim,
    claim,
    keep_last_asked,
    only_writer,
    publish,
    set_aside,
    steps_done,
)
from jobs.train.settings import LoopSettings, StoredCase
from jobs.train.watch import last_metrics, watch
from jobs.train.workers import NumWorkers, check_volumes
from models.card import read_model_card
from models.checkpoint import load_checkpoint
from models.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run left."""

    model: str
    digest: str
    step: int
    loss: float
    """Of the last step."""


def train(
    cases: str | Path,
    run: Path,
    config: TrainConfig,
    *,
    recipe: str,
    ingest: IngestConfig | None = None,
    num_workers: NumWorkers | None = None,
    device: str = "auto",
    nodules: Path | None = None,
    fresh: bool = False,
    ray_address: str | None = None,
) -> TrainResult:
    """Train a model on the training split of a case store; run again, it goes on.

    Args:
        cases: Case store, a path or an fsspec URL.
        run: Folder of the run, made or gone on with.
        config: How; the network's grid is set to the store's.
        recipe: Where `config` is from, for the model card.
        ingest: How the recipe wants its cases; others are warned of. None wants nothing.
        num_workers: Ray Train workers, or the fewest and the most; None takes one a GPU, or one.
        device: `auto`, `cpu` or `cuda`.
        nodules: Nodule crops, for recipes that graft.
        fresh: Start anew; an earlier run of that name is set aside.
        ray_address: Cluster to join; None starts one.

    Raises:
        FactoryError: The run was asked for differently before, or it failed.
    """
    run = run.resolve()
    store, settings = _prepared(cases, run, config, recipe, num_workers, nodules)
    _warn_of_others(store, ingest, recipe)
    if fresh and (old := set_aside(run)):
        say(f"train: the earlier run is now {old}; remove it when nothing of it is needed")
    with alone(run):
        claim(run, settings.asked)
        keep_last_asked(run, config.steps, _again(store, run, config, recipe, nodules))
        _finish(settings, run, num_workers, device, ray_address)
    return _result(run)


def dry_run(
    cases: str | Path,
    run: Path,
    config: TrainConfig,
    *,
    recipe: str,
    ingest: IngestConfig | None = None,
    num_workers: NumWorkers | None = None,
    device: str = "auto",
    nodules: Path | None = None,
    fresh: bool = False,
    ray_address: str | None = None,
) -> str:
    """Return what `train` would do, having refused what it would refuse; writes nothing.

    Arguments are those of `train`. No cluster is started, nor joined.

    Raises:
        FactoryError: The run was asked for differently before.
    """
    from jobs.train.dry_run import describe

    run = run.resolve()
    store, settings = _prepared(cases, run, config, recipe, num_workers, nodules)
    _warn_of_others(store, ingest, recipe)
    if not fresh:
        check_claim(run, settings.asked)
    return describe(
        settings.config,
        store,
        recipe=recipe,
        device=device,
        num_workers=num_workers,
        steps_done=0 if fresh else newest_step(run),
        ray_address=ray_address,
    )


def _prepared(
    cases: str | Path,
    run: Path,
    config: TrainConfig,
    recipe: str,
    num_workers: NumWorkers | None,
    nodules: Path | None,
) -> tuple[CaseStore, LoopSettings]:
    """Return the cases and what workers are told of them; refuse what no run could be."""
    store = open_case_store(cases)
    settings = _settings(store, run, _fit(config, store), nodules, recipe)
    check_volumes(num_workers, config.batch_size)
    return store, settings


def _warn_of_others(store: CaseStore, ingest: IngestConfig | None, recipe: str) -> None:
    """Tell of cases that were brought to another grid than the recipe's."""
    wanted = asdict(ingest) if ingest else {}
    told = "; ".join(
        f"{name} of the recipe is {value}, of the store {store.ingest[name]}"
        for name, value in wanted.items()
        if name in store.ingest and value != store.ingest[name]
    )
    if not told:
        return
    name = recipe if recipe in recipe_names() else Path(recipe).resolve()
    line = command_line("factory ingest SCANS", flags={"--recipe": name, "--out": "CASES"})
    say(
        f"warning: case store {store.url} was ingested with other settings than [ingest] of recipe {recipe} "
        f"({told}); expected the same. The model is trained on the store's grid, and draws from such cases "
        f"alone. For the recipe's: {line}"
    )


def _again(
    store: CaseStore, run: Path, config: TrainConfig, recipe: str, nodules: Path | None
) -> str:
    """Return the command that goes on with a run, from any folder."""
    flags = {
        "--cases": store.url,
        "--out": run,
        "--recipe": recipe if recipe in recipe_names() else Path(recipe).resolve(),
        "--steps": config.steps,
        "--nodules": nodules.resolve() if nodules else None,
    }
    return command_line("factory train", flags=flags)


def _fit(config: TrainConfig, store: CaseStore) -> TrainConfig:
    """Set the network's grid to the store's."""
    try:
        return replace(config, model=replace(config.model, grid=store.grid))
    except ValueError as error:
        raise RecipeError(
            f"[train.model] does not fit the {store.grid}^3 grid of case store {store.url}: {error}. "
            "Change the recipe, or ingest with another --grid."
        ) from error


def _settings(
    store: CaseStore, run: Path, config: TrainConfig, nodules: Path | None, recipe: str
) -> LoopSettings:
    training = store.training_rows()
    crops = _crops_digest(config, nodules)
    return LoopSettings(
        config=config,
        ingest=store.ingest,
        cases_url=store.url,
        training_cases=[_stored(row) for row in training],
        validation_cases=[_stored(row) for row in store.rows if row["split"] == "val"],
        crops_path=str(nodules.resolve()) if nodules else None,
        asked=asked_of(config, store, crops),
        run_dir=str(run),
        notes={"recipe": recipe, "num_cases": len(training)},
    )


def _stored(row: dict[str, object]) -> StoredCase:
    return StoredCase(case_id=str(row["case_id"]), image_path=str(row["image_uri"]))


def _crops_digest(config: TrainConfig, nodules: Path | None) -> str | None:
    """Return the digest of the crops; None where none are grafted.

    Raises:
        UsageError: Crops without a recipe that grafts them, or such a recipe without crops.
    """
    if config.graft.is_on and nodules is None:
        raise UsageError(
            f"[train.graft] probability is {config.graft.probability}, but there are no nodules to "
            "graft; expected crops of real ones. Name them with --nodules, or set it to 0."
        )
    if nodules is None:
        return None
    if not config.graft.is_on:
        raise UsageError(
            f"--nodules {nodules}: the recipe grafts none; expected [train.graft] probability above 0. "
            "Set it, or leave the flag away."
        )
    return load_crops(nodules).digest


def _finish(
    settings: LoopSettings,
    run: Path,
    num_workers: NumWorkers | None,
    device: str,
    ray_address: str | None,
) -> None:
    """Take the steps that are missing, and publish the model of the last."""
    steps = settings.config.steps
    if _is_whole(run / MODEL) and (taken := steps_done(run)) >= steps:
        if taken > steps:
            say(
                f"train: run {run} has taken {counted(taken, 'step')} already, and --steps {steps} takes none back: "
                f"its model is kept as it is. Ask for more than {taken}, or choose another --out."
            )
        return
    with only_writer(run):
        newest = newest_whole(run, say)
    if newest:
        check_checkpoint(newest, settings.asked)
        _check_steps(run, newest.step, steps)
    if newest is None or newest.step < steps:
        if newest:
            say(f"train: going on from the checkpoint of step {newest.step}")
        with connect(ray_address) as cluster, watch(run / METRICS, steps):
            fit(cluster, settings, run, num_workers, device)
        newest = newest_whole(run, say)
    if newest is None or newest.step < steps:
        raise FactoryError(f"run {run}: training ended without its last checkpoint. Run it again.")
    publish(newest.model, run)
    if (best := best_step(run)) not in (None, newest.step):
        say(
            f"train: the lowest validation loss was at step {best}; to draw with its model, "
            f"--model {model_of(run, best)}"
        )


def _is_whole(model: Path) -> bool:
    """Return whether there is a published model, with a warning where it is torn."""
    if not model.exists():
        return False
    try:
        load_checkpoint(model)
    except CheckpointError as error:
        say(f"warning: {error}; it is made again from the newest checkpoint")
        return False
    return True


def _check_steps(run: Path, taken: int, asked: int) -> None:
    if taken > asked:
        raise UsageError(
            f"--steps {asked}: run {run} has taken {taken}; expected at least that, for steps are not "
            "taken back. Ask for more, or choose another --out."
        )


def _result(run: Path) -> TrainResult:
    last = last_metrics(run / METRICS)
    return TrainResult(
        model=str(run / MODEL),
        digest=read_model_card(run / MODEL).digest,
        step=steps_done(run),
        loss=float(last.get("loss", "nan")),
    )
