"""Hugging Face: a dataset folder of Parquet and NIfTI, with a card and `croissant.json`.

data/SPLIT.parquet            a row a volume, with the paths of its files
images/SPLIT, layouts/SPLIT   NIfTI
README.md                     the card
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from factory.counted import counted
from jobs.console import command_line
from jobs.export.formats.croissant import croissant
from jobs.export.formats.format import (
    ENDING,
    NOT_ANONYMISED,
    About,
    Exported,
    Format,
    Place,
    write_bytes,
    write_json,
)
from jobs.export.given import Item
from manifests.schema import (
    DESCRIPTION,
    LOCATION_COLUMNS,
    MANIFEST_SCHEMA,
    MIX_COLUMNS,
    RUN_COLUMNS,
    SPLITS,
)

CARD, CROISSANT = "README.md", "croissant.json"

_OF_FILES = {
    "name": "Name of the volume's files",
    "image": "CT in HU, NIfTI, below the folder of the dataset",
    "layout": "Layout of the same grid: 0 background, 1 lung, 2 nodule",
    "image_file_sha256": "Of the file of `image`",
    "layout_file_sha256": "Of the file of `layout`",
}
_GRID = ("shape", "spacing_mm", "affine", "image_sha256", "layout_sha256")
"""Columns that are of the files, where the manifest has them of its volumes."""

_LEFT_OUT = {*LOCATION_COLUMNS, *MIX_COLUMNS, *RUN_COLUMNS, "notes"}
"""Of the machine, its folders, or the manifest as a whole."""

_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_LARGEST = "1M<n<10M"


def volume_schema() -> pa.Schema:
    """Return the columns of `data/*.parquet`: the files', then the manifest's."""
    text = [
        pa.field(name, pa.string(), nullable=False, metadata={DESCRIPTION: meaning.encode()})
        for name, meaning in _OF_FILES.items()
    ]
    return pa.schema([*text, *(field for field in MANIFEST_SCHEMA if field.name not in _LEFT_OUT)])


def _place(item: Item) -> Place:
    split = item.row["split"]
    return Place(f"images/{split}/{item.name}{ENDING}", f"layouts/{split}/{item.name}{ENDING}")


def _publish(out: Path, exported: Sequence[Exported], about: About) -> Path:
    tables = []
    for split in SPLITS:
        path = out / "data" / f"{split}.parquet"
        rows = [_row(one) for one in exported if one.row["split"] == split]
        if rows:
            _write_table(rows, path)
            tables.append(path)
        else:
            path.unlink(missing_ok=True)
    write_bytes(out / CARD, _card(exported, about).encode())
    write_json(out / CROISSANT, croissant(out, tables, volume_schema(), exported, about))
    return out / CARD


def _row(one: Exported) -> dict[str, Any]:
    files = {
        f"{what}_file_sha256": one.record["sha256"][one.record[what]]
        for what in ("image", "layout")
    }
    paths = {what: one.record[what] for what in ("image", "layout")}
    grid = {name: one.record[name] for name in _GRID}
    return {**one.row, **grid, **paths, **files, "name": one.name}


def _write_table(rows: Sequence[dict[str, Any]], path: Path) -> None:
    schema = volume_schema()
    kept = [{name: row[name] for name in schema.names} for row in rows]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(kept, schema=schema), sink, compression="zstd")
    write_bytes(path, sink.getvalue().to_pybytes())


def _card(exported: Sequence[Exported], about: About) -> str:
    header = "\n".join(_header(exported, about))
    counts = Counter((one.row["split"], one.row["kind"]) for one in exported)
    lines = [
        f"| {split} | {counts[split, 'real']} | {counts[split, 'synthetic']} |"
        for split in SPLITS
        if counts[split, "real"] + counts[split, "synthetic"]
    ]
    patients = len({one.row["patient_id"] for one in exported})
    grid = "the scan that the volume comes from" if about.native else "the model"
    return f"""---
{header}
---

# {about.name}

Chest CT in Hounsfield units with semantic layouts (0 background, 1 lung, 2 nodule): real scans, and synthetic ones
that were drawn into them after a layout. {counted(len(exported), "volume")} of {counted(patients, "patient")}.

| split | real | synthetic |
|---|---|---|
{chr(10).join(lines)}

**{NOT_ANONYMISED}** Who may not share the scans may not share this.

## Files

`image` and `layout` of a row are paths below this folder: NIfTI, int16 HU and uint8 labels, on the grid of {grid}.
`kind` tells real from synthetic. A synthetic volume has the `patient_id`, the `case_id` and the `split` of its donor:
keep a patient's volumes on one side of every split that you make.

```python
from pathlib import Path
import pyarrow.parquet as pq

rows = pq.read_table("data/{_first_split(exported)}.parquet").to_pylist()
print(Path(rows[0]["image"]), rows[0]["kind"], rows[0]["shape"])
```

## How it was made

{chr(10).join(f"- {line}" for line in _made_by(exported))}
- Exported by {about.made_by} from a manifest with sha256 `{about.manifest_sha256}`.

The method is that of Lung-DDPM (IEEE TBME 2025): a diffusion model guided by a semantic layout draws the lungs, and
the donor's anatomy stays around them. `qc_...` columns are what quality control measured of each volume.
"""


def _made_by(exported: Sequence[Exported]) -> list[str]:
    """Return a sentence for each way in which volumes were drawn; one says so where none was."""
    keys = ("sampler", "steps", "model_digest")
    ways = Counter(tuple(one.row[key] for key in keys) for one in exported if one.item.is_synthetic)
    told = [
        f"{count} synthetic volumes by `{sampler or 'unknown'}`"
        + (f", {steps} steps" if steps else "")
        + (f", model `{model}`" if model else "")
        + "."
        for (sampler, steps, model), count in sorted(ways.items(), key=str)
    ]
    return told or ["No volume is synthetic."]


def _header(exported: Sequence[Exported], about: About) -> list[str]:
    """Return the YAML that a hub reads; texts are JSON, which is YAML too."""
    found = {one.row["split"] for one in exported}
    files = [
        line
        for split in SPLITS
        if split in found
        for line in (
            f"      - split: {'validation' if split == 'val' else split}",
            f"        path: data/{split}.parquet",
        )
    ]
    size = next((word for limit, word in _SIZES if len(exported) < limit), _LARGEST)
    return [
        f"pretty_name: {json.dumps(about.name)}",
        f"license: {json.dumps(about.license.lower())}",
        "task_categories:",
        "  - image-segmentation",
        "tags:",
        "  - medical",
        "  - ct",
        "  - lung",
        "  - synthetic",
        "size_categories:",
        f"  - {size}",
        "configs:",
        "  - config_name: default",
        "    data_files:",
        *files,
    ]


def _first_split(exported: Sequence[Exported]) -> str:
    found = {one.row["split"] for one in exported}
    return next(split for split in SPLITS if split in found)


def _next_step(out: Path) -> str:
    # What a repository may be called.
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", out.resolve().name)
    flags = {"--repo-type": "dataset", "--private": True, "--exclude": ".export/*"}
    return command_line("hf upload", f"USER/{name}", out, flags=flags)


def _caveat(exported: Sequence[Exported]) -> str:
    return "upload it only if those whose scans it holds have agreed to it"


FORMAT = Format(
    name="hf",
    place=_place,
    publish=_publish,
    next_step=_next_step,
    caveat=_caveat,
)
