"""How fast a model trains: on Ray Train, and by the same steps without it, in turn on one machine.

python benchmarks/training.py --grid 64 --channels 32 --batch-size 2 --out docs/benchmarks/training-cpu

Both sides take the optimizer steps of jobs/train/steps.py on the examples of jobs/train/feed.py, with
grafts and augmentation, and keep the records of jobs/train/outputs.py. `plain` spawns its workers with
torch.multiprocessing and wraps DistributedDataParallel itself; with --plain it is alone, for machines
without Ray. Each round runs every side once, from its start to its checkpoint. A round's figure is its
median step, for a mean carries whatever else the machine does; the fastest round counts. Cases are
phantoms.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from machine import PeakMemory, command, describe
from plain_training import plain_worker, write_peak
from training_cases import balls, phantoms

from factory.augment import AugmentConfig
from factory.nodules.graft import GraftConfig
from jobs.train.config import TrainConfig
from jobs.train.run_folder import METRICS
from jobs.train.settings import LoopSettings
from models.footprint import training_footprint
from models.unet3d_config import UNet3DConfig

_PLAIN, _RAY = "plain", "Ray Train"
_AUGMENT = AugmentConfig(rotation_deg=8.0, scale=0.05, translation_mm=8.0, gain=0.03, shift_hu=10.0)
_GRAFT = GraftConfig(probability=0.5)


@dataclass
class Figures:
    """What was measured of a side."""

    side: str
    workers: int
    seconds_a_step: float = float("inf")
    """Median of the fastest round, waiting included."""
    wait_share: float = float("nan")
    """Of that round's steps, the share that waited for examples."""
    start_and_end_s: float = float("inf")
    """All but the steps: processes, cluster, network, last checkpoint; of the fastest round."""
    peak_gib: float = 0.0
    """Of the largest worker."""


def main() -> None:
    """Run all sides in turn, print the table, write it and the figures."""
    arguments = _arguments()
    device = torch.device(arguments.device)
    torch.set_num_threads(arguments.threads)
    ways = [_PLAIN] if arguments.plain else [_PLAIN, _RAY]
    figures = [Figures(way, workers) for workers in arguments.workers for way in ways]
    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(arguments, Path(folder))
        for number in range(arguments.rounds):
            for one in figures:
                run = Path(folder, f"run-{number}-{one.side}-{one.workers}".replace(" ", "-"))
                _run(one, replace(settings, run_dir=str(run)), arguments)
    page = _page(figures, settings.config, arguments, device)
    print(page)  # noqa: T201
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
        record = {
            "machine": describe(device),
            "command": command(),
            "config": asdict(settings.config),
            "figures": [asdict(one) for one in figures],
        }
        arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--grid", type=int, default=64, help="Side in voxels.")
    add("--channels", type=int, default=32)
    add("--front-end", default="none")
    add("--batch-size", type=int, default=2, help="Volumes a step, over all workers.")
    add("--precision", default="float32")
    add("--activation-checkpointing", action="store_true")
    add("--compiled", action="store_true")
    add("--loaders", type=int, default=2, help="Threads that make examples ready.")
    add("--workers", type=int, nargs="+", default=[1, 2])
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of all workers.")
    add("--cases", type=int, default=8, help="Phantoms to train on.")
    add("--nodules", type=Path, help="Crops to graft. [balls of soft tissue]")
    # So long do Ray's own actors go on starting beside the first steps.
    add("--warm-up", type=int, default=12, help="Steps of a round that do not count.")
    add("--steps", type=int, default=20, help="Steps of a round that count.")
    add("--rounds", type=int, default=3)
    add("--plain", action="store_true", help="Without Ray.")
    add("--out", type=Path, help="Where .md and .json go, without a suffix.")
    arguments = parser.parse_args()
    if max(arguments.workers) > arguments.batch_size:
        parser.error(f"--workers {max(arguments.workers)}: each needs a volume of the batch")
    return arguments


def _settings(arguments: argparse.Namespace, folder: Path) -> LoopSettings:
    steps = arguments.warm_up + arguments.steps
    config = TrainConfig(
        steps=steps,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
        activation_checkpointing=arguments.activation_checkpointing,
        compiled=arguments.compiled,
        checkpoint_every=steps,
        num_probes=0,
        num_loaders=arguments.loaders,
        max_failures=0,
        model=UNet3DConfig(
            grid=arguments.grid, base_channels=arguments.channels, front_end=arguments.front_end
        ),
        augment=_AUGMENT,
        graft=_GRAFT,
    )
    return LoopSettings(
        config=config,
        cases_url=str(folder / "cases"),
        training_cases=list(phantoms(folder / "cases", arguments.cases, arguments.grid)),
        validation_cases=[],
        crops_path=str(arguments.nodules or balls(folder / "crops.npz")),
        ingest={},
        asked={},
        run_dir="",
        notes={},
    )


