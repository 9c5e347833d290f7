"""The model that ships, as a newcomer meets it: nothing trained, nothing named."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import draw_in_process, ingest_in_process, write_scan
from typer.testing import CliRunner

from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST
from jobs.app import app
from jobs.recipe import DEFAULT_RECIPE, load_recipe
from manifests.read import read_manifest
from models.card import read_model_card
from models.weights import NAMES, shipped

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("factory", "jobs", "manifests", "models")


def test_without_any_training_phantoms_get_new_lungs_that_quality_control_accepts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(2):
        write_scan(tmp_path / "scans", f"p{seed}", seed)
    ingest = load_recipe(DEFAULT_RECIPE).table("ingest", IngestConfig)
    ingest_in_process(tmp_path / "scans", tmp_path / "cases", ingest)
    draw_in_process(monkeypatch)
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, ["generate", "--count", "2"])

    assert ended.exit_code == 0, ended.stderr
    assert "no model in run/; taking the one that ships, demo\n" in ended.stderr
    rows = read_manifest(tmp_path / "lake" / MANIFEST).to_pylist()
    drawn = [row for row in rows if row["kind"] == "synthetic"]
    assert [row["qc_verdict"] for row in drawn] == ["accept", "accept"]
    assert {row["model_digest"] for row in drawn} == {read_model_card(shipped("demo")).digest}
    assert {tuple(row["shape"]) for row in drawn} == {(64, 64, 64)}


def test_a_wheel_has_the_models_that_ship_and_the_recipes(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    for name in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, copy)
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    wheel = [sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", tmp_path, copy]
    built = subprocess.run(wheel, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(file).namelist())
    data = [path for name in NAMES for path in shipped(name).iterdir()]
    data += (REPOSITORY / "jobs" / "recipes").glob("*.toml")
    assert {path.relative_to(REPOSITORY).as_posix() for path in data} <= inside
