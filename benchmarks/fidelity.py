"""What speed costs: few steps, bfloat16 and compilation against 250 steps in float32, on real cases.

python benchmarks/fidelity.py --cases CASES --model RUN --case A --case B --out docs/benchmarks/fidelity

All ways draw the same items from the same noise. Their volumes are compared where the model draws, in
HU: with 250 steps of the ODE that ddim and dpmpp_2m follow, and by how hard the border of the
lungs is and how their HU are spread, with the reference itself.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from machine import command, describe, settle
from numpy.typing import NDArray
from scipy.stats import wasserstein_distance
from torch import Tensor

from factory.layouts import LUNG
from factory.preprocessing import ModelInput, Preprocessing
from factory.seam import seam_score
from factory.storage import Storage
from factory.volumes import Volume, read_volume
from jobs.cases import open_case_store
from models.aas import aas_sample
from models.checkpoint import Checkpoint, load_checkpoint
from models.engine import SamplingEngine, computes_in_bfloat16


@dataclass(frozen=True)
class Way:
    """One way to draw the items."""

    sampler: str
    blend: str
    num_steps: int
    precision: str = "float32"
    compiled: bool = False
    seed: int = 0

    @property
    def name(self) -> str:
        """For the table."""
        other = [self.precision if self.precision != "float32" else ""]
        other += ["compiled" if self.compiled else "", "other noise" if self.seed else ""]
        return " ".join([self.sampler, self.blend, str(self.num_steps), *filter(None, other)])


ODE = Way("ddim", "start", 250)
ODE_LEVEL = Way("ddim", "level", 250)
ANCESTRAL = Way("ddpm", "level", 250)


@dataclass(kw_only=True)
class Figures:
    """Means over the items; distances are between volumes of the same items."""

    way: str
    compared_with: str
    relative_l2: float
    """Of HU, over the voxels that are drawn."""
    mean_absolute_hu: float
    """The same difference, its mean size."""
    seam_score: float
    seam_lowest: float
    seam_highest: float
    median_off_hu: float
    """Median of the lungs' HU, beyond the reference's."""
    spread_of_reference: float
    """Standard deviation of the lungs' HU, as a share of the reference's."""
    histogram_off_hu: float
    """Wasserstein distance between the lungs' HU and the reference's."""


class Bench:
    """The items, and what was drawn of them so far."""

    def __init__(self, checkpoint: Checkpoint, volumes: list[Volume]) -> None:
        preprocessing = Preprocessing.from_json(checkpoint.card.preprocessing)
        self._checkpoint = checkpoint
        self._volumes = volumes
        self._given: list[ModelInput] = [preprocessing.feed(v.ct, v.layout) for v in volumes]
        self._engines: dict[tuple[str, bool], SamplingEngine] = {}
        self._drawn: dict[Way, list[NDArray[np.int16]]] = {}

    def figures(self, way: Way, base: Way) -> Figures:
        """Return how `way` compares with `base`, and with the references."""
        hu, expected = self._draw(way), self._draw(base)
        items = list(zip(self._volumes, self._given, hu, expected, strict=True))
        apart = [h[g.drawn].astype(float) - e[g.drawn] for _, g, h, e in items]
        size = [np.linalg.norm(e[g.drawn].astype(float)) for _, g, _, e in items]
        seams = [seam_score(h, v.ct, g.drawn) for v, g, h, _ in items]
        lungs = [(h[v.layout == LUNG], v.ct[v.layout == LUNG]) for v, _, h, _ in items]
        return Figures(
            way=way.name,
            compared_with=base.name if way != base else "",
            relative_l2=float(
                np.mean([np.linalg.norm(a) / s for a, s in zip(apart, size, strict=True)])
            ),
            mean_absolute_hu=float(np.mean([np.abs(a).mean() for a in apart])),
            seam_score=float(np.mean(seams)),
            seam_lowest=min(seams),
            seam_highest=max(seams),
            median_off_hu=float(np.mean([np.median(s) - np.median(r) for s, r in lungs])),
            spread_of_reference=float(np.mean([s.std() / r.std() for s, r in lungs])),
            histogram_off_hu=float(np.mean([wasserstein_distance(s, r) for s, r in lungs])),
        )

    def _draw(self, way: Way) -> list[NDArray[np.int16]]:
        if way not in self._drawn:
            print(f"drawing {way.name}", file=sys.stderr, flush=True)  # noqa: T201
            x_0 = aas_sample(
                self._engine(way),
                self._checkpoint.schedule,
                layout=_batch([given.condition for given in self._given]),
                x_known=_batch([given.x_known for given in self._given]),
                draw_noise=self._noise(way.seed),
                sampler=way.sampler,
                blend=way.blend,
                num_steps=way.num_steps,
            )
            pairs = zip(self._given, x_0.numpy(), strict=True)
            self._drawn[way] = [given.decode(volume) for given, volume in pairs]
        return self._drawn[way]

    def _engine(self, way: Way) -> SamplingEngine:
        key = way.precision, way.compiled
        if key not in self._engines:
            self._engines[key] = SamplingEngine(
                self._checkpoint.denoiser, precision=way.precision, compiled=way.compiled
            )
        return self._engines[key]

    def _noise(self, seed: int) -> "Noise":
        return Noise([1000 * seed + index for index in range(len(self._volumes))])


class Noise:
    """A generator of its own for each item of the batch."""

    def __init__(self, seeds: list[int]) -> None:
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, shape: tuple[int, ...]) -> Tensor:
        """Return (B, ...) standard normal."""
        one = (1, *shape[1:])
        return torch.cat([torch.randn(one, generator=g) for g in self._generators])


def main() -> None:
    """Draw the items in all ways, print the table, write it and the figures."""
    arguments = _arguments()
    settle(torch.device("cpu"))
    store = open_case_store(arguments.cases)
    rows = [row for row in store.rows if not arguments.case or row["case_id"] in arguments.case]
    if unknown := set(arguments.case or []) - {row["case_id"] for row in rows}:
        raise SystemExit(f"error: {store.url} has no case {', '.join(sorted(unknown))}")
    volumes = [read_volume(Storage(store.url), row["image_uri"]) for row in rows]
    checkpoint = load_checkpoint(arguments.model)
    bench = Bench(checkpoint, volumes)
    figures = [bench.figures(way, base) for way, base in _ways(compiled=arguments.compiled)]
    names = [row["case_id"] for row in rows]
    page = _page(figures, names, checkpoint)
    print(page)  # noqa: T201
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.with_suffix(".md").write_text(page, encoding="utf-8")
        record = {
            "machine": describe(torch.device("cpu")),
            "command": command(),
            "cases": names,
            "training": checkpoint.card.training,
            "figures": [asdict(f) for f in figures],
        }
        arguments.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--cases", type=Path, required=True, help="Case store of real scans.")
    add("--model", type=Path, required=True, help="Checkpoint that was trained.")
    add("--case", action="append", help="Case to draw, repeatable. [all]")
    add("--compiled", action="store_true", help="Also torch.compile.")
    add("--out", type=Path, help="Where .md and .json go, without a suffix.")
    return parser.parse_args()


def _ways(*, compiled: bool) -> Iterator[tuple[Way, Way]]:
    yield ANCESTRAL, ANCESTRAL
    yield Way("ddpm", "level", 250, seed=1), ANCESTRAL
    yield Way("ddpm", "start", 250), ANCESTRAL
    yield ODE, ANCESTRAL
    yield ODE_LEVEL, ODE
    for num_steps in (10, 15, 25, 50):
        for sampler in ("ddpm", "ddim", "dpmpp_2m"):
            for blend in ("level", "start"):
                # Ancestral steps add noise that the ODE has not: only their spread compares.
                yield Way(sampler, blend, num_steps), ANCESTRAL if sampler == "ddpm" else ODE
    few = Way("dpmpp_2m", "start", 25)
    if computes_in_bfloat16("cpu"):
        yield Way("dpmpp_2m", "start", 25, "bfloat16"), few
        yield Way("ddim", "start", 250, "bfloat16"), ODE
    if compiled:
        yield Way("dpmpp_2m", "start", 25, compiled=True), few


def _batch(arrays: list[NDArray[np.float32]]) -> Tensor:
    return torch.stack([torch.from_numpy(array) for array in arrays])


def _page(figures: list[Figures], names: list[str], checkpoint: Checkpoint) -> str:
    card = checkpoint.card
    lines = [
        "# What speed costs",
        "",
        f"`{command()}`",
        "",
        f"{describe(torch.device('cpu'))}. Means over {len(names)} real cases ({', '.join(names)}) at "
        f"{card.unet.grid}^3; a network of {card.unet.base_channels} channels after "
        f"{card.training.get('step')} training steps.",
        "",
        "| way: sampler, blend, steps | compared with | relative L2 in HU | mean difference HU "
        "| seam score (lowest to highest) | lung median off HU | spread / reference "
        "| histogram off HU |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {f.way} | {f.compared_with or '-'} | {f.relative_l2:.4f} | {f.mean_absolute_hu:.1f} "
        f"| {f.seam_score:.3f} ({f.seam_lowest:.2f} to {f.seam_highest:.2f}) | {f.median_off_hu:+.0f} "
        f"| {f.spread_of_reference:.2f} | {f.histogram_off_hu:.0f} |"
        for f in figures
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
