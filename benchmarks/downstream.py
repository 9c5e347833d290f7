"""What a sweep says of phantoms: whether more data helps, and whether its intervals hold the truth.

python benchmarks/downstream.py --out docs/benchmarks/downstream

Phantoms with nodules of known sizes stand for patients: a few train, very many test. The synthetic
volumes are new phantoms, as a perfect generator would draw them. The many test patients are then
dealt out to small tests, whose intervals should hold what all of them say; and the seeds of one mix
in threes, whose intervals should hold the mean of the others. How often a right interval holds it,
and between what bounds that share falls by chance, is simulated with normal draws in the same threes.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interval_coverage import GROUPS, SIMULATED, SMALL_TEST, coverage
from machine import command, describe
from scipy import ndimage

from factory.augment import AugmentConfig
from factory.axes import spacing_zyx
from factory.digests import digest_json, sha256_of_voxels
from factory.lake import MANIFEST, Lake
from factory.layouts import compose_layout
from factory.phantom import draw_phantom
from factory.segmentation.summary import Summary
from factory.segmentation.trials import Trial
from factory.volumes import Volume, write_volume
from jobs.downstream.config import DownstreamConfig
from jobs.downstream.results import Run, read_run
from jobs.downstream.sweep.folder import finished
from jobs.downstream.sweep.job import SweepResult, sweep
from jobs.downstream.sweep.mixes import WHOLE, parse_mixes
from manifests.write import write_manifest

DIAMETERS_MM = (30.0, 55.0)
MOST_NODULES = 3
NODULE_HU = (-450.0, 80.0)
NOISE_HU = 40.0
LUNG_HU = -850.0

CONFIG = DownstreamConfig(
    network="UNet",
    network_args={"channels": [8, 16, 32], "strides": [2, 2], "norm": "batch"},
    learning_rate=0.02,
    augment=AugmentConfig(flip_left_right=True),
    num_loaders=0,
)
"""Of networks at this size a plain U-Net is twenty times as fast as one with attention gates."""

FRACTIONS, EXTRAS = "0.25,0.5,0.75,1", "0.5,1"
SMALLEST = parse_mixes(None, "0.25", extra=False)[1]

Row = dict[str, Any]


def main() -> None:
    """Make the phantoms, sweep, and print the page."""
    arguments = _arguments()
    start = time.monotonic()
    config = replace(CONFIG, steps=arguments.steps)
    mixes = list(
        dict.fromkeys(
            [
                *parse_mixes(None, FRACTIONS, extra=False),
                *parse_mixes(EXTRAS, None, extra=True),
            ]
        )
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lake = _lake(folder / "lake", arguments.train, arguments.test)
        out = folder / "sweep"
        result = sweep(lake, out, config, mixes, num_seeds=arguments.seeds, device="cpu")
        # The same folder, extended: many trainings of one mix.
        sweep(lake, out, config, [WHOLE, SMALLEST], num_seeds=arguments.many, device="cpu")
        runs = [read_run(run) for run in finished(out)]
        record = _record(arguments, result, runs, time.monotonic() - start)
        target: Path = arguments.out
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(out / "figure-5b.png", target.with_suffix(".png"))
    target.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
    target.with_suffix(".md").write_text(_page(record, target.name), encoding="utf-8")
    print(_page(record, target.name))  # noqa: T201


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--train", type=int, default=12, help="Phantoms that train. [12]")
    add("--test", type=int, default=144, help="Phantoms that test. [144]")
    add("--steps", type=int, default=300, help="Of a training. [300]")
    add("--seeds", type=int, default=4, help="Trainings of each mix. [4]")
    add("--many", type=int, default=60, help="Trainings of the smallest mix and of all. [60]")
    add("--out", type=Path, required=True, help="Where .md, .json and .png go, without a suffix.")
    return parser.parse_args()


def _phantom(seed: int) -> Volume:
    """Return a phantom whose own nodules, too small for this grid, gave way to larger ones."""
    drawn, rng = draw_phantom(seed, size=(32, 32, 32)), np.random.default_rng([seed, 1])
    hu = np.where(drawn.nodule > 0, LUNG_HU, drawn.ct).astype(np.float64)
    spacing = np.array(drawn.spacing_mm)
    room = np.argwhere(ndimage.distance_transform_edt(drawn.lung, sampling=spacing) > spacing.min())
    places = np.moveaxis(np.indices(hu.shape), 0, -1) * spacing
    nodule = np.zeros(hu.shape, bool)
    for _ in range(rng.integers(1, MOST_NODULES + 1)):
        centre = room[rng.integers(len(room))] * spacing
        ball = np.linalg.norm(places - centre, axis=-1) < rng.uniform(*DIAMETERS_MM) / 2
        ball &= drawn.lung
        hu[ball] = rng.uniform(*NODULE_HU) + rng.normal(0.0, NOISE_HU, ball.sum())
        nodule |= ball
    return Volume(
        ct=np.clip(hu, -1024, 3071).astype(np.int16),
        layout=compose_layout(drawn.lung, nodule),
        affine=drawn.affine,
    )


def _lake(folder: Path, num_train: int, num_test: int) -> str:
    """Write real phantoms, and as many synthetic ones as train."""
    rows = [
        _row(folder, f"case-{seed:03d}", _phantom(seed))
        | {"split": "train" if seed < num_train else "test"}
        for seed in range(num_train + num_test)
    ]
    for number in range(num_train):
        work_id = digest_json(["synthetic", number])
        volume = _phantom(num_train + num_test + number)
        made = {"kind": "synthetic", "work_id": work_id, "plan_index": number, "split": "train"}
        rows.append(_row(folder, f"case-{number:03d}", volume, work_id) | made)
    lake = Lake(folder)
    lake.claim({"kind": "lake"})
    write_manifest(rows, lake.storage.child(MANIFEST))
    return lake.storage.child(MANIFEST)


def _row(folder: Path, case_id: str, volume: Volume, work_id: str = "") -> Row:
    uri = f"volumes/{work_id or case_id}.ome.zarr"
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


def _record(
    arguments: argparse.Namespace, result: SweepResult, runs: Sequence[Run], seconds: float
) -> Row:
    return {
        "machine": describe(torch.device("cpu")),
        "command": command(),
        "seconds": round(seconds),
        "trainings": len(runs),
        "seconds_a_training": round(float(np.median([run.seconds for run in runs])), 1),
        **{name: getattr(arguments, name) for name in ("train", "test", "steps", "seeds", "many")},
        "mixes": {
            mix.title: _figures(mix.summary("dice"), mix.difference("dice")) for mix in result.mixes
        },
        "coverage": coverage(_by_label(runs), WHOLE.label, SMALLEST.label),
    }


def _figures(dice: Summary | None, difference: Summary | None) -> Row:
    told: Row = {}
    if dice:
        told |= {"Dice": str(dice.over_patients), "over seeds": str(dice.over_seeds)}
    if difference:
        told["from R"] = str(difference.over_patients)
        told["from R, over seeds"] = str(difference.over_seeds)
    return told


def _by_label(runs: Sequence[Run]) -> dict[str, dict[int, Trial]]:
    found: dict[str, dict[int, Trial]] = {}
    for run in runs:
        found.setdefault(run.label, {})[run.seed] = run.trial
    return found


def _page(record: Row, name: str) -> str:
    lines = [
        "# Downstream sweep",
        "",
        f"`{record['command']}`",
        "",
        f"{record['machine']}. Phantoms at 32^3 with one to {MOST_NODULES} nodules of {DIAMETERS_MM[0]:g} to "
        f"{DIAMETERS_MM[1]:g} mm: {record['train']} train, {record['test']} others test; a plain U-Net, "
        f"{record['steps']} steps of 2 volumes, the same for every mix. {record['trainings']} trainings took "
        f"{record['seconds']} s in all, {record['seconds_a_training']:g} s each, on two cores. Synthetic volumes are "
        "phantoms of a new patient each, as a perfect generator would draw them: how far real ones are from "
        "that is not told here.",
        "",
        f"## Does more data help? {record['seeds']} seeds each",
        "",
        "| mix | Dice, over patients | over seeds | from R, over patients | over seeds |",
        "|---|---|---|---|---|",
    ]
    for title, told in record["mixes"].items():
        names = ("Dice", "over seeds", "from R", "from R, over seeds")
        lines.append(f"| {' | '.join([title, *(told.get(one, '-') for one in names)])} |")
    lines += [
        "",
        f"![Dice against the part of the real volumes]({name}.png)",
        "",
        "## Do the intervals hold the truth?",
        "",
        f"All {record['test']} test patients say what is true of a training, and small tests of {SMALL_TEST} of them, "
        "none of whom is in two, should hold it in 95 % of cases; tests of one training are no independent draws. "
        f"Over seeds the truth is the mean of the other trainings of the mix, of {record['many']}. It has an error of its "
        f"own, so that a right interval holds it less often; and the {GROUPS} groups of three of each of the two mixes are drawn from the same "
        "trainings, so that the share is uncertain: in brackets, between what bounds it falls in 95 % of "
        f"{SIMULATED} simulations with normal draws, whose intervals are right.",
        "",
        "| interval of 95 % | made | held the truth | expected |",
        "|---|---|---|---|",
    ]
    for what, told in record["coverage"].items():
        expected = f"{100 * told['expected']:.1f} %"
        if "by chance" in told:
            low, high = (100 * bound for bound in told["by chance"])
            expected += f" ({low:.1f} to {high:.1f})"
        lines.append(f"| {what} | {told['intervals']} | {100 * told['share']:.1f} % | {expected} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
