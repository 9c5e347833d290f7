"""What `evaluate` writes of its figures: the table of the paper's form, Parquet, JSON.

tables/table2.md        this set and its floor, over the published rows
figures.parquet         every number: name, region, extractor, value, low, high, n, note
memorisation.parquet    a row and a verdict for each synthetic volume
evaluation.json         all of it, with what it was made from and what was left out
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.evaluate.figures import Figure
from jobs.evaluate.memorised import SPACES, Row

_REAL, _TEXT = pa.float64(), pa.string()

FIGURES_SCHEMA = pa.schema(
    [
        pa.field("name", _TEXT, nullable=False),
        pa.field("region", _TEXT, nullable=False),
        pa.field("extractor", _TEXT, nullable=False),
        pa.field("value", _REAL, nullable=False),
        pa.field("low", _REAL),
        pa.field("high", _REAL),
        pa.field("n", pa.int64(), nullable=False),
        pa.field("note", _TEXT, nullable=False),
    ]
)
"""`low` and `high` are null where there was too little for an interval."""

_OF_A_SPACE = (
    ("nearest_case", _TEXT),
    ("distance", _REAL),
    ("ratio", _REAL),
    ("other_case", _TEXT),
    ("other_distance", _REAL),
    ("usual_distance", _REAL),
)

MEMORISATION_SCHEMA = pa.schema(
    [
        *(
            pa.field(name, _TEXT, nullable=False)
            for name in ("work_id", "case_id", "patient_id", "verdict")
        ),
        pa.field("lung_correlation", _REAL),
        *(pa.field(f"{name}_{space}", kind) for space in SPACES for name, kind in _OF_A_SPACE),
    ]
)
"""In each space the nearest training volume, how near it is and how alone; the nearest of another
patient than the donor; and the distance that 5 % of real volumes lie nearer to another patient's."""

PUBLISHED = {
    "HA-GAN": (".0403 / .1063 / .1081", ".0510 / .1277 / .0834"),
    "Pix2pix3D": (".0346 / .0217 / .0712", ".0129 / .0497 / .0581"),
    "Med-DDPM": (".0464 / .6806 / .0707", ".0371 / .4039 / .0767"),
    "Make-A-Volume": (".1497 / 1.4442 / .1143", ".0652 / .5463 / .1072"),
    "GEM-3D": (".0557 / .6312 / .1484", ".0313 / .2897 / .0803"),
    "Lung-DDPM": (
        ".0047 ± .0080 / .0070 ± .0002 / .0024 ± .0000",
        ".0083 ± .0077 / .0240 ± .0011 / .0032 ± .0000",
    ),
}
"""FID / MMD / MSE on IUCPQ and on LIDC-IDRI: Table II of Lung-DDPM (IEEE TBME 2025)."""

_HEADINGS = ("set", "region", "FID", "MMD²", "MSE", "published: IUCPQ", "published: LIDC-IDRI")


def write_parquet(rows: Sequence[Row], schema: pa.Schema, path: Path) -> None:
    """Write a table, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), aside)
    aside.replace(path)


def write_text(text: str, path: Path) -> None:
    """Write a file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def figure_row(figure: Figure) -> Row:
    """Return a row of `FIGURES_SCHEMA`; what is not finite is null."""
    interval = figure.interval
    return {
        "name": figure.name,
        "region": figure.region,
        "extractor": figure.extractor,
        "value": interval.value,
        "low": interval.low if math.isfinite(interval.low) else None,
        "high": interval.high if math.isfinite(interval.high) else None,
        "n": figure.n,
        "note": figure.note,
    }


def as_json(content: dict[str, Any]) -> str:
    """Return `evaluation.json`."""
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def table2(
    figures: Sequence[Figure], extractor: str, *, is_published: bool, grid: Sequence[int]
) -> str:
    """Return the table of the paper's form as Markdown, with the other figures and notes below.

    Args:
        figures: All that were told.
        extractor: Name of what made the features.
        is_published: Whether it is the network of published tables.
        grid: (z, y, x) voxels of the volumes.
    """
    size = " x ".join(map(str, grid))
    lines = [
        "# Table II: fidelity",
        "",
        f"Features of `{extractor}`; volumes of {size} voxels; each figure with its 95 % interval, a floor "
        "with its range.",
        "",
        _line(*_HEADINGS),
        _line(*["---"] * len(_HEADINGS)),
        *_own_lines(figures),
        *(
            _line(f"{name}, published", "whole", "", "", "", *columns)
            for name, columns in PUBLISHED.items()
        ),
        "",
        "Published columns: FID / MMD / MSE of Table II of Lung-DDPM (IEEE TBME 2025).",
        "",
        *_comparable(is_published, grid),
        "",
        "## All figures",
        "",
        _line("figure", "region", "value", "n", "note"),
        _line(*["---"] * 5),
        *(
            _line(one.name, one.region, str(one.interval), str(one.n), one.note.replace("|", "/"))
            for one in figures
        ),
        "",
    ]
    return "\n".join(lines)


def _own_lines(figures: Sequence[Figure]) -> list[str]:
    named = {(one.name, one.region): one for one in figures}

    def cell(name: str, region: str) -> str:
        found = named.get((name, region))
        return str(found.interval) if found else "-"

    lines = []
    for region in ("whole", "lungs"):
        told = [cell(name, region) for name in ("fid", "mmd_squared", "mse")]
        floor = [cell(f"{name}_real_to_real", region) for name in ("fid", "mmd_squared")]
        lines.append(_line("**this set**", region, *told, "", ""))
        lines.append(_line("real against real", region, *floor, "-", "", ""))
    parts = [(region, cell("mse", region)) for region in ("nodule", "outside")]
    return lines + [_line("**this set**", region, "-", "-", mse, "", "") for region, mse in parts]


def _comparable(is_published: bool, grid: Sequence[int]) -> list[str]:
    if not is_published:
        first = (
            "- **FID and MMD are comparable with no published figure.** The extractor is a network of fixed "
            "random weights: its scale is its own. Compare sets that this command measured with the same "
            "extractor, on the same grid and of about as many volumes, and each with its floor."
        )
    elif set(grid) == {128}:
        first = (
            "- FID is on the scale of the published column: MedicalNet ResNet-50, HA-GAN's preprocessing, "
            "128^3. The real sets differ, and so do the numbers of volumes, which a Fréchet distance falls "
            "with."
        )
    else:
        first = (
            "- FID is of MedicalNet ResNet-50 as in the published column, but on another grid than its 128^3, "
            "which moves the features: compare sets of one grid only."
        )
    return [
        first,
        "- MMD² is the unbiased estimate with the kernel that is named below; the published ones do not name "
        "theirs. An order of models may be compared, values may not.",
        "- MSE of the whole volume is small for whatever copies what is outside the lungs; read the one of the "
        "lungs, where lower is not better either: a new lung has other vessels than its donor.",
        "- A set is good where its figure is about that of real against real, which is of half as many "
        "volumes and so a little higher than it would be of all.",
    ]


def _line(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
