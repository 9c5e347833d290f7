"""How fast a volume is drawn: the method as published, and ours, in turn on one machine.

python benchmarks/sampler.py --grid 32 --grid 64 --channels 32 --out docs/benchmarks/sampler-cpu

Needs models/ and torch alone: where the project is not installed, set PYTHONPATH=. for it. Both sides have the same random weights, reference and layout; every
reverse step costs the same, so long runs are timed on a few steps and multiplied: the table says
which. Each round times every side once, and the fastest round counts.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from machine import PeakMemory, command, describe, matrix_peak, settle, synchronize
from published import PublishedLoop, PublishedNetwork
from scene import random_network, scene
from torch import Tensor

from models.aas import aas_sample
from models.engine import SamplingEngine, computes_in_bfloat16
from models.footprint import forward_flops
from models.schedule import NoiseSchedule, ScheduleConfig
from models.unet3d import UNet3D
from models.unet3d_config import UNet3DConfig

_PUBLISHED = "published"


@dataclass(frozen=True, kw_only=True)
class Side:
    """One way to draw a volume."""

    name: str
    precision: str
    num_steps: int
    """Reverse steps of a volume."""
    run: Callable[[int], None]
    """Takes so many reverse steps."""
    in_graphs: bool = False
    """Whether its network runs as CUDA graphs."""


@dataclass
class Timing:
    """What the rounds have shown of a side so far."""

    steps: int
    """Of a round."""
    seconds: float = float("inf")
    """Of the fastest round."""
    peak_gib: float = 0.0

    @property
    def seconds_a_step(self) -> float:
        """One reverse step, the noise and the blend with it."""
        return self.seconds / self.steps


@dataclass(kw_only=True)
class Figures:
    """What was measured of a side."""

    side: str
    precision: str
    grid: int
    channels: int
    num_steps: int
    steps_timed: int
    seconds_a_volume: float
    volumes_an_hour: float
    times_published: float
    tflops: float
    share_of_peak: float
    """Of the matrix product's TFLOP/s in the same precision."""
    peak_gib: float


