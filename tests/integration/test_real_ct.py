"""The whole way on real thoracic CTs, through the command line, with its figures."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from factory.lake import MANIFEST
from jobs.lakes import read_row
from manifests.read import read_manifest

pytestmark = [pytest.mark.ray, pytest.mark.slow]

FACTORY = Path(sys.executable).with_name("factory")


def run(arguments: Sequence[object], folder: Path) -> float:
    """Run `factory` in a folder; return the seconds it took."""
    start = time.monotonic()
    ended = subprocess.run(
        [str(FACTORY), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return time.monotonic() - start


def test_real_cts_become_a_mixed_dataset(
    ct_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seconds = {
        "ingest": run(["ingest", ct_dir / "thorax", "--recipe", "tiny"], tmp_path),
        "train": run(["train", "--recipe", "tiny", "--steps", 20], tmp_path),
        "generate": run(["generate", "--recipe", "tiny", "--ratio", 0.25], tmp_path),
        "verify": run(["verify"], tmp_path),
    }
    manifest = tmp_path / "lake" / MANIFEST
    rows = read_manifest(manifest).to_pylist()
    donors = {row["case_id"]: row for row in rows if row["kind"] == "real"}
    synthetic = [row for row in rows if row["kind"] == "synthetic"]
    lines = []
    for row in synthetic:
        drawn, reference = read_row(manifest, row), read_row(manifest, donors[row["case_id"]])
        outside = drawn.layout == 0
        differing = int((drawn.ct[outside] != reference.ct[outside]).sum())
        changed = float((drawn.ct[~outside] != reference.ct[~outside]).mean())
        lines.append(
            f"{row['case_id']} draw {row['seed_index']}: outside {differing} of {outside.sum()} voxels "
            f"differ, inside {changed:.1%} of {(~outside).sum()} differ, "
            f"{len(row['nodules'])} nodules ({row['layout_origin']}), verdict {row['qc_verdict']}"
        )
        assert drawn.ct.shape == (32, 32, 32)
        assert differing == 0
        assert changed > 0.9
    with capsys.disabled():
        mix = rows[0]
        times = ", ".join(f"{verb} {taken:.0f} s" for verb, taken in seconds.items())
        print(f"\nreal CTs: {len(donors)} cases; {times}")
        print("\n".join(lines))
        print(
            f"mix: {mix['num_real']} real + {mix['num_synthetic']} synthetic for training, "
            f"synthetic fraction {mix['synthetic_fraction']:.4f}, asked 0.25"
        )

    assert len(donors) == 11
    num_train = sum(row["split"] == "train" for row in donors.values())
    assert mix["num_real"] == num_train
    # The nearest whole number of volumes to a quarter of the mix.
    assert len(synthetic) == mix["num_synthetic"] == int(num_train / 3 + 0.5)
    assert mix["synthetic_fraction"] == pytest.approx(0.25, abs=0.5 / (num_train * 4 / 3))
    assert {row["split"] for row in synthetic} == {"train"}
    assert np.unique([row["work_id"] for row in synthetic]).size == len(synthetic)
