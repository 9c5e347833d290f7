"""What of the working directory goes with a job to a cluster, and what stays at home."""

from pathlib import Path

import pytest
from pathspec import GitIgnoreSpec

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "path",
    [
        ".venv/bin/python",
        "lake/volumes/1.ome.zarr/zarr.json",
        "lake-128/commits/1.json",
        "cases/dataset.json",
        "run/checkpoints/step-10/model.pt",
        "run.old-1/metrics.jsonl",
        "scans/patient_ct.nii.gz",
        "elsewhere/patient_ct.nii.gz",
        "tests/conftest.py",
    ],
)
def test_scans_lakes_and_runs_stay_at_home(path: str) -> None:
    assert is_left_out(path)


def test_all_of_the_code_and_its_data_goes_with_a_job() -> None:
    sent = [
        path.relative_to(ROOT).as_posix()
        for package in ("factory", "models", "jobs", "manifests")
        for path in (ROOT / package).rglob("*")
        # Jobs show no pages: what `make niivue` brings stays here.
        if path.is_file() and "__pycache__" not in path.parts and path.name != "niivue.js"
    ]

    assert "jobs/recipes/paper.toml" in sent
    assert "models/weights/demo/weights.safetensors" in sent
    assert [path for path in sent if is_left_out(path)] == []


def is_left_out(path: str) -> bool:
    """Tell whether Ray leaves a file of the working directory behind."""
    return any(
        GitIgnoreSpec.from_lines((ROOT / name).read_text().splitlines()).match_file(path)
        for name in (".gitignore", ".rayignore")
    )
