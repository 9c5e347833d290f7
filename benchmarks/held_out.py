"""Whether a model's lungs look like lungs, on scans that it was not trained on.

python benchmarks/held_out.py --model CKPT --scans DIR [--nodules NPZ] --out docs/benchmarks/demo-model

The scans are ingested as the model's checkpoint says, and `factory generate` draws each of them
several times in few steps. Each volume is compared with its scan by `factory.likeness`, and so are
lungs that are known to be wrong, for what the figures mean. The picture goes through the largest nodule
of each scan's draws. That scans are held out is for the caller to see to: a checkpoint names no cases.
"""

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import command, describe
from scipy.stats import wasserstein_distance
from wrong_lungs import wrong_lungs

from factory.axes import spacing_zyx
from factory.ingest.prepare import IngestConfig
from factory.lake import MANIFEST
from factory.layouts import LABELS, LUNG
from factory.likeness import likeness
from factory.nodules.measure import measure_nodules
from factory.pictures import ComparisonRow, comparison_figure
from factory.preprocessing import Preprocessing
from factory.volumes import Volume
from jobs.amount import Amount
from jobs.cluster import connect
from jobs.generate.config import GenerateConfig
from jobs.generate.job import generate
from jobs.ingest.job import ingest
from jobs.lakes import read_row
from manifests.read import read_manifest
from manifests.split import SplitFractions
from models.card import ModelCard
from models.checkpoint import load_checkpoint

SAMPLER = "dpmpp_2m"
_ALL_TRAIN = SplitFractions(train=100, val=0, test=0)
"""Volumes are drawn of the training split alone, which here means all scans of the folder."""


@dataclass(frozen=True, kw_only=True)
class Draw:
    """One volume, the scan that it was drawn into, and how they compare."""

    case_id: str
    index: int
    """How many volumes of the same scan come before it."""
    layout_origin: str
    verdict: str
    volume: Volume
    reference: Volume

    def as_row(self) -> dict[str, Any]:
        """Return which it is, and its figures; NaN where the scan has nothing to compare with."""
        found = asdict(likeness(self.volume.ct, self.reference.ct, self.volume.layout))
        if self.layout_origin == "placed":
            found["reference_nodule_contrast_hu"] = math.nan
        names = {"case": self.case_id, "draw": self.index, "nodules": self.layout_origin}
        return {**names, "verdict": self.verdict, **found}


_COLUMNS = {
    "lung_mse": ("MSE in the lungs", ".4f"),
    "flat_lung_mse": ("MSE of a flat lung", ".4f"),
    "volume_mse": ("MSE of the volume", ".4f"),
    "lung_rmse_hu": ("RMSE in the lungs HU", ".0f"),
    "lung_histogram_distance_hu": ("histogram off HU", ".0f"),
    "nodule_contrast_hu": ("nodule contrast HU", ".0f"),
    "reference_nodule_contrast_hu": ("contrast in the scan HU", ".0f"),
    "border_jump_hu": ("border jump HU", ".0f"),
    "reference_border_jump_hu": ("jump in the scan HU", ".0f"),
    "seam_score": ("seam score", ".2f"),
    "texture": ("texture", ".2f"),
}
"""Heading and format of each figure."""

_NOTES = """\
- **MSE** is in units of the window, -1024 to 600 HU mapped to [-1, 1], over lung and nodule voxels. Lower
  is not better: new lungs have other vessels than the scan's. A flat lung has the scan's median HU in
  every voxel; lungs that have nothing in common but their spread have twice its error. Good ones stay
  below twice as far as the layout and what is around tell their HU, as at the border; blurred ones do
  too. That of the volume is what published tables give: all but the lungs is copied.
- **Histogram off**: Wasserstein distance between the HU of the lung voxels and of the scan's, nodules
  left out.
- **Nodule contrast**: median HU of all nodule voxels, beyond that of the lung two and three voxels
  around. In the scan: of the same voxels, where the nodules are its own. Where they were placed, the scan
  has lung there and nothing to compare with.
- **Border jump**: mean step between a voxel that was drawn and its neighbour that was not; the seam score
  is its ratio to the same step in the scan, and 2 an edge twice as hard.
- **Texture**: standard deviation of what a mean of 3^3 voxels leaves of the inner lung, beside the scan's:
  1 is right, more is noisy, less is blurred. The larger a voxel, the more vessels look like noise.
"""


