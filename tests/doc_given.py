"""What each page of the docs takes for granted, and what of it is of its reader's machine."""

import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from manifests.read import read_manifest

STORAGE, QUICKSTART = "docs/storage.md", "docs/quickstart.md"
AS_TYPED = (QUICKSTART, STORAGE)

GIVEN: Mapping[str, Mapping[str, str]] = {
    "README.md": {"scans": "scans", "other-lake": "lake"},
    QUICKSTART: {"scans": "few-scans"},
    STORAGE: {"scans": "few-scans"},
    "docs/downstream.md": {"cases": "cases", "other-sweep": "sweep"},
    "docs/evaluation.md": {
        "cases": "cases",
        "lake": "lake",
        "runs/no-aas/lake": "lake",
        "nifti": "few-scans",
    },
    "docs/export.md": {"lake": "lake", "mix-25.parquet": "mix.parquet"},
    "docs/index.md": {"scans": "few-scans"},
    "docs/ingest.md": {
        "scans": "few-scans",
        "archive/export": "hospital",
        "LIDC": "LIDC",
        "subset0": "subset0",
        "annotations.csv": "annotations.csv",
    },
    "docs/lake.md": {"lake": "lake"},
    "docs/layouts.md": {"cases": "cases", "masks.npz": "masks.npz"},
    "docs/lidc.md": {"LIDC": "LIDC"},
    "docs/mixing.md": {
        "cases": "cases",
        "lake": "lake",
        "lake-a": "lake",
        "lake-b": "lake",
        "evaluation": "evaluation",
    },
    "docs/nnunet.md": {
        "cases": "cases",
        # What nnU-Net's own first steps would leave.
        "nnUNet_preprocessed/Dataset501_Real": "empty",
        "nnUNet_preprocessed/Dataset502_Mix25": "empty",
    },
    "docs/published-weights.md": {"scans": "few-scans", "model.pt": "model.pt"},
    "docs/report.md": {"lake": "lake", "evaluation": "evaluation", "sweep": "sweep"},
    "docs/sampling.md": {"cases-128": "cases", "run": "run"},
    "docs/synthesizers.md": {
        "cases": "cases",
        "lake": "lake",
        "scans": "scans",
        "crops.npz": "crops.npz",
        "runs/paper": "run",
    },
    "docs/training.md": {"scans": "few-scans"},
    "docs/view.md": {"cases": "cases", "lake": "lake", "mix-25.parquet": "mix.parquet"},
    "jobs/cluster/README.md": {
        "scans": "few-scans",
        "data/scans": "scans",
        "data/cases": "cases",
    },
}
"""What each page takes for granted, by its own name for it."""


def a_work_id(folder: Path) -> str:
    """Return what a report is asked for: the beginning of the name of a volume that was drawn."""
    rows = read_manifest(folder / "lake" / "manifest.parquet").to_pylist()
    return next(str(row["work_id"])[:8] for row in rows if row["work_id"])


def a_free_port(_: Path) -> str:
    """Return a port that nothing listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return str(one.getsockname()[1])


CHANGED: Mapping[str, Mapping[str, Callable[[Path], str]]] = {
    # No GPU is needed for the tests.
    "README.md": {"--device cuda": lambda _: "--device cpu"},
    # Its weights are not ours to have, and a distance of 2,048 features takes five seconds.
    "docs/evaluation.md": {"--weights resnet_50.pth": lambda _: ""},
    "docs/report.md": {"080db275": a_work_id},
    "docs/view.md": {"8000": a_free_port},
}
"""What a page shows that is of its reader's machine, and what is typed in its place."""
