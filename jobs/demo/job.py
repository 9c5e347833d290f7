"""Every verb on phantom scans.

draw_phantom --> NIfTI --> ingest --> train, a few steps
                              +--> generate, by the model that ships --> mix, verify --> comparison.png
"""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import nibabel as nib
import numpy as np

from factory.axes import ijk_from_zyx
from factory.counted import counted
from factory.errors import StoreError, UsageError
from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST, Lake
from factory.nodules.graft import GraftConfig
from factory.phantom import Phantom, draw_phantom
from factory.pictures import ComparisonRow, comparison_figure
from jobs import mix, verify
from jobs.amount import Amount
from jobs.cluster import connect
from jobs.console import conclude, progress, say
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.ingest.job import ingest
from jobs.lakes import read_row
from jobs.recipe import Recipe, load_recipe, recipe_names
from jobs.train.config import TrainConfig
from jobs.train.job import train
from jobs.workspace import SETTINGS_FILE
from manifests.read import read_manifest
from models.weights import NAMES, shipped

_MARKER = ".factory-demo"
_PICTURED = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoConfig:
    """Settings of the `demo` job."""

    num_patients: int = 12
    """Phantoms that are drawn."""

    scan_size: tuple[int, int, int] = (60, 96, 128)
    """Voxels (z, y, x) of a phantom scan."""

    ratio: float = 0.25
    """Synthetic share of the mixed set."""

    train_steps: int = 0
    """Steps that the demo trains for; 0 takes all of the recipe's."""

    model: str = ""
    """Name of the model that ships to draw with; empty takes the one that the demo trained."""

    def __post_init__(self) -> None:
        if self.num_patients < 1:
            raise ValueError(f"num_patients is {self.num_patients}; it must be at least 1")
        if self.train_steps < 0:
            raise ValueError(
                f"train_steps is {self.train_steps}; it must be at least 1, or 0 for all"
            )
        if self.model and self.model not in NAMES:
            raise ValueError(f"model is {self.model!r}; known are {', '.join(NAMES)}, or none")
        Amount(ratio=self.ratio)


def demo(out: Path, recipe_name: str, *, ray_address: str | None = None) -> Iterator[str]:
    """Run the demo in a folder; run again, it does what is missing.

    Args:
        out: Made where it does not exist; must be empty or an earlier demo.
        recipe_name: Recipe of all verbs.
        ray_address: Cluster to join; None starts one.

    Yields:
        What was made, a line each: a word and a path.
    """
    recipe = load_recipe(recipe_name)
    config = recipe.table("demo", DemoConfig)
    _claim(out, recipe_name)
    # Not `run`: a workspace generates with the model of its run, and a few steps draw noise.
    run = out / ("practice" if config.model else "run")
    scans, cases, lake = (out / name for name in ("scans", "cases", "lake"))
    _draw_scans(scans, config)
    yield f"scans {scans}"
    with connect(ray_address):
        ingest(scans, cases, recipe.table("ingest", IngestConfig))
        yield f"cases {cases / MANIFEST}"
        _train(cases, run, recipe, config)
        yield f"trained {run / 'model'}"
        model = shipped(config.model) if config.model else run / "model"
        yield f"model {model}"
        settings = recipe.table("generate", GenerateConfig)
        drawn_with = model if settings.traits.needs_model else None
        generate(cases, drawn_with, lake, Amount(ratio=config.ratio), settings)
        yield f"manifest {lake / MANIFEST}"
    yield f"mix {mix.write(lake, out / 'mix.parquet', Amount(ratio=0.1))}"
    problems = verify.problems(Lake(lake))
    if problems:
        raise StoreError(f"lake {lake}: {problems[0]}. Remove {out} and run the demo again.")
    picture = out / "comparison.png"
    comparison_figure(_comparisons(lake / MANIFEST), picture)
    yield f"picture {picture}"
    conclude(
        f"{counted(config.num_patients, 'phantom')}, with every step from scans to a mix",
        f"cd {quote(str(out))} && {quote(_factory())} mix --ratio 0.1 --out mix-10.parquet",
    )


def _factory() -> str:
    """Return how this shell calls `factory`: by its path where the environment is not activated."""
    return "factory" if shutil.which("factory") else str(Path(sys.executable).with_name("factory"))


def _claim(out: Path, recipe_name: str) -> None:
    if out.is_dir() and any(out.iterdir()) and not (out / _MARKER).exists():
        raise UsageError(
            f"--out {out}: found a folder with other things in it; expected none, an empty one or an "
            "earlier demo. Choose another."
        )
    out.mkdir(parents=True, exist_ok=True)
    (out / _MARKER).touch()
    # From the folder itself, where `factory` is called next, a relative path leads elsewhere.
    is_file = recipe_name not in recipe_names()
    name = Path(recipe_name).resolve().as_posix() if is_file else recipe_name
    (out / SETTINGS_FILE).write_text(f"recipe = {json.dumps(name)}\n", encoding="utf-8")


def _draw_scans(scans: Path, config: DemoConfig) -> None:
    scans.mkdir(exist_ok=True)
    with progress("draw phantoms", config.num_patients) as tracker:
        for seed in range(config.num_patients):
            name = f"phantom-{seed:03d}"
            if not (scans / f"{name}_ct.nii.gz").exists():
                _write_scan(scans, name, draw_phantom(seed, size=config.scan_size))
            tracker.update(seed + 1)


def _write_scan(scans: Path, name: str, phantom: Phantom) -> None:
    """Write masks first: a scan whose CT is there is whole."""
    volumes: dict[str, Any] = {
        "lung": phantom.lung.astype(np.uint8),
        "nodule": phantom.nodule,
        "ct": phantom.ct,
    }
    for kind, volume in volumes.items():
        image = nib.Nifti1Image(ijk_from_zyx(volume), phantom.affine)  # type: ignore[no-untyped-call]
        aside = scans / f".{name}_{kind}.nii.gz"
        nib.save(image, aside)
        aside.replace(scans / f"{name}_{kind}.nii.gz")


def _train(cases: Path, run: Path, recipe: Recipe, config: DemoConfig) -> None:
    # No grafts: the real nodules that a recipe may ask for are nowhere in the package.
    settings = recipe.table(
        "train", TrainConfig, steps=config.train_steps or None, graft=GraftConfig()
    )
    result = train(cases, run, settings, recipe=recipe.name)
    say(f"trained {counted(result.step, 'step')}, last loss {result.loss:.4f}")
    if config.model:
        say(f"{run} is kept, not drawn with: taking the model that ships, {config.model}")


def _comparisons(manifest: Path) -> list[ComparisonRow]:
    rows = read_manifest(manifest).to_pylist()
    donors = {row["case_id"]: row for row in rows if row["kind"] == "real"}
    synthetic = [row for row in rows if row["kind"] == "synthetic"][:_PICTURED]
    return [_comparison(manifest, row, donors[row["case_id"]]) for row in synthetic]


def _comparison(manifest: Path, row: dict[str, Any], donor: dict[str, Any]) -> ComparisonRow:
    volume, reference = read_row(manifest, row), read_row(manifest, donor)
    z, y, x = row["spacing_mm"]
    return ComparisonRow(
        title=f"{row['case_id']}, draw {row['seed_index']}",
        reference_hu=reference.ct,
        layout=volume.layout,
        synthetic_hu=volume.ct,
        spacing_mm=(z, y, x),
    )