def main() -> None:
    """Draw and compare; write page, figures and picture, and print the page."""
    arguments = _arguments()
    card = load_checkpoint(arguments.model).card
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    draws, seconds = _draw(arguments, card, device.type)
    record: dict[str, Any] = {
        "machine": f"{describe(device)}, Ray {version('ray')}",
        "command": command(),
        "model": {"digest": card.digest, "training": dict(card.training)},
        "sampler": f"{SAMPLER}, {arguments.steps} steps",
        "seconds": round(seconds, 1),
        "histograms_apart_hu": _histograms_apart(draws),
        "draws": [draw.as_row() for draw in draws],
        "wrong_lungs": _figures_of_wrong_lungs(draws),
    }
    out: Path = arguments.out
    page = _page(record, card, out.with_suffix(".png").name)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".md").write_text(page, encoding="utf-8")
    out.with_suffix(".json").write_text(json.dumps(_plain(record), indent=2) + "\n")
    comparison_figure([_pictured(draw) for draw in _most_to_see(draws)], out.with_suffix(".png"))
    print(page)  # noqa: T201


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, help="Checkpoint that was trained.")
    add("--scans", type=Path, required=True, help="NIfTI scans that it was not trained on.")
    add("--nodules", type=Path, help="Bank of shapes for scans without nodules. [the embedded one]")
    add("--seeds", type=int, default=3, help="Volumes of each scan. [3]")
    add("--steps", type=int, default=25, help="Reverse steps. [25]")
    add("--out", type=Path, required=True, help="Where .md, .json and .png go, without a suffix.")
    return parser.parse_args()


def _draw(arguments: argparse.Namespace, card: ModelCard, device: str) -> tuple[list[Draw], float]:
    """Return the volumes, and the seconds that `generate` took."""
    config = GenerateConfig(sampler=SAMPLER, steps=arguments.steps)
    settings = _ingest_config(card, arguments.model)
    with tempfile.TemporaryDirectory() as folder, connect():
        cases, lake = Path(folder, "cases"), Path(folder, "lake")
        num_cases = ingest(arguments.scans, cases, settings, split=_ALL_TRAIN).num_cases
        amount = Amount(count=arguments.seeds * num_cases)
        start = time.monotonic()
        generate(
            cases, arguments.model, lake, amount, config, nodules=arguments.nodules, device=device
        )
        return list(_read_draws(lake / MANIFEST)), time.monotonic() - start


def _ingest_config(card: ModelCard, model: Path) -> IngestConfig:
    fed = Preprocessing.from_json(card.preprocessing, where=f"model {model}")
    if fed.labels != tuple(LABELS):
        raise SystemExit(
            f"error: model {model} draws {' and '.join(fed.labels)} only; expected lung and nodule, for "
            "lungs are what is compared"
        )
    return IngestConfig(**{"grid": card.unet.grid, **fed.ingest})


def _read_draws(manifest: Path) -> Iterator[Draw]:
    rows = read_manifest(manifest).to_pylist()
    scans = {row["case_id"]: read_row(manifest, row) for row in rows if row["kind"] == "real"}
    drawn = [row for row in rows if row["kind"] == "synthetic"]
    for row in sorted(drawn, key=lambda row: (row["case_id"], row["seed_index"])):
        yield Draw(
            case_id=row["case_id"],
            index=row["seed_index"],
            layout_origin=row["layout_origin"],
            verdict=row["qc_verdict"],
            volume=read_row(manifest, row),
            reference=scans[row["case_id"]],
        )


def _first_of_each(draws: list[Draw]) -> list[Draw]:
    first = {draw.case_id: draw for draw in reversed(draws)}
    return [first[case_id] for case_id in sorted(first)]


def _most_to_see(draws: list[Draw]) -> list[Draw]:
    """Return of each scan the draw with the largest nodule, the first of equals."""
    return _first_of_each(sorted(draws, key=_largest_mm, reverse=True))


