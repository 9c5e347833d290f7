"""Which model draws, and whether the cases are what it was trained on.

--model, or the run, or what ships --find_model--> folder or URL --open_model--> checkpoint, card
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from factory.errors import ModelError, UsageError
from factory.ingest.prepare import IngestConfig
from factory.preprocessing import Preprocessing
from factory.storage import Storage
from jobs.cases import CaseStore
from jobs.claims import differences
from jobs.console import say
from jobs.generate.config import GenerateConfig
from jobs.generate.fetch import load_model
from jobs.recipe import DEFAULT_RECIPE, load_recipe
from jobs.train.checkpoints import newest_step
from jobs.train.run_folder import RUN_FILE, last_asked
from jobs.workspace import is_named, path_of, place_of
from manifests.read import is_url
from models.card import CARD_NAME, ModelCard
from models.weights import NAMES, shipped

DEFAULT_MODEL = "demo"
"""What draws where nothing was trained."""

_INGEST_RECIPES = (DEFAULT_RECIPE, "paper", "published")
"""Those that cases for a model may come from, the likeliest first."""


def find_model(given: str | None) -> str:
    """Return the model that a flag names, else the workspace's run, else the one that ships.

    What is taken where no flag says so is told to people.

    Args:
        given: A run or a checkpoint, by path or URL, or the name of a model that ships; None for no
            flag.

    Raises:
        ModelError: No flag, and a run without a model that somebody counts on: it is named in
            `factory.toml`, or its training has begun.
    """
    if given in NAMES:
        return _shipped(given)
    if given is not None:
        return place_of("model", given)
    run = path_of("run", None)
    if _folder(run) is not None:
        say(f"generate: taking the model in {run}/, the run of this workspace")
        return str(run)
    if (run / RUN_FILE).exists():
        raise ModelError(
            f"{_half_trained(run)} Or take the model that ships with --model {DEFAULT_MODEL}."
        )
    if is_named("run"):
        raise ModelError(
            f"{run}: found no model in it; expected one, for factory.toml names it. Train it, or take the "
            f"model that ships with --model {DEFAULT_MODEL}."
        )
    say(f"generate: no model in {run}/; taking the one that ships, {DEFAULT_MODEL}")
    return str(shipped(DEFAULT_MODEL))


def refuse_flags(config: GenerateConfig, given: Mapping[str, object]) -> None:
    """Refuse flags that say something of a network, for a synthesizer that runs none.

    Raises:
        UsageError: One of them is given.
    """
    if found := next((flag for flag, value in given.items() if value), None):
        raise UsageError(
            f"{found}: {config.synthesizer} runs no network; expected no such flag. Leave it away, or "
            "take a recipe of another synthesizer."
        )


def open_model(model: str | Path, store: CaseStore) -> tuple[str, ModelCard]:
    """Return the checkpoint in a run or a folder, read once, and its card.

    Args:
        model: Path or URL of a run or of a checkpoint.
        store: Case store that it is to draw from.

    Returns:
        Checkpoint, for `load_model` on any node, and its card. A model that ships goes by its name:
        each node has it elsewhere.

    Raises:
        ModelError: There is none, or the cases are not as it was trained on.
        CheckpointError: It is torn.
    """
    checkpoint = _checkpoint_url(str(model)) if is_url(str(model)) else _folder(Path(model))
    if checkpoint is None:
        if not is_url(str(model)) and (Path(model) / RUN_FILE).exists():
            raise ModelError(_half_trained(Path(model)))
        raise ModelError(
            f"model {model}: found no {CARD_NAME} there or in {str(model).rstrip('/')}/model; expected a run of "
            "`factory train` that reached its last step, a checkpoint, or the name of a model that "
            f"ships: {', '.join(NAMES)}. Train first, or name another with --model."
        )
    # Weights that are torn are better found here than by every actor.
    card = load_model(str(checkpoint)).card
    check_fit(model, card, store)
    return _name(checkpoint), card


def check_fit(model: str | Path, card: ModelCard, store: CaseStore) -> None:
    """Refuse cases that the model would be fed otherwise than it was trained on.

    Raises:
        ModelError: They are, with the way to cases that fit.
    """
    name = _name(model)
    fed = Preprocessing.from_json(card.preprocessing, where=f"model {name}")
    grid, num_channels = card.unet.grid, 1 + len(fed.labels)
    if card.unet.in_channels != num_channels:
        raise ModelError(
            f"model {name}: its network takes {card.unet.in_channels} channels, but its card names "
            f"{' and '.join(fed.labels)}; expected {num_channels}, a volume and one a label. Train or "
            "import it again."
        )
    if grid != store.grid:
        raise ModelError(
            f"model {name}: its grid is {grid}^3, but case store {store.url} has {store.grid}^3; "
            f"expected one grid. {_ingest_anew(fed, grid) or f'Ingest with --grid {grid}, or train on these.'}"
        )
    asked = {key: store.ingest.get(key) for key in fed.ingest}
    if changed := differences(fed.ingest, asked):
        raise ModelError(
            f"model {name}: it expects cases that were ingested with other settings than those of "
            f"case store {store.url} ({'; '.join(changed)}); expected the same. "
            f"{_ingest_anew(fed, grid) or 'Ingest the cases anew.'}"
        )


def check_loop(model: str, card: ModelCard, config: GenerateConfig) -> None:
    """Refuse the published loop for a model that draws more than its layout says.

    Raises:
        UsageError: That loop keeps all that the layout leaves out.
    """
    fed = Preprocessing.from_json(card.preprocessing, where=f"model {model}")
    if config.variant == "authors" and fed.drawn:
        raise UsageError(
            f"model {model}: it is told of {' and '.join(fed.labels)} and draws "
            f"{' and '.join(fed.drawn)}, but variant = 'authors' of the recipe is the published loop, "
            "which draws only what a model is told of; expected variant = 'paper'. Take another recipe."
        )


def _shipped(name: str) -> str:
    if Path(name).exists():
        say(f"generate: {name} is the model that ships; the folder is --model ./{name}")
    return str(shipped(name))


def _checkpoint_url(model: str) -> str | None:
    """As `_folder`, of a URL."""
    storage = Storage(model)
    folders = ("", "model/")
    inside = next((name for name in folders if storage.exists(f"{name}{CARD_NAME}")), None)
    return None if inside is None else storage.child(inside).rstrip("/")


def _folder(model: Path) -> Path | None:
    """Return the checkpoint of a run, or the folder that is one; None where there is neither."""
    folder = (model if (model / CARD_NAME).exists() else model / "model").resolve()
    return folder if folder.exists() else None


def _half_trained(run: Path) -> str:
    """Return what to say of a run that has not come to its last step."""
    asked = last_asked(run)
    steps = newest_step(run)
    done = f"{steps:,} of {asked[0]:,}" if asked else f"{steps:,}"
    way_out = f"`{asked[1]}`" if asked else "the same factory train again"
    return (
        f"run {run}: found no model in it yet, and {done} steps done by its newest checkpoint; expected its "
        f"last step. Go on with it: {way_out}."
    )


def _name(model: str | Path) -> str:
    """Return what people call a model: its path or URL, or its name if it ships."""
    return next((name for name in NAMES if str(shipped(name)) == str(model)), str(model))


def _ingest_anew(fed: Preprocessing, grid: int) -> str:
    """Return how to make cases for the model; empty where no recipe that ships makes them."""
    if "field_of_view" not in fed.ingest:
        return ""
    for flags, config in _ways_to_ingest(grid):
        if fed.ingest.items() <= asdict(config).items():
            return f"Make some: `factory ingest SCANS {flags} --out CASES`, or train on these."
    return ""


def _ways_to_ingest(grid: int) -> list[tuple[str, IngestConfig]]:
    """Return flags of `factory ingest` and what they mean; those that need no --grid first."""
    tables = [(name, load_recipe(name)) for name in _INGEST_RECIPES]
    plain = [(f"--recipe {n}", recipe.table("ingest", IngestConfig)) for n, recipe in tables]
    regridded = [
        (f"--recipe {n} --grid {grid}", recipe.table("ingest", IngestConfig, grid=grid))
        for n, recipe in tables
    ]
    return plain + regridded