def main() -> None:
    """Time all sides on each grid, print the table, write it and the figures."""
    arguments = _arguments()
    device = torch.device(arguments.device)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    settle(device)
    peaks = {"float32": matrix_peak(device, torch.float32)}
    if computes_in_bfloat16(device):
        peaks["bfloat16"] = matrix_peak(device, torch.bfloat16)
    figures = [f for grid in arguments.grid for f in _measure(grid, arguments, device, peaks)]
    page = _page(figures, peaks, device)
    print(page)  # noqa: T201
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
        record = {
            "machine": describe(device),
            "command": command(),
            "matrix_peak_tflops": peaks,
            "figures": [asdict(f) for f in figures],
        }
        arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--grid", type=int, action="append", required=True, help="Side in voxels; repeatable.")
    add("--channels", type=int, default=64)
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--threads", type=int, default=0, help="CPU threads. [torch's]")
    add("--few-steps", type=int, default=25, help="Of ddim and dpmpp_2m.")
    add("--timed-steps", type=int, default=5, help="Of the 250 of a long run.")
    add("--rounds", type=int, default=3)
    add("--compiled", action="store_true", help="Also torch.compile, and CUDA graphs.")
    add("--out", type=Path, help="Where .md and .json go, without a suffix.")
    return parser.parse_args()


def _measure(
    grid: int, arguments: argparse.Namespace, device: torch.device, peaks: dict[str, float]
) -> list[Figures]:
    # Compiled networks of other grids count towards the limit of this one.
    torch.compiler.reset()
    config = UNet3DConfig(grid=grid, base_channels=arguments.channels)
    network = random_network(config).to(device)
    _check_same(network, device)
    sides = _sides(network, arguments, device)
    timings = _time(sides, arguments, device)
    published = timings[_PUBLISHED].seconds_a_step * sides[0].num_steps
    flops = forward_flops(config)
    return [
        _figures(side, timings[side.name], config, flops, published, peaks[side.precision])
        for side in sides
    ]


def _time(
    sides: list[Side], arguments: argparse.Namespace, device: torch.device
) -> dict[str, Timing]:
    """Time all sides in turn, round after round."""
    timings = {}
    for side in sides:
        whole = side.num_steps <= arguments.few_steps
        timings[side.name] = Timing(side.num_steps if whole else arguments.timed_steps)
        side.run(2)
    watch = PeakMemory(device)
    for _ in range(arguments.rounds):
        for side in sides:
            timing = timings[side.name]
            watch.start()
            synchronize(device)
            start = time.perf_counter()
            side.run(timing.steps)
            synchronize(device)
            timing.seconds = min(timing.seconds, time.perf_counter() - start)
            timing.peak_gib = max(timing.peak_gib, watch.gib())
    return timings


def _figures(
    side: Side, timing: Timing, config: UNet3DConfig, flops: int, published: float, peak: float
) -> Figures:
    a_volume = timing.seconds_a_step * side.num_steps
    tflops = flops / timing.seconds_a_step / 1e12
    return Figures(
        side=side.name,
        precision=side.precision,
        grid=config.grid,
        channels=config.base_channels,
        num_steps=side.num_steps,
        steps_timed=timing.steps,
        seconds_a_volume=a_volume,
        volumes_an_hour=3600 / a_volume,
        times_published=published / a_volume,
        tflops=tflops,
        share_of_peak=tflops / peak,
        # The allocator does not see what a CUDA graph holds.
        peak_gib=float("nan") if side.in_graphs else timing.peak_gib,
    )


def _sides(network: UNet3D, arguments: argparse.Namespace, device: torch.device) -> list[Side]:
    schedule = NoiseSchedule(ScheduleConfig())
    x_known, layout = scene(network.config, device)
    total, few = schedule.num_steps, arguments.few_steps
    loop, plain = PublishedLoop(schedule, layout, x_known), PublishedNetwork(network)

    def published(num_steps: int) -> None:
        with torch.no_grad():
            x_t = torch.randn(x_known.shape, device=device)
            for t in range(total - 1, total - 1 - num_steps, -1):
                x_t = loop.step(plain, x_t, t)

    sides = [Side(name=_PUBLISHED, precision="float32", num_steps=total, run=published)]
    precisions = ["float32", "bfloat16"] if computes_in_bfloat16(device) else ["float32"]
    for compiled in (False, True) if arguments.compiled else (False,):
        for precision in precisions:
            engine = SamplingEngine(network, precision=precision, compiled=compiled)
            for sampler, num_steps in (("ddpm", total), ("ddim", few), ("dpmpp_2m", few)):
                suffix = " compiled" if compiled else ""
                sides.append(
                    Side(
                        name=f"{sampler} {precision}{suffix}",
                        precision=precision,
                        num_steps=num_steps,
                        run=_ours(engine, schedule, layout, x_known, sampler),
                        in_graphs=compiled and device.type == "cuda",
                    )
                )
    return sides


def _ours(
    engine: SamplingEngine,
    schedule: NoiseSchedule,
    layout: Tensor,
    x_known: Tensor,
    sampler: str,
) -> Callable[[int], None]:
    def run(num_steps: int) -> None:
        generator = torch.Generator().manual_seed(0)
        aas_sample(
            engine,
            schedule,
            layout=layout,
            x_known=x_known,
            draw_noise=lambda shape: torch.randn(shape, generator=generator),
            sampler=sampler,
            num_steps=num_steps,
        )

    return run


@torch.no_grad()
def _check_same(network: UNet3D, device: torch.device) -> None:
    """Refuse to time two sides that compute different things."""
    x_known, layout = scene(network.config, device)
    x, t = torch.cat([x_known, layout], dim=1), torch.tensor([100], device=device)
    expected = PublishedNetwork(network)(x, t)
    error = ((SamplingEngine(network)(x, t) - expected).norm() / expected.norm()).item()
    # TF32, which CUDA's convolutions use in both sides, rounds to 10 bits.
    if not error < (1e-2 if device.type == "cuda" else 1e-4):
        raise AssertionError(f"the two networks differ by {error:.1e} relative L2")


def _page(figures: list[Figures], peaks: dict[str, float], device: torch.device) -> str:
    measured = ", ".join(f"{name} {tflops:.2f}" for name, tflops in peaks.items())
    lines = [
        "# Drawing a volume: the method as published, and ours",
        "",
        f"`{command()}`",
        "",
        f"{describe(device)}. Matrix products reach {measured} TFLOP/s here. `published` is their loop",
        "written plainly (float32, einsum attention, all steps). Seconds are of the fastest round; where",
        "fewer steps were timed than a volume takes, they are multiplied. A step's TFLOP/s count the network",
        "alone. Memory is the most that was "
        + (
            "allocated on the device, the other sides' weights with it; float32 is TF32 on every side, as "
            "torch has it."
            if device.type == "cuda"
            else "resident, Python and all."
        ),
        "",
        "| grid | channels | side | steps (timed) | s a volume | volumes an hour | times published "
        "| TFLOP/s | share of peak | peak GiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.grid}^3 | {f.channels} | {f.side} | {f.num_steps} ({f.steps_timed}) "
        f"| {f.seconds_a_volume:.2f} | {f.volumes_an_hour:.0f} | {f.times_published:.1f} "
        f"| {f.tflops:.3f} | {f.share_of_peak:.0%} | {f.peak_gib:.2f} |"
        for f in figures
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
