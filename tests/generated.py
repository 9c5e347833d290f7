"""Lakes as the tests of `generate` draw them: two steps a volume, on the CPU."""

from pathlib import Path

from support import write_scan

from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST
from jobs.amount import Amount
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.generate.publish import GenerateResult
from jobs.ingest.job import ingest
from manifests.read import read_manifest

CONFIG = GenerateConfig(steps=2)


def draw(cases: Path, model: Path, lake: Path, amount: Amount, **options: object) -> GenerateResult:
    """Draw volumes with two steps each."""
    return generate(cases, model, lake, amount, CONFIG, device="cpu", **options)  # type: ignore[arg-type]


def voxels(lake: Path) -> dict[str, tuple[str, str]]:
    """Return what the lake says of each work item's voxels."""
    return {
        row["work_id"]: (row["image_sha256"], row["layout_sha256"])
        for row in read_manifest(lake / MANIFEST).to_pylist()
        if row["kind"] == "synthetic"
    }


def ingested(folder: Path, num: int) -> Path:
    """Make a case store of phantoms on a 16^3 grid as `ingest` does; the third has no nodule."""
    for seed in range(num):
        write_scan(folder / "scans", f"p{seed}", seed, nodule=seed != 2)
    ingest(folder / "scans", folder / "cases", IngestConfig(grid=16))
    return folder / "cases"
