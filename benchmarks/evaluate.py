"""How long an evaluation takes, and what its figures say of sets that are known to be good or bad.

python benchmarks/evaluate.py --out docs/benchmarks/evaluate

Phantoms stand for patients, two sets of them for two real ones. The synthetic sets are made from the
first: other phantoms (right), the same with noise, and copies. Each goes through `factory evaluate`;
the second run of one finds its features there.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import command, describe
from numpy.typing import NDArray

from factory.axes import spacing_zyx
from factory.digests import digest_json, sha256_of_voxels
from factory.lake import MANIFEST, Lake
from factory.layouts import BACKGROUND, compose_layout
from factory.phantom import draw_phantom
from factory.volumes import Volume, write_volume
from jobs.cluster import connect
from jobs.evaluate.job import EvaluateResult, evaluate
from manifests.write import write_manifest

_TOLD = (
    ("fid", "lungs"),
    ("fid_real_to_real", "lungs"),
    ("mmd_squared", "lungs"),
    ("lung_correlation", "lungs"),
    ("membership_auc_donor_included", "lungs"),
    ("membership_auc_donor_excluded", "lungs"),
)

Row = dict[str, Any]


def main() -> None:
    """Make the sets, evaluate them, and print the page."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name, connect():
        folder, count, grid = Path(name), arguments.volumes, arguments.grid
        scans = [_phantom(seed, grid) for seed in range(count)]
        others = [_phantom(seed, grid) for seed in range(count, 2 * count)]
        real = _store(folder / "cases", scans, _splits(count))
        sets = {
            "other phantoms": others,
            "with 100 HU of noise": _noisy(others),
            "copies": [scans[i % (count // 2)] for i in range(count)],
        }
        figures = {}
        for name, volumes in sets.items():
            # Other phantoms are drawn into nobody's scan, so that they have no donor.
            donor = "case" if name == "copies" else "nobody"
            lake = _lake(folder / name, volumes, donor, count // 2)
            figures[name] = _timed(real, lake, folder / "out")
        again = _timed(real, folder / "copies", folder / "out")
    record = {
        "machine": describe(torch.device("cpu")),
        "command": command(),
        "volumes": count,
        "grid": grid,
        "sets": figures,
        "again": again,
    }
    out: Path = arguments.out
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    out.with_suffix(".md").write_text(_page(record), encoding="utf-8")
    print(_page(record))  # noqa: T201


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--volumes", type=int, default=24, help="Of each set. [24]")
    add("--grid", type=int, default=64, help="Voxels along each edge. [64]")
    add("--out", type=Path, required=True, help="Where .md and .json go, without a suffix.")
    return parser.parse_args()


def _phantom(seed: int, grid: int) -> Volume:
    drawn = draw_phantom(seed, size=(grid, grid, grid))
    layout = compose_layout(drawn.lung, drawn.nodule > 0)
    return Volume(ct=drawn.ct, layout=layout, affine=drawn.affine)


def _noisy(volumes: list[Volume]) -> list[Volume]:
    rng = np.random.default_rng(0)
    return [_in_lungs(one, one.ct + rng.normal(0.0, 100.0, one.ct.shape)) for one in volumes]


def _in_lungs(volume: Volume, hu: NDArray[np.float64]) -> Volume:
    made = np.where(volume.layout == BACKGROUND, volume.ct, np.clip(np.rint(hu), -1024, 3071))
    return Volume(ct=made.astype(np.int16), layout=volume.layout, affine=volume.affine)


def _splits(count: int) -> list[str]:
    return ["train" if number < count // 2 else "test" for number in range(count)]


def _store(folder: Path, volumes: list[Volume], splits: list[str]) -> Path:
    rows = [
        _row(folder, f"case-{number:03d}", one) | {"split": split}
        for number, (one, split) in enumerate(zip(volumes, splits, strict=True))
    ]
    return _written(folder, "cases", rows)


def _lake(folder: Path, volumes: list[Volume], donor: str, num_donors: int) -> Path:
    """Write a lake of volumes whose donors are cases of a name, in turn, or copies of these."""
    rows = []
    for number, one in enumerate(volumes):
        work_id = digest_json([folder.name, number])
        row = _row(folder, f"{donor}-{number % num_donors:03d}", one, work_id)
        made = {"kind": "synthetic", "work_id": work_id, "plan_index": number}
        # A copy is its donor's voxels; the others were drawn into no scan that is there.
        made["reference_sha256"] = row["image_sha256"]
        rows.append(row | made | {"split": "train"})
    return _written(folder, "lake", rows)


def _row(folder: Path, case_id: str, volume: Volume, stem: str = "") -> Row:
    uri = f"volumes/{stem or case_id}.ome.zarr"
    write_volume(Lake(folder).storage, uri, volume)
    return {
        "kind": "real",
        "patient_id": case_id,
        "case_id": case_id,
        "layout_origin": "annotated",
        "image_uri": uri,
        "layout_uri": f"{uri}/labels/layout",
        "shape": list(volume.ct.shape),
        "spacing_mm": list(spacing_zyx(volume.affine)),
        "affine": volume.affine.ravel().tolist(),
        "image_sha256": sha256_of_voxels(volume.ct),
        "layout_sha256": sha256_of_voxels(volume.layout),
    }


def _written(folder: Path, kind: str, rows: list[Row]) -> Path:
    lake = Lake(folder)
    lake.claim({"kind": kind})
    write_manifest(rows, lake.storage.child(MANIFEST))
    return folder


def _timed(real: Path, lake: Path, out: Path) -> Row:
    start = time.monotonic()
    result = evaluate(str(real), str(lake), out)
    seconds = time.monotonic() - start
    return {"seconds": round(seconds, 1), **_figures(result), "verdicts": dict(result.verdicts)}


def _figures(result: EvaluateResult) -> Row:
    told: Row = {}
    for one in result.figures:
        if (one.name, one.region) in _TOLD and not one.extractor.startswith("lung box"):
            told[one.name] = str(one.interval)
    return told


def _page(record: Row) -> str:
    names = ["seconds", *(name for name, _ in _TOLD), "verdicts"]
    lines = [
        "# Evaluation",
        "",
        f"`{record['command']}`",
        "",
        f"{record['machine']}. {record['volumes']} real and as many synthetic phantoms at {record['grid']}^3, half "
        "of the real ones held out; lungs alone, by the fixed extractor. The first set measures the real ones "
        "too; the last row finds all features there.",
        "",
        f"| set | {' | '.join(names)} |",
        f"|{'---|' * (len(names) + 1)}",
    ]
    for name, found in {**record["sets"], "copies, again": record["again"]}.items():
        cells = [_cell(found.get(column, "-")) for column in names]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _cell(found: Any) -> str:
    if isinstance(found, dict):
        return ", ".join(f"{count} {word}" for word, count in found.items() if count)
    return str(found)


if __name__ == "__main__":
    main()