def _run(one: Figures, settings: LoopSettings, arguments: argparse.Namespace) -> None:
    """Train one run of a side, and take its figures in."""
    run = Path(settings.run_dir)
    run.mkdir()
    settings = replace(settings, num_threads=max(1, arguments.threads // one.workers))
    start = time.perf_counter()
    if one.side == _PLAIN:
        given = (one.workers, settings, arguments.device)
        torch.multiprocessing.spawn(plain_worker, given, nprocs=one.workers)
    else:
        _run_on_ray(one.workers, settings, arguments)
    wall = time.perf_counter() - start
    lines = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    counted = lines[arguments.warm_up :]
    assert len(counted) == arguments.steps
    seconds = [line["seconds"] for line in counted]
    if (median := statistics.median(seconds)) < one.seconds_a_step:
        one.seconds_a_step = median
        one.wait_share = sum(line["wait"] for line in counted) / sum(seconds)
    rest = wall - sum(line["seconds"] for line in lines)
    one.start_and_end_s = min(one.start_and_end_s, rest)
    peaks = [float(file.read_text()) for file in run.glob("peak-*")]
    one.peak_gib = max(one.peak_gib, *peaks)


def _run_on_ray(workers: int, settings: LoopSettings, arguments: argparse.Namespace) -> None:
    from jobs import cluster

    # A cluster for each run: its daemons would take their share of the other side's cores.
    cluster.LOCAL_CPUS = settings.num_threads * workers
    use_gpu = arguments.device == "cuda"
    with cluster.connect():
        # Not before: `connect` sets what Ray reads when it is imported.
        from ray.train import RunConfig, ScalingConfig
        from ray.train.torch import TorchTrainer

        TorchTrainer(
            _ray_worker,
            train_loop_config={"settings": settings},
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=use_gpu,
                resources_per_worker=None if use_gpu else {"CPU": settings.num_threads},
            ),
            run_config=RunConfig(name="benchmark", storage_path=f"{settings.run_dir}/ray"),
        ).fit()


def _ray_worker(loop_config: dict[str, LoopSettings]) -> None:
    import ray.train
    import ray.train.torch

    from jobs.train.loop import train_loop

    watch = PeakMemory(ray.train.torch.get_device())
    watch.start()
    train_loop(loop_config)
    write_peak(loop_config["settings"], ray.train.get_context().get_world_rank(), watch)


def _page(
    figures: list[Figures], config: TrainConfig, arguments: argparse.Namespace, device: torch.device
) -> str:
    memory = (
        "allocated on its device" if device.type == "cuda" else "resident, Python and cases and all"
    )
    lines = [
        "# Training: Ray Train, and the same steps without it",
        "",
        f"`{command()}`",
        "",
        f"{describe(device)}. {config.model.grid}^3 voxels, {config.model.base_channels} channels, front",
        f"end {config.model.front_end}, {config.batch_size} volumes a step in {config.precision}, grafts into "
        f"half of the examples and augmentation of all, {config.num_loaders}",
        f"loader threads a worker. Seconds are the median of {arguments.steps} steps after "
        f"{arguments.warm_up}, of the fastest of {arguments.rounds} rounds, and steps an",
        "hour follow from it; waiting, for examples, is a share of all of them. Start and end is all else:",
        "processes, cluster, network, the last checkpoint. Memory is the most that a worker had",
        f"{memory}; the estimate for a GPU is {_estimate_gib(config):.2f} GiB.",
        "",
        f"{os.cpu_count()} CPU cores, and {arguments.threads} threads that compute, of all workers together. "
        "Ray's own processes take about 5 % of one",
        "core while they idle, which shows in the last column where every core computes.",
        "",
        "| workers | side | s a step | steps an hour | waiting | start and end, s | peak GiB a worker "
        "| time over plain |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for one in figures:
        plain = next(f for f in figures if f.side == _PLAIN and f.workers == one.workers)
        over = one.seconds_a_step / plain.seconds_a_step - 1.0
        lines.append(
            f"| {one.workers} | {one.side} | {one.seconds_a_step:.3f} | {3600 / one.seconds_a_step:,.0f} "
            f"| {one.wait_share:.1%} | {one.start_and_end_s:.1f} | {one.peak_gib:.2f} "
            f"| {'-' if one is plain else f'{over:+.1%}'} |"
        )
    return "\n".join(lines) + "\n"


def _estimate_gib(config: TrainConfig) -> float:
    precision: Any = config.precision
    footprint = training_footprint(
        config.model,
        precision=precision,
        activation_checkpointing=config.activation_checkpointing,
    )
    return footprint.total_bytes / 2**30


if __name__ == "__main__":
    main()
