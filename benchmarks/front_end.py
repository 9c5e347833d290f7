"""Which front end learns more in the same time: two networks trained in turn, on one machine.

python benchmarks/front_end.py --cases CASES --held-out CASES --nodules NPZ --out docs/benchmarks/front-end

Every side takes the same settings, cases, noise and seconds of processor; what differs is
`front_end` alone. The slices are short and alternate, so that both see the same machine. Then both
predict the same noise of held-out cases, and draw their lungs.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from machine import command, describe, settle
from torch import Tensor

from factory.intensity import HuWindow
from factory.layouts import layout_channels
from factory.likeness import Likeness, likeness
from factory.pictures import ComparisonRow, comparison_figure
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.cases import CaseStore, open_case_store
from jobs.recipe import load_recipe
from jobs.train.config import TrainConfig
from jobs.train.examples import Examples
from jobs.train.steps import Training, start_training, take_step
from models.aas import aas_sample
from models.ddpm import eps_loss
from models.engine import SamplingEngine
from models.footprint import forward_flops
from models.front_end import FRONT_ENDS
from models.schedule import NoiseSchedule
from models.unet3d import UNet3D

_SLICE_SECONDS = 20.0
_LEVELS = 8
_NUM_STEPS = 25


@dataclass
class Side:
    """One network, and how far it has come."""

    name: str
    config: TrainConfig
    seconds: float = 0.0
    training: Training = field(init=False)

    def __post_init__(self) -> None:
        self.training = start_training(self.config, torch.device("cpu"))


@dataclass(kw_only=True)
class Figures:
    """What a side has learned; means over the held-out cases."""

    side: str
    minutes: float
    """Of processor."""
    steps: int
    parameters: int
    gflop: float
    """Of one prediction of the noise."""
    noise_loss: float
    """L1 of the predicted noise of held-out cases, over all voxels."""
    lung_noise_loss: float
    """The same inside the layout."""
    likeness: dict[str, float]
    """Of drawn volumes, means over the cases; `factory.likeness` says what they are."""


class Bench:
    """The cases, and the sides that train on them in turn."""

    def __init__(
        self, config: TrainConfig, cases: CaseStore, held_out: CaseStore, crops: Path | None
    ) -> None:
        self._window = HuWindow(*config.hu_window)
        self._schedule = NoiseSchedule(config.schedule)
        self._examples = Examples(
            cases.url,
            [row["image_uri"] for row in cases.training_rows()],
            window=self._window,
            num_diffusion_steps=config.schedule.num_steps,
            seed=config.seed,
            batch_size=config.batch_size,
            augment=config.augment,
            graft=config.graft,
            crops_path=str(crops) if crops else None,
        )
        rows = held_out.rows
        self._names = [row["case_id"] for row in rows]
        self._spacings = [tuple(row["spacing_mm"]) for row in rows]
        self._volumes = [read_volume(Storage(held_out.url), row["image_uri"]) for row in rows]

    def train(self, side: Side, seconds: float) -> None:
        """Train a side for some seconds of this process."""
        start = time.process_time()
        while time.process_time() - start < seconds:
            slots = range(side.config.batch_size)
            batch = [self._examples.example(side.training.step, slot) for slot in slots]
            take_step(side.training, side.config, self._schedule, batch)
        side.seconds += time.process_time() - start

    def figures(self, side: Side) -> tuple[Figures, list[np.ndarray]]:
        """Return what a side has learned, and the volumes that it drew."""
        network = side.training.ema.module
        assert isinstance(network, UNet3D)
        drawn = [self._draw(network, volume, seed) for seed, volume in enumerate(self._volumes)]
        pairs = zip(drawn, self._volumes, strict=True)
        found = [likeness(hu, volume.ct, volume.layout) for hu, volume in pairs]
        everywhere, inside = self._noise_losses(network)
        return Figures(
            side=side.name,
            minutes=side.seconds / 60,
            steps=side.training.step,
            parameters=sum(p.numel() for p in network.parameters()),
            gflop=forward_flops(side.config.model) / 1e9,
            noise_loss=everywhere,
            lung_noise_loss=inside,
            likeness=_mean(found),
        ), drawn

    @torch.no_grad()
    def _noise_losses(self, network: UNet3D) -> tuple[float, float]:
        losses = []
        for index, volume in enumerate(self._volumes):
            x, condition = self._tensors(volume)
            inside = (condition > 0).any(dim=1, keepdim=True).float()
            generator = torch.Generator().manual_seed(index)
            for level in torch.linspace(0, self._schedule.num_steps - 1, _LEVELS).long():
                noise = torch.randn(x.shape, generator=generator)
                given = network, self._schedule, x, condition, level[None], noise
                losses.append((float(eps_loss(*given)), float(eps_loss(*given, weight=inside))))
        everywhere, lungs = np.mean(losses, axis=0)
        return float(everywhere), float(lungs)

    def _draw(self, network: UNet3D, volume: Volume, seed: int) -> np.ndarray:
        x, condition = self._tensors(volume)
        generator = torch.Generator().manual_seed(seed)
        x_0 = aas_sample(
            SamplingEngine(network),
            self._schedule,
            layout=condition,
            x_known=x,
            draw_noise=lambda shape: torch.randn(shape, generator=generator),
            sampler="dpmpp_2m",
            num_steps=_NUM_STEPS,
        )
        hu = self._window.decode(x_0[0, 0].numpy())
        return np.where(volume.layout > 0, hu, volume.ct)

    def _tensors(self, volume: Volume) -> tuple[Tensor, Tensor]:
        x = torch.from_numpy(self._window.encode(volume.ct))[None, None]
        return x, torch.from_numpy(layout_channels(volume.layout))[None]

    def pictures(self, drawn: dict[str, list[np.ndarray]]) -> Iterator[ComparisonRow]:
        """Return a row for each case and side."""
        for index, volume in enumerate(self._volumes):
            for side, volumes in drawn.items():
                yield ComparisonRow(
                    title=f"{self._names[index]}, {side}",
                    reference_hu=volume.ct,
                    layout=volume.layout,
                    synthetic_hu=volumes[index],
                    spacing_mm=self._spacings[index],
                )


def _mean(found: list[Likeness]) -> dict[str, float]:
    tables = [asdict(one) for one in found]
    return {key: float(np.nanmean([table[key] for table in tables])) for key in tables[0]}


def main() -> None:
    """Train the sides in turn, print the table, write it, the figures and the picture."""
    arguments = _arguments()
    settle(torch.device("cpu"))
    torch.set_num_threads(arguments.threads)
    cases, held_out = open_case_store(arguments.cases), open_case_store(arguments.held_out)
    config = load_recipe(arguments.recipe).table("train", TrainConfig)
    bench = Bench(config, cases, held_out, arguments.nodules)
    sides = [Side(name, _with(config, cases.grid, name)) for name in FRONT_ENDS]
    for _ in range(max(1, round(arguments.minutes * 60 / _SLICE_SECONDS))):
        for side in sides:
            bench.train(side, _SLICE_SECONDS)
        taken = ", ".join(f"{side.name}: {side.training.step} steps" for side in sides)
        print(taken, file=sys.stderr, flush=True)  # noqa: T201
    results = {side.name: bench.figures(side) for side in sides}
    figures = [found for found, _ in results.values()]
    page = _page(figures, config, [row["case_id"] for row in held_out.rows])
    print(page)  # noqa: T201
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
        record = {
            "machine": describe(torch.device("cpu")),
            "command": command(),
            "figures": [asdict(found) for found in figures],
        }
        arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")
        drawn = {name: volumes for name, (_, volumes) in results.items()}
        comparison_figure([*bench.pictures(drawn)], arguments.out.with_suffix(".png"))


def _with(config: TrainConfig, grid: int, front_end: str) -> TrainConfig:
    return replace(config, model=replace(config.model, grid=grid, front_end=front_end))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--cases", type=Path, required=True, help="Case store to train on.")
    add("--held-out", type=Path, required=True, help="Case store of other patients.")
    add("--recipe", default="demo", help="Whose [train] settings the sides share. [demo]")
    add("--nodules", type=Path, help="Crops to graft, where the recipe does.")
    add("--minutes", type=float, default=12.0, help="Of processor, for each side. [12]")
    add("--threads", type=int, default=1, help="Of the processor. [1]")
    add("--out", type=Path, help="Where .md, .json and .png go, without a suffix.")
    return parser.parse_args()


def _page(figures: list[Figures], config: TrainConfig, held_out: list[str]) -> str:
    lines = [
        "# Front ends, trained for equal time",
        "",
        f"{describe(torch.device('cpu'))}; {config.model.base_channels} channels, "
        f"{config.precision}, batch {config.batch_size}.",
        "",
        f"    {command()}",
        "",
        f"Held-out cases: {', '.join(held_out)}. Noise loss is L1 at {_LEVELS} levels, under the "
        f"moving average; volumes are drawn in {_NUM_STEPS} steps of `dpmpp_2m`.",
        "",
    ]
    columns = {"front end": [f"`{f.side}`" for f in figures]}
    columns["minutes"] = [f"{f.minutes:.1f}" for f in figures]
    columns["steps"] = [str(f.steps) for f in figures]
    columns["GFLOP"] = [f"{f.gflop:.1f}" for f in figures]
    columns["noise loss"] = [f"{f.noise_loss:.4f}" for f in figures]
    columns["in the lungs"] = [f"{f.lung_noise_loss:.4f}" for f in figures]
    for key in figures[0].likeness:
        columns[key.replace("_", " ")] = [f"{f.likeness[key]:.3g}" for f in figures]
    lines += ["| | " + " | ".join(columns.pop("front end")) + " |"]
    lines += ["|---" * (len(figures) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(values) + " |" for name, values in columns.items()]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
