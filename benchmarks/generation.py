"""What generating costs beside the network: planning, each item, the driver's memory, publishing.

python benchmarks/generation.py --out docs/benchmarks/generation

Items are drawn by the `rehearsal` switch of [generate]: real volumes, no network, and a device that
sleeps. Each part runs in a process of its own. Phantoms.
"""

import argparse
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from machine import PeakMemory, command, describe

from factory.axes import ijk_from_zyx
from factory.ingest.prepare import IngestConfig
from factory.lake import PLAN, Lake
from factory.phantom import draw_phantom
from jobs import cluster
from jobs.amount import Amount
from jobs.cases import open_case_store
from jobs.generate.actors import NumActors
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.generate.plan import PlanSettings, plan_items, plan_table
from jobs.generate.publish import publish
from jobs.ingest.job import ingest
from manifests.write import write_table
from models.checkpoint import save_checkpoint
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

_CASES = 8
_SHARED = PlanSettings(
    model_digest="0" * 64,
    steps=25,
    config=GenerateConfig(rehearsal=True),
    bank_digest="0" * 64,
    seed=0,
)

Figures = dict[str, float]


def main() -> None:
    """Measure each part, print the table, write it and the figures."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _apart(_make_cases, folder, arguments.grid)
        figures = {
            "plan": _apart(_plan, folder, arguments.planned),
            "publish": _apart(_publish, folder, arguments.published),
            "items": _apart(_draw, folder, "items", arguments.items, arguments.actors, 0.0),
            "more items": _apart(
                _draw, folder, "more", arguments.more_items, arguments.actors, 0.0
            ),
            "device": _apart(_draw, folder, "device", arguments.slow_items, arguments.actors, 1.0),
        }
    page = _page(figures, arguments)
    print(page)  # noqa: T201
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
        record = {"machine": _machine(), "command": command(), "figures": figures}
        arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--grid", type=int, default=64, help="Side in voxels.")
    add("--actors", type=int, default=2)
    add("--planned", type=int, default=1_000_000, help="Items of the plan.")
    add("--published", type=int, default=100_000, help="Rows of the manifest.")
    add("--items", type=int, default=1_000, help="Items that take no time on the device.")
    add("--more-items", type=int, default=10_000, help="Again, to compare the driver's memory.")
    add("--slow-items", type=int, default=60, help="Items that take a second on the device.")
    add("--out", type=Path, help="Where .md and .json go, without a suffix.")
    return parser.parse_args()


def _apart(function: Any, *given: Any) -> Any:
    """Call in a new process: memory that another part has touched would count for this one."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *given).result()


def _make_cases(folder: Path, grid: int) -> None:
    for seed in range(_CASES):
        drawn = draw_phantom(seed)
        scans = folder / "scans"
        scans.mkdir(exist_ok=True)
        volumes = {"ct": drawn.ct, "lung": drawn.lung.astype(np.uint8), "nodule": drawn.nodule}
        for kind, volume in volumes.items():
            image = nib.Nifti1Image(ijk_from_zyx(volume), drawn.affine)  # type: ignore[no-untyped-call]
            nib.save(image, scans / f"p{seed}_{kind}.nii.gz")  # type: ignore[attr-defined]
    ingest(folder / "scans", folder / "cases", IngestConfig(grid=grid))
    model = UNet3D(UNet3DConfig(grid=grid, base_channels=8, attention_max_size=4))
    save_checkpoint(
        folder / "model",
        model,
        schedule=NoiseSchedule(ScheduleConfig(num_steps=25)),
        preprocessing={"hu_window": [-1024.0, 600.0]},
        training={"step": 0},
    )


def _plan(folder: Path, count: int) -> Figures:
    rows = open_case_store(folder / "cases").training_rows()
    with _measured() as figures:
        items = plan_items(rows, _SHARED, count)
        (folder / "planned").mkdir()
        write_table(plan_table(items), folder / "planned" / PLAN)
    return figures | {"items": count, "file_mb": (folder / "planned" / PLAN).stat().st_size / 1e6}