def _largest_mm(draw: Draw) -> float:
    nodules = measure_nodules(draw.volume.layout, draw.volume.affine)
    return max((nodule.diameter_mm for nodule in nodules), default=0.0)


def _histograms_apart(draws: list[Draw]) -> float:
    """Return how far apart the HU of the lungs of two different scans lie, in the mean."""
    lungs = [one.reference.ct[one.reference.layout == LUNG] for one in _first_of_each(draws)]
    apart = [wasserstein_distance(one, other) for one, other in combinations(lungs, 2)]
    return float(np.mean(apart)) if apart else math.nan


def _figures_of_wrong_lungs(draws: list[Draw]) -> dict[str, dict[str, float]]:
    """Return the figures of lungs that are known to be wrong, by how; means over the scans."""
    figures: dict[str, list[dict[str, float]]] = defaultdict(list)
    for scan in (draw.reference for draw in _first_of_each(draws)):
        for way, hu in wrong_lungs(scan):
            figures[way].append(asdict(likeness(hu, scan.ct, scan.layout)))
    return {way: _mean(rows) for way, rows in figures.items()}


def _mean(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Return the mean of each column over the rows that have it."""
    means = {}
    for name in _COLUMNS:
        found = [row[name] for row in rows if not math.isnan(row[name])]
        means[name] = float(np.mean(found)) if found else math.nan
    return means


def _pictured(draw: Draw) -> ComparisonRow:
    return ComparisonRow(
        title=f"{draw.case_id}, draw {draw.index}\nnodules {draw.layout_origin}, to {_largest_mm(draw):.0f} mm",
        reference_hu=draw.reference.ct,
        layout=draw.volume.layout,
        synthetic_hu=draw.volume.ct,
        spacing_mm=spacing_zyx(draw.volume.affine),
        reference_name="real scan",
    )


def _page(record: dict[str, Any], card: ModelCard, picture: str) -> str:
    draws, training = record["draws"], card.training
    cases = list(dict.fromkeys(draw["case"] for draw in draws))
    accepted = sum(draw["verdict"] == "accept" for draw in draws)
    lines = [
        "# Lungs of held-out scans",
        "",
        f"`{record['command']}`",
        "",
        f"{record['machine']}. {len(draws)} volumes of {len(cases)} held-out scans ({', '.join(cases)}) at "
        f"{card.unet.grid}^3, {record['sampler']}: {record['seconds']:.0f} s, the start of the actors "
        f"included. A network of {card.unet.base_channels} channels after {training.get('step')} training "
        f"steps on {training.get('num_cases')} scans.",
        "",
        *_head("scan, draw, nodules"),
    ]
    for case in cases:
        of_case = [draw for draw in draws if draw["case"] == case]
        lines += [_line(f"{case}, {d['draw']}, {d['nodules']}", d) for d in of_case]
        lines += [_line(f"**{case}, mean**", _mean(of_case))]
    lines += [
        "",
        f"`factory generate` accepted {accepted} of {len(draws)}. Annotated nodules are the scan's own; placed "
        "ones differ from draw to draw.",
        "",
        f"![Of each scan the draw with the largest nodule]({picture})",
        "",
        "Figures of lungs that are known to be wrong, made from the scans' own; means over the scans:",
        "",
        *_head("lungs"),
        *(_line(way, figures) for way, figures in record["wrong_lungs"].items()),
        "",
        f"Lungs of two different scans have histograms {_cell(record['histograms_apart_hu'], '.0f')} HU apart.",
        "",
        _NOTES,
    ]
    return "\n".join(lines)


def _head(first: str) -> list[str]:
    headings = [first, *(heading for heading, _ in _COLUMNS.values())]
    return [f"| {' | '.join(headings)} |", f"|{'---|' * len(headings)}"]


def _line(first: str, figures: dict[str, Any]) -> str:
    cells = [_cell(figures[name], form) for name, (_, form) in _COLUMNS.items()]
    return f"| {' | '.join([first, *cells])} |"


def _cell(figure: float, form: str) -> str:
    return "-" if math.isnan(figure) else format(figure, form)


def _plain(content: Any) -> Any:
    """Return what JSON can say: null for NaN."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and math.isnan(content) else content


if __name__ == "__main__":
    main()