def _publish(folder: Path, count: int) -> Figures:
    store = open_case_store(folder / "cases")
    generate(folder / "cases", folder / "model", folder / "one", Amount(count=1), _SHARED.config)
    one = Lake(folder / "one")
    (only,) = one.committed_ids()
    row = one.committed_row(only)
    lake, items = Lake(folder / "published"), plan_items(store.training_rows(), _SHARED, count)
    (folder / "published" / "commits").mkdir(parents=True)
    for item in items:
        uri = f"volumes/{item.work_id}.{row['attempt']}.ome.zarr"
        told = {
            **row,
            "work_id": item.work_id,
            "plan_index": item.plan_index,
            "image_uri": uri,
            "layout_uri": f"{uri}/labels/layout",
            "image_sha256": item.work_id * 2,
        }
        (folder / "published" / "commits" / f"{item.work_id}.json").write_text(json.dumps(told))
    with _measured() as figures:
        publish(lake, lambda: [item.work_id for item in items], store)
    return figures | {"items": count}


def _draw(folder: Path, name: str, count: int, actors: int, device_seconds: float) -> Figures:
    cluster.LOCAL_CPUS = actors
    config = GenerateConfig(rehearsal=True, rehearsal_seconds=device_seconds)
    with _measured() as figures:
        generate(
            folder / "cases",
            folder / "model",
            folder / name,
            Amount(count=count),
            config,
            actors=NumActors(actors, actors),
            device="cpu",
        )
    progress = json.loads((folder / name / "progress.json").read_text())
    assert progress["committed"] == count
    return figures | {
        "items": count,
        "pool_seconds": 3600 * count / progress["volumes_per_hour"],
        "device_share": progress["device_share"],
    }


@contextmanager
def _measured() -> Iterator[Figures]:
    """Fill in wall seconds and the growth of this process's memory."""
    figures: Figures = {}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watch = PeakMemory(torch.device("cpu"))
    watch.start()
    start = time.perf_counter()
    yield figures
    figures["seconds"] = time.perf_counter() - start
    figures["peak_mib"] = watch.gib() * 1024
    figures["grown_mib"] = figures["peak_mib"] - before / 1024


def _page(figures: dict[str, Figures], arguments: argparse.Namespace) -> str:
    plan, published, device = figures["plan"], figures["publish"], figures["device"]
    few, many = figures["items"], figures["more items"]
    apart = many["peak_mib"] - few["peak_mib"]
    # Of two runs, so that the start of the actors is in neither.
    more = (many["pool_seconds"] - few["pool_seconds"]) / (many["items"] - few["items"])
    lines = [
        "# Generation without the network",
        "",
        f"`{command()}`",
        "",
        f"{_machine()}. Volumes of {arguments.grid}^3, {arguments.actors} actors, a local disk.",
        "",
        "| | found | wanted |",
        "|---|---|---|",
        f"| planning {plan['items']:,} items | {plan['seconds']:.1f} s, {plan['peak_mib'] / 1024:.2f} GiB, "
        f"{plan['file_mb']:.0f} MB on disk | 60 s, 1.5 GB |",
        f"| publishing {published['items']:,} rows | {published['seconds']:.1f} s, "
        f"{published['peak_mib'] / 1024:.2f} GiB | 60 s |",
        f"| an item that takes no time on the device | {1000 * arguments.actors * more:.0f} ms of a core | 60 ms |",
        f"| the driver's memory, {many['items']:,} items over {few['items']:,} | {apart:+.0f} MiB "
        f"(from {few['peak_mib']:.0f}) | 50 MB |",
        f"| time that a device of a second an item is busy | {device['device_share']:.1%} | 95 % |",
    ]
    return "\n".join(lines) + "\n"


def _machine() -> str:
    return describe(torch.device("cpu"))


if __name__ == "__main__":
    main()
